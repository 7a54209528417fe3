package coordinator_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain: no goroutine outlives the coordinator that began it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

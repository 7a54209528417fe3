package consensus

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain: no goroutine outlives the node that began it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

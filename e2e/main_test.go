// Package e2e drives the real minikv binary through its front doors with real clients.
package e2e

import (
	"os"
	"testing"

	"minikv/e2e/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// TestTheShippedBinaryHasNoFaults: no clock of it can be made to jump and no disk to be slow; only the fault suite's build has the
// switches for that, behind a build tag and in a time package of its own.
func TestTheShippedBinaryHasNoFaults(t *testing.T) {
	shipped, err := os.ReadFile(harness.Binary(t))
	require.NoError(t, err)
	for _, name := range harness.FaultVars {
		require.False(t, bytes.Contains(shipped, []byte(name)), "it knows %s", name)
	}
	files := func(args ...string) string {
		out, err := exec.Command("go", append([]string{"list", "-f", "{{.GoFiles}}"}, append(args, "minikv/internal/vfs")...)...).Output()
		require.NoError(t, err)
		return string(out)
	}
	require.NotContains(t, files(), "faults.go")
	require.Contains(t, files("-tags", "faults"), "faults.go")
	if *faultAll {
		suite, err := os.ReadFile(harness.FaultBinary(t))
		require.NoError(t, err)
		for _, name := range harness.FaultVars {
			require.True(t, bytes.Contains(suite, []byte(name)), "the fault suite's does not know %s", name)
		}
	}
}

package consensus

import (
	"testing"

	"minikv/internal/vfs"
)

func TestSingleVoterLeadsAndReopens(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"os": vfs.OS(), "mem": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for range 3 {
				n := openNode(t, testOptions(t, fs, dir))
				awaitReady(t, n)
				must(t, n.Snapshot())
				must(t, n.Close())
			}
		})
	}
}

package consensus

import (
	"testing"
	"testing/synctest"
	"time"

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

// TestASingleVoterWaitsForItsDisk: an append that takes much longer than a leader among others may take is done in the end, and one that
// never ends is fatal here, too.
func TestASingleVoterWaitsForItsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{})
		var f fatals
		o := testOptions(t, fs, "/meta")
		o.Fatal = f.add
		n := openNode(t, o)
		awaitReady(t, n)
		log := vfs.OnPath("*.wal", vfs.Kinds(vfs.OpSync))
		for _, c := range []struct {
			hang  time.Duration
			fatal int64
		}{{50 * time.Second, 0}, {70 * time.Second, 1}} {
			fs.SetHooks(vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
				if log(op) {
					time.Sleep(c.hang) // a bubble's
				}
				return vfs.Fault{}
			}})
			_, err := n.Propose(t.Context(), sizedCommand("k", 1))
			must(t, err)
			fs.SetHooks(vfs.Hooks{})
			if got := int64(f.n.Load()); got != c.fatal {
				t.Fatalf("%d fatal after an append of %v", got, c.hang)
			}
		}
	})
}

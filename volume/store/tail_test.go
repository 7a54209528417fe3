package store

import (
	"syscall"
	"testing"

	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestTheLastOfTwoInTails: a prepare fails, but its bytes reach the disk; then other bytes are acknowledged under the same id, in the other
// log. After a crash both are in tails, and the acknowledged one counts.
func TestTheLastOfTwoInTails(t *testing.T) {
	mem := vfs.NewMem()
	fs := vfs.NewInject(mem, vfs.Hooks{})
	st, err := Open("/v", tiny(fs))
	must(t, err)
	put(t, st, 0, 0)
	fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(1, vfs.OnPath("*.seg*", vfs.Kinds(vfs.OpSync)), syscall.EIO, 0)})
	if _, err := st.Prepare(ctx, testID(4), object.Epochs{Cluster: 5}, [][]byte{testData(4, 3000)}); err == nil {
		t.Fatal("a failed sync was acknowledged")
	}
	fs.SetHooks(vfs.Hooks{})
	put(t, st, 4, 9000)
	for _, s := range vfs.Survivals {
		again, err := Open("/v", tiny(mem.CrashClone(s)))
		must(t, err)
		check(t, again, 4, 9000)
		must(t, again.Close())
	}
	must(t, st.Close())
}

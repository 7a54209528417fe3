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

// TestRotAcrossTheDurableEnd: damage that reaches from what was surely on disk into what follows is reported, and does not keep the volume from
// opening.
func TestRotAcrossTheDurableEnd(t *testing.T) {
	mem := vfs.NewMem()
	o := tiny(mem)
	o.Fsync = Never
	st, err := Open("/v", o)
	must(t, err)
	put(t, st, 0, 1000)
	put(t, st, 1, 1000)
	release, err := st.small.park() // both are synced
	must(t, err)
	release()
	put(t, st, 2, 1000)
	put(t, st, 3, 1000)
	crashed := mem.CrashClone(vfs.Survival{Percent: 100})
	f, err := crashed.OpenReadWrite((*st.segments.Load())[1].Path(), "")
	must(t, err)
	for _, n := range []int{1, 2} {
		e, _, err := st.index.Get(testID(n))
		must(t, err)
		_, err = f.WriteAt([]byte{0xff, 0xff}, e.Off()+10)
		must(t, err)
	}
	must(t, f.Close())
	must(t, st.Close())

	st, err = Open("/v", tiny(crashed))
	must(t, err)
	check(t, st, 0, 1000)
	if d := st.Damage(); len(d) != 1 {
		t.Fatalf("%+v", d)
	}
	must(t, st.Close())
}

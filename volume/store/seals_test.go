package store

import (
	"syscall"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestASealThatIsOnlyInATailIsKept: the end of a segment after a failed sync is told by a record that a removal copied on, and that a crash
// leaves above the durable end of its segment. The index knows the end as well; when that is lost later, what was never
// acknowledged there, and elsewhere was deleted since, must not come back.
func TestASealThatIsOnlyInATailIsKept(t *testing.T) {
	mem := vfs.NewMem()
	fs := vfs.NewInject(mem, vfs.Hooks{})
	o := tiny(fs)
	o.OverlayMax = 1000 // tidying writes no index
	st, err := Open("/v", o)
	must(t, err)
	put(t, st, 1, 100) // keeps the first segment
	fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(1, vfs.OnPath("*.seg*", vfs.Kinds(vfs.OpSync)), syscall.EIO, 0)})
	if _, err = st.Prepare(ctx, testID(2), object.Epochs{Cluster: 5}, [][]byte{testData(2, 100)}); err == nil {
		t.Fatal("a failed sync was acknowledged")
	}
	fs.SetHooks(vfs.Hooks{})
	put(t, st, 2, 100) // begins the second segment, behind the seal of the first
	must(t, st.Delete(ctx, testID(2)))
	n := 100
	for ; st.Stats().Segments < 3; n++ {
		put(t, st, n, 4000)
	}
	must(t, st.Checkpoint()) // knows all three
	for i := 100; i < n; i++ {
		must(t, st.Delete(ctx, testID(i)))
	}
	must(t, st.Tidy(ctx)) // the second goes; its seal of the first is copied on, and its blobs need no tombstones any more
	if s := st.Stats(); s.SegmentRemoved != 1 || s.Segments != 2 {
		t.Fatalf("%+v", s)
	}

	crashed := mem.CrashClone(vfs.Survival{Percent: 100})
	must(t, st.Close())
	for range 2 { // with the index, then without
		st, err = Open("/v", tiny(crashed))
		must(t, err)
		check(t, st, 1, 100)
		_, err = st.Stat(testID(2))
		wantKind(t, err, errs.BlobMissing)
		must(t, st.Close())
		must(t, crashed.Remove("/v/"+indexName))
		must(t, crashed.Remove("/v/"+cleanName))
	}
}

package store

import (
	"syscall"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestCompactionBelowTheReserve holds I11: on a disk that is full to below the reserve, of whose segments each has something alive, deletes
// go on and only compaction gives space back. It does, also when the disk refuses its first segments, and prepares go on by themselves.
func TestCompactionBelowTheReserve(t *testing.T) {
	for _, length := range []int{3000, 20000} {
		for refused := range 3 {
			mem := vfs.NewMem()
			mem.SetCapacity(6 << 20)
			fs := vfs.NewInject(mem, vfs.Hooks{})
			o := tiny(fs)
			o.Reserve, o.Ballast, o.CompactDead = 1<<20, 512<<10, -1
			st, err := Open("/v", o)
			must(t, err)
			n := fillUp(t, st, length)
			hog(t, mem, 300<<10)
			segments := st.lastNumber.Load()
			for i := range n {
				if i%3 != 0 {
					must(t, st.Delete(ctx, testID(i)))
				}
			}
			if made := st.lastNumber.Load() - segments; made > 2 {
				t.Fatalf("%d segments for the tombstones of %d blobs", made, n-n/3)
			}
			must(t, st.Tidy(ctx))
			before := st.Stats()
			if !before.Full || before.Compaction.Dead < 1<<20 {
				t.Fatalf("%+v", before)
			}
			_, err = st.Prepare(ctx, testID(1<<20), object.Epochs{Cluster: 5}, nil)
			wantKind(t, err, errs.StorageFull)
			if refused > 0 {
				fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(int64(refused), vfs.OnPath("*.seg*", vfs.Kinds(vfs.OpPreallocate)), syscall.ENOSPC, 0)})
			}
			r := compactNow(t, st, 0.3)
			fs.SetHooks(vfs.Hooks{})
			must(t, st.Tidy(ctx))
			after := st.Stats()
			if r.Returned < 1<<20 || after.FreeBytes < before.FreeBytes+1<<20 || after.Blobs != before.Blobs || after.Full {
				t.Fatalf("%+v\nbefore %+v\nafter %+v", r, before, after)
			}
			put(t, st, 1<<20, length)
			for range 2 {
				for i := 0; i < n; i += 3 {
					check(t, st, i, length)
				}
				if got := len(page(t)(st.List(object.BlobID{}, 1<<20))); got != (n+2)/3+1 {
					t.Fatalf("%d blobs of %d", got, (n+2)/3+1)
				}
				st = reopen(t, st)
			}
			must(t, st.Close())
		}
	}
}

// fillUp prepares blobs until the volume refuses them.
func fillUp(t *testing.T, st *Store, length int) int {
	t.Helper()
	for n := range 10000 {
		must(t, st.Tidy(ctx))
		_, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5}, [][]byte{testData(n, length)})
		if err != nil {
			wantKind(t, err, errs.StorageFull)
			return n
		}
	}
	t.Fatal("the disk never fills")
	return 0
}

// hog takes all space but so much.
func hog(t *testing.T, mem *vfs.Mem, left uint64) {
	t.Helper()
	f, err := mem.Create("/hog", "")
	must(t, err)
	for off := int64(0); ; off += 4096 {
		if u, _ := mem.GetDiskUsage("/"); u.AvailBytes <= left {
			return
		}
		_, err := f.WriteAt(make([]byte, 4096), off)
		must(t, err)
	}
}

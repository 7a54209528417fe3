package store

import (
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/segment"
)

// mostlyDead is a store with nine in ten blobs deleted and the rest committed.
func mostlyDead(t *testing.T, mem *vfs.Mem) *Store {
	o := tiny(mem)
	o.CompactDead, o.CompactRate = -1, -1
	st, err := Open("/v", o)
	must(t, err)
	for n := range 200 {
		put(t, st, n, 3000)
	}
	for n := range 200 {
		if n%10 != 0 {
			must(t, st.Delete(ctx, testID(n)))
		} else {
			must(t, st.Commit(ctx, testID(n)))
		}
	}
	return st
}

// TestCompactReturnsSpace: the living stay, committed, across restarts with and without the index; the space of the dead comes back.
func TestCompactReturnsSpace(t *testing.T) {
	mem := vfs.NewMem()
	st := mostlyDead(t, mem)
	before := st.Stats()
	must(t, st.Compact(ctx, 0.3))
	after := st.Stats()
	if after.Compacted == 0 || after.SegmentBytes*2 > before.SegmentBytes || after.Blobs != before.Blobs || after.Bytes != before.Bytes {
		t.Fatalf("before %+v\nafter %+v", before, after)
	}
	for _, without := range []string{"", cleanName, indexName} {
		for n := range 200 {
			info, err := st.Stat(testID(n))
			if n%10 != 0 {
				wantKind(t, err, errs.BlobMissing)
				continue
			}
			must(t, err)
			if info.State != object.BlobCommitted || info.Epochs != (object.Epochs{Cluster: 5, Shard: 1}) {
				t.Fatalf("blob %d: %+v", n, info)
			}
			check(t, st, n, 3000)
		}
		if got := st.Stats(); got.Blobs != before.Blobs || got.Bytes != before.Bytes {
			t.Fatalf("%+v, want %+v", got, before)
		}
		must(t, st.Close())
		if without != "" {
			must(t, mem.Remove("/v/"+without))
		}
		var err error
		st, err = Open("/v", st.o)
		must(t, err)
	}
	must(t, st.Close())
}

// TestCompactKeepsTheBad: a bad record stays, with its segment, is on the list, and preparing it again replaces it.
func TestCompactKeepsTheBad(t *testing.T) {
	mem := vfs.NewMem()
	st := mostlyDead(t, mem)
	e, _, err := st.index.Get(testID(10))
	must(t, err)
	s := (*st.segments.Load())[e.Segment]
	if s.end == 0 {
		t.Fatal("the blob is in the active segment")
	}
	f, err := mem.OpenReadWrite(s.Path(), "")
	must(t, err)
	_, err = f.WriteAt([]byte{1, 2, 3}, e.Off()+1000)
	must(t, err)
	must(t, f.Close())
	must(t, st.Compact(ctx, 0.3))
	bad := st.Repairs()
	if len(bad) != 1 || bad[0].ID != testID(10) || bad[0].Segment != segment.Name(s.Number, s.Kind) || bad[0].Offset != e.Off() {
		t.Fatalf("%+v", bad)
	}
	if now, ok, _ := st.index.Get(testID(10)); !ok || now != e {
		t.Fatalf("the bad record moved: %+v, %v", now, ok)
	}
	for n := 0; n < 200; n += 10 {
		if n != 10 {
			check(t, st, n, 3000)
		}
	}
	put(t, st, 10, 3000)
	check(t, st, 10, 3000)
	if len(st.Repairs()) != 0 {
		t.Fatalf("%+v", st.Repairs())
	}
	info, err := st.Stat(testID(10))
	must(t, err)
	if info.State != object.BlobCommitted {
		t.Fatalf("%+v", info)
	}
	must(t, st.Tidy(ctx))
	if st.segment(e.Segment) != nil {
		t.Fatal("the segment of the repaired blob is still there")
	}
	must(t, st.Close())
}

// TestHorizonOutlivesACrash: what was dropped on the horizon's word stays refused.
func TestHorizonOutlivesACrash(t *testing.T) {
	mem := vfs.NewMem()
	st, err := Open("/v", tiny(mem))
	must(t, err)
	put(t, st, 1, 100)
	st.SetHorizon(9)
	must(t, st.Delete(ctx, testID(1)))
	clone := mem.CrashClone(vfs.Survival{Percent: 0})
	must(t, st.Close())
	st, err = Open("/v", tiny(clone))
	must(t, err)
	_, err = st.Prepare(ctx, testID(1), object.Epochs{Cluster: 8}, nil)
	wantKind(t, err, errs.StaleEpoch)
	must(t, st.Close())
}

package store

import (
	"context"
	"sync"
	"testing"
	"time"

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
	compactNow(t, st, 0.3)
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
	compactNow(t, st, 0.3)
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

func compactNow(t testing.TB, st *Store, dead float64) CompactReport {
	t.Helper()
	r, err := st.CompactNow(ctx, dead, nil)
	must(t, err)
	return r
}

// TestTidyingDoesNotWaitForCompaction: while a segment is being copied, another that dies is removed and the index is written down;
// the one being copied stays, dead or not, until the copies are known, and no deleted blob comes back.
func TestTidyingDoesNotWaitForCompaction(t *testing.T) {
	mem := vfs.NewMem()
	st := mostlyDead(t, mem)
	var once sync.Once
	during := func(p CompactProgress) {
		number, _, _ := segment.ParseName(p.Segment)
		if p.Done <= 0 || p.Done > p.Total {
			t.Errorf("%+v", p)
		}
		if s := st.Stats().Compaction; !s.Running || s.Segment != number || s.Done <= 0 || s.Total < s.Done || s.Dead <= 0 {
			t.Errorf("%+v", s)
		}
		// Everything but the last blob dies.
		for n := 0; n < 190; n += 10 {
			must(t, st.Delete(ctx, testID(n)))
		}
		before := len(*st.segments.Load())
		must(t, st.Tidy(ctx))
		must(t, st.Checkpoint())
		if got := len(*st.segments.Load()); got >= before {
			t.Errorf("%d segments of %d were removed", before-got, before)
		}
		if st.segment(uint32(number)) == nil {
			t.Error("a segment was removed while it was copied")
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := st.CompactNow(ctx, 0.3, func(p CompactProgress) { once.Do(func() { during(p) }) })
		done <- err
	}()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(time.Minute):
		t.Fatal("tidying waits for compaction")
	}
	for range 2 {
		if got := page(t)(st.List(object.BlobID{}, 1000)); len(got) != 1 || got[0].ID != testID(190) {
			t.Fatalf("%+v", got)
		}
		check(t, st, 190, 3000)
		st = reopen(t, st)
	}
	must(t, st.Close())
}

// TestCompactNowEndsWithItsContextAndTheVolume: it stops within a step, loses nothing, and goes on another time.
func TestCompactNowEndsWithItsContextAndTheVolume(t *testing.T) {
	mem := vfs.NewMem()
	st := mostlyDead(t, mem)
	st.o.CompactRate = 1 // it would take days
	begun := make(chan struct{}, 100)
	stopped, cancel := context.WithCancel(ctx)
	_, err := st.CompactNow(stopped, 0.3, func(CompactProgress) { cancel() })
	wantKind(t, err, errs.Canceled)
	done := make(chan error, 1)
	go func() {
		_, err := st.CompactNow(ctx, 0.3, func(CompactProgress) { begun <- struct{}{} })
		done <- err
	}()
	<-begun
	must(t, st.Close())
	wantKind(t, <-done, errs.Unavailable)
	_, err = st.CompactNow(ctx, 0.3, nil)
	wantKind(t, err, errs.Unavailable)
	o := st.o
	o.CompactRate = -1
	st, err = Open("/v", o)
	must(t, err)
	_, err = st.CompactNow(ctx, 1.5, nil)
	wantKind(t, err, errs.Invalid)
	if r := compactNow(t, st, 0.3); r.Segments == 0 || r.Returned == 0 {
		t.Fatalf("%+v", r)
	}
	for n := 0; n < 200; n += 10 {
		check(t, st, n, 3000)
	}
	must(t, st.Close())
}

// TestARemovedSegmentIsNotDamaged: compaction and tidying may both want to remove a segment; who comes second finds it gone, not damaged.
func TestARemovedSegmentIsNotDamaged(t *testing.T) {
	mem := vfs.NewMem()
	st := mostlyDead(t, mem)
	e, _, err := st.index.Get(testID(10))
	must(t, err)
	s := (*st.segments.Load())[e.Segment]
	for n := 0; n < 200; n += 10 {
		must(t, st.Delete(ctx, testID(n)))
	}
	for range 2 {
		removed, err := st.removeCompacted(ctx, s)
		must(t, err)
		if d := st.Damage(); !removed || len(d) > 0 || exists(mem, "/v/"+segment.Name(s.Number, s.Kind)+lostSuffix) {
			t.Fatal(removed, d)
		}
	}
	if _, err := s.Scan(segment.HeaderLen, s.end, nil); err == nil {
		t.Fatal("a closed segment was scanned")
	}
	must(t, st.Close())
}

// TestCompactNowEnds: asked for all that is dead in the least, it rewrites the segments that there are, not those that it makes of them.
func TestCompactNowEnds(t *testing.T) {
	st, err := Open("/v", tiny(vfs.NewMem()))
	must(t, err)
	for n := range 200 {
		put(t, st, n, 3000)
	}
	before := st.Stats().Segments
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	done, err := st.CompactNow(limited, 0, func(p CompactProgress) {
		if p.Segments > 2*before {
			cancel()
		}
	})
	if err != nil || done.Segments >= before || done.Copied > 200*3000 {
		t.Fatalf("of %d segments: %+v, %v", before, done, err)
	}
	for n := range 200 {
		check(t, st, n, 3000)
	}
	must(t, st.Close())
}

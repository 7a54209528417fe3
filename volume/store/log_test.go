package store

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestClock: what a log does by the clock it does after a lone writer, too, who commits without the committer.
func TestClock(t *testing.T) {
	for _, x := range []struct {
		name string
		set  func(o *Options)
		do   func(t *testing.T, st *Store)
		want func(now, before Stats) bool
	}{
		{"certify", func(o *Options) { o.Certify = time.Second }, func(t *testing.T, st *Store) {
			for n := range 10 { // no mark while it is busy
				put(t, st, n, 100)
				time.Sleep(400 * time.Millisecond)
			}
			if s := st.Stats(); s.Syncs != s.Groups {
				t.Fatalf("%+v", s)
			}
		}, func(now, before Stats) bool { return now.Syncs == before.Syncs+1 && now.Groups == before.Groups }},
		{"hints", func(o *Options) { o.LazyFlush = 50 * time.Millisecond }, func(t *testing.T, st *Store) {
			put(t, st, 1, 100)
			must(t, st.Commit(ctx, testID(1)))
		}, func(now, before Stats) bool { return now.Groups == before.Groups+1 && now.Syncs == before.Syncs }},
		{"interval", func(o *Options) { o.Fsync, o.FsyncInterval = Interval, 100*time.Millisecond }, func(t *testing.T, st *Store) {
			for n := range 2 { // the first one syncs, as the last sync is long ago
				durable, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 1}, nil)
				must(t, err)
				if durable != (n == 0) {
					t.Fatalf("blob %d: durable %v", n, durable)
				}
			}
		}, func(now, before Stats) bool { return now.Syncs > before.Syncs && now.Groups == before.Groups }},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := tiny(vfs.NewMem())
				x.set(&o)
				st, err := Open("/v", o)
				must(t, err)
				x.do(t, st)
				before := st.Stats()
				time.Sleep(time.Minute)
				if now := st.Stats(); !x.want(now, before) {
					t.Fatalf("before %+v\nnow %+v", before, now)
				}
				must(t, st.Close())
			})
		})
	}
}

// TestLoneAndManyWriters: groups of one and of several follow each other in every way, and all that returned is there.
func TestLoneAndManyWriters(t *testing.T) {
	mem := vfs.NewMem()
	st, err := Open("/v", tiny(mem))
	must(t, err)
	n := 0
	for round := range 60 {
		var wg sync.WaitGroup
		for range 1 + round%7 {
			first := n
			n += 3
			wg.Go(func() {
				for i := range 1 + round%3 {
					put(t, st, first+i, 50+round)
				}
			})
		}
		wg.Wait()
	}
	again, err := Open("/v", tiny(mem.CrashClone(vfs.Survival{})))
	must(t, err)
	if got := int64(len(page(t)(again.List(object.BlobID{}, 1<<20)))); got != st.Stats().Prepares {
		t.Fatalf("%d blobs survive of %d", got, st.Stats().Prepares)
	}
	must(t, again.Close())
	must(t, st.Close())
}

// TestPutAllocatesNothing: beyond the growth of the index.
func TestPutAllocatesNothing(t *testing.T) {
	st, err := Open(t.TempDir(), Options{Reserve: -1, Ballast: -1, ScrubRate: -1, Fsync: Never, OverlayMax: 1 << 20})
	must(t, err)
	data := [][]byte{make([]byte, 100)}
	n := uint64(0)
	one := func() {
		n++
		_, err := st.Prepare(ctx, benchID(n), object.Epochs{Cluster: 1}, data)
		must(t, err)
	}
	for range 2000 {
		one()
	}
	if got := testing.AllocsPerRun(2000, one); got > 0 {
		t.Fatalf("%v allocations", got)
	}
	must(t, st.Close())
}

package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// TestScrubFindsRot: every flipped bit in a living blob is found, and nothing in a sound volume.
func TestScrubFindsRot(t *testing.T) {
	mem := vfs.NewMem()
	st, err := Open("/v", tiny(mem))
	must(t, err)
	for n := range 40 {
		put(t, st, n, 100+500*n)
	}
	got, err := st.ScrubNow(ctx, nil)
	must(t, err)
	if got.Records < 40 || got.Bad != 0 || len(st.Repairs()) != 0 {
		t.Fatalf("%+v, %+v", got, st.Repairs())
	}
	flip(t, st, mem, 7)
	got, err = st.ScrubNow(ctx, nil)
	must(t, err)
	if bad := st.Repairs(); got.Bad != 1 || len(bad) != 1 || bad[0].ID != testID(7) {
		t.Fatalf("%+v, %+v", got, bad)
	}
	must(t, st.Close())
}

// TestScrubOnDemandTellsOfDeadRecords: they count as found, so who asked hears where they are, though no blob is bad.
func TestScrubOnDemandTellsOfDeadRecords(t *testing.T) {
	mem, o := vfs.NewMem(), tiny(nil)
	var told []string
	o.FS, o.Logf = mem, func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	st, err := Open("/v", o)
	must(t, err)
	put(t, st, 1, 4000)
	flip(t, st, mem, 1)
	must(t, st.Delete(ctx, testID(1)))
	got, err := st.ScrubNow(ctx, nil)
	must(t, err)
	if got.Bad != 1 || len(st.Repairs()) != 0 || len(told) != 1 || !strings.Contains(told[0], "no living blob") {
		t.Fatalf("%+v, %q", got, told)
	}
	must(t, st.Close())
}

// flip changes a bit of a blob on disk.
func flip(t testing.TB, st *Store, mem *vfs.Mem, n int) {
	t.Helper()
	e, _, err := st.index.Get(testID(n))
	must(t, err)
	s := (*st.segments.Load())[e.Segment]
	f, err := mem.OpenReadWrite(s.Path(), "")
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, e.Off()+2000)
	must(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b, e.Off()+2000)
	must(t, err)
	must(t, f.Close())
}

// TestRepairsAreForgotten when their blobs are deleted or have moved, also by who only counts, and are bounded.
func TestRepairsAreForgotten(t *testing.T) {
	mem := vfs.NewMem()
	st, err := Open("/v", tiny(mem))
	must(t, err)
	for n := range 4 {
		put(t, st, n, 4000)
		flip(t, st, mem, n)
	}
	_, err = st.ScrubNow(ctx, nil)
	must(t, err)
	if len(st.Repairs()) != 4 || st.Stats().Bad != 4 {
		t.Fatalf("%+v", st.Repairs())
	}
	must(t, st.Delete(ctx, testID(0)))
	_, err = st.Evict(ctx, testID(1))
	must(t, err)
	if bad := st.Repairs(); len(bad) != 2 || st.Stats().Bad != 2 || len(st.bad) != 2 {
		t.Fatalf("%+v, %d are counted", bad, st.Stats().Bad)
	}
	e, _, err := st.index.Get(testID(2))
	must(t, err)
	for n := range badMax + 10 {
		e.ID = testID(1000 + n) // of no blob
		st.noteBad(&e, errs.E("test", errs.Corrupt, "rot"))
	}
	if n := len(st.bad); n > badMax {
		t.Fatalf("%d are remembered", n)
	}
	if bad := st.Repairs(); len(bad) != 2 {
		t.Fatalf("%+v", bad)
	}
	must(t, st.Close())
}

// TestScrubGoesOn: the position outlives a restart, and a damaged one begins again.
func TestScrubGoesOn(t *testing.T) {
	mem := vfs.NewMem()
	st, err := Open("/v", tiny(mem))
	must(t, err)
	for n := range 100 {
		put(t, st, n, 5000)
	}
	st.scrub.next.Store(3)
	st.scrub.rounds.Store(2)
	st.saveScrub()
	if s := st.ScrubStats(); s.Done <= 0 || s.Done >= s.Total || s.ETA != 0 || s.Segment != 3 || s.Rounds != 2 {
		t.Fatalf("%+v", s)
	}
	must(t, st.Close())
	st, err = Open("/v", tiny(mem))
	must(t, err)
	if st.scrub.next.Load() != 3 || st.scrub.rounds.Load() != 2 {
		t.Fatalf("%+v", st.ScrubStats())
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	st.scrubForever(stopped)
	if st.scrub.next.Load() != 3 {
		t.Fatal("a stopped scrub went on")
	}
	must(t, mem.Remove("/v/"+scrubName))
	st.scrub.next.Store(0)
	st.loadScrub()
	if st.scrub.next.Load() != 0 {
		t.Fatal("no file, but a position")
	}
	must(t, st.Close())
}

// TestScrubNowTellsHowFarItIs: progress only grows up to the whole, an ended context ends it, and a whole pass is remembered.
func TestScrubNowTellsHowFarItIs(t *testing.T) {
	mem := vfs.NewMem()
	o := tiny(mem)
	o.ScrubNowRate = -1
	st, err := Open("/v", o)
	must(t, err)
	for n := range 100 {
		put(t, st, n, 60000)
	}
	var last ScrubProgress
	calls := 0
	got, err := st.ScrubNow(ctx, func(p ScrubProgress) {
		if p.Done < last.Done || p.Done > p.Total || p.Segment == "" {
			t.Errorf("%+v after %+v", p, last)
		}
		last, calls = p, calls+1
	})
	must(t, err)
	if calls < 10 || got != last && got.Done != got.Total || got.Records < 100 || got.ETA != 0 {
		t.Fatalf("%d calls, %+v", calls, got)
	}
	stopped, cancel := context.WithCancel(ctx)
	_, err = st.ScrubNow(stopped, func(ScrubProgress) { cancel() })
	wantKind(t, err, errs.Canceled)
	st = reopen(t, st)
	if st.Stats().Scrub.LastRound.IsZero() {
		t.Fatal("the whole pass is forgotten")
	}
	must(t, st.Close())
	_, err = st.ScrubNow(ctx, nil)
	wantKind(t, err, errs.Unavailable)
}

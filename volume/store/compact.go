package store

import (
	"context"
	"sync/atomic"
	"time"

	"minikv/internal/errs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// Compaction copies the living blobs of a segment that is mostly dead into the running logs, verified, waits until the copies are on
// disk, and then removes the segment as any dead one (fifth invariant). A blob keeps the highest state that it was given meanwhile. A
// crash in between leaves copies that say the same; until the old segment is gone it is marked stale, so that what is said of the
// death of its blobs is kept. A record that fails its checksums stays where it is, and its segment with it: see Repairs.

// compactStep is how much is copied before the rate is looked at, in bytes.
const compactStep = 1 << 20

// compaction is what is being compacted. One segment at a time; whoever has the turn.
type compaction struct {
	turn chan struct{} // holds one token while nobody compacts

	segment     atomic.Uint64 // 0: none
	done, total atomic.Int64  // bytes of records of the segment, copied and in all
	began       atomic.Int64  // unix nanoseconds
}

// CompactStats is what compaction is doing.
type CompactStats struct {
	Running   bool
	Segment   uint64 // that is being rewritten
	Done      int64  // bytes of its records that were copied
	Total     int64  // bytes of its records that were alive when it began
	Rate      int64  // bytes per second since it began
	Dead      int64  // bytes of sealed segments that belong to nothing alive, in all
	Candidate int    // sealed segments that are dead enough to be compacted
}

// CompactStats tells what compaction is doing and what is left for it.
func (st *Store) CompactStats() CompactStats {
	c := &st.compaction
	s := CompactStats{Segment: c.segment.Load(), Done: c.done.Load(), Total: c.total.Load()}
	s.Running = s.Segment != 0
	if t := time.Since(time.Unix(0, c.began.Load())); s.Running && t > 0 {
		s.Rate = int64(float64(s.Done) / t.Seconds())
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, x := range *st.segments.Load() {
		if x.end == 0 {
			continue
		}
		s.Dead += max(0, x.end-segment.HeaderLen-x.bytes.Load())
		if st.o.CompactDead > 0 && x.wants(st.o.CompactDead) {
			s.Candidate++
		}
	}
	return s
}

// CompactProgress is how far CompactNow is.
type CompactProgress struct {
	Segment     string        // that is being rewritten
	Segments    int           // rewritten so far
	Done, Total int64         // bytes of records, copied and to be copied in all, as far as is known
	ETA         time.Duration // at the rate so far; 0 when not known
}

// CompactReport is what CompactNow did.
type CompactReport struct {
	Segments int   // rewritten and removed
	Copied   int64 // bytes of blobs
	Returned int64 // bytes of the segment files that went meanwhile
}

// CompactNow rewrites all segments of which at least the share dead, from 0 to 1, is dead, and removes dead ones, while everything else goes
// on; at Options.CompactRate. progress, which may be nil, is called with every step of 1 MiB, by the caller's goroutine. An ended
// context stops it within a step; what was copied until then is not copied again. Errors: errs.Invalid, errs.Unavailable when the volume is
// closed meanwhile, errs.StorageFull when there is no room for the copies.
func (st *Store) CompactNow(ctx context.Context, dead float64, progress func(CompactProgress)) (CompactReport, error) {
	const op = "store.CompactNow"
	if !(dead >= 0 && dead <= 1) {
		return CompactReport{}, errs.E(op, errs.Invalid, "the dead share is from 0 to 1, not %v", dead)
	}
	inner, leave, err := st.janitor.task(ctx)
	if err != nil {
		return CompactReport{}, errs.Wrap(op, err)
	}
	defer leave()
	r := compactRun{
		st: st, dead: max(dead, 1e-9), upTo: st.lastNumber.Load(), progress: progress,
		begin: time.Now(), copied: st.counters.copied.Load(), returned: st.counters.returned.Load(),
	}
	err = r.run(inner)
	if cause := context.Cause(inner); err != nil && cause != nil {
		err = cause
	}
	r.report.Copied = st.counters.copied.Load() - r.copied
	r.report.Returned = st.counters.returned.Load() - r.returned
	return r.report, errs.Wrap(op, err)
}

// compactRun is a call of CompactNow.
type compactRun struct {
	st               *Store
	dead             float64
	upTo             uint64 // number of a segment: those made later hold what was copied
	progress         func(CompactProgress)
	begin            time.Time
	copied, returned int64 // counters at the begin
	report           CompactReport
	done             int64
}

func (r *compactRun) run(ctx context.Context) error {
	for {
		if err := r.st.tidy(ctx); err != nil {
			return err
		}
		if err := r.st.compaction.take(ctx); err != nil {
			return err
		}
		some, err := r.st.compactNext(ctx, r.dead, r.upTo, func(s *seg, n int) {
			r.done += int64(n)
			r.tell(s)
		})
		r.st.compaction.give()
		if err != nil || !some {
			return err
		}
		r.report.Segments++
	}
}

func (r *compactRun) tell(s *seg) {
	if r.progress == nil {
		return
	}
	p := CompactProgress{Segment: segment.Name(s.Number, s.Kind), Segments: r.report.Segments, Done: r.done, Total: r.done + r.st.toCopy(r.dead, r.upTo)}
	if t := time.Since(r.begin); r.done > 0 {
		p.ETA = time.Duration(float64(t) * float64(p.Total-p.Done) / float64(r.done))
	}
	r.progress(p)
}

// toCopy is the bytes of living records in segments up to a number that are dead enough, or being compacted.
func (st *Store) toCopy(dead float64, upTo uint64) int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	n := int64(0)
	for _, s := range *st.segments.Load() {
		if s.moving || (s.Number <= upTo && s.wants(dead)) {
			n += s.bytes.Load()
		}
	}
	return n
}

// take waits for the turn.
func (c *compaction) take(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryTake takes the turn if nobody has it.
func (c *compaction) tryTake() bool {
	select {
	case <-c.turn:
		return true
	default:
		return false
	}
}

func (c *compaction) give() { c.turn <- struct{}{} }

// compactOne waits for the turn and compacts the segment with the largest dead share, if one has enough.
func (st *Store) compactOne(ctx context.Context, deadMin float64) (bool, error) {
	if err := st.compaction.take(ctx); err != nil {
		return false, err
	}
	defer st.compaction.give()
	return st.compactNext(ctx, deadMin, segment.NumberMax, nil)
}

// compactNext is compactOne, of segments up to a number, for who has the turn; step, if not nil, is called with the bytes that were copied.
func (st *Store) compactNext(ctx context.Context, deadMin float64, upTo uint64, step func(s *seg, n int)) (bool, error) {
	s := st.mostDead(deadMin, upTo)
	if s == nil {
		return false, nil
	}
	before := s.blobs.Load()
	err := st.copyLiving(ctx, s, step)
	st.moved(s, err == nil)
	removed := false
	if err == nil && s.blobs.Load() > 0 && st.isDamaged(s) {
		st.noteUnreadable(s)
	}
	if err == nil && s.blobs.Load() == 0 {
		removed, err = st.removeCompacted(ctx, s)
	}
	if err != nil {
		return false, errs.Wrap("store.Compact", err)
	}
	if removed {
		st.counters.compacted.Add(1)
	}
	return removed || s.blobs.Load() < before, nil
}

func (st *Store) removeCompacted(ctx context.Context, s *seg) (bool, error) {
	st.janitor.tidy.Lock()
	defer st.janitor.tidy.Unlock()
	if (*st.segments.Load())[uint32(s.Number)] != s {
		return true, nil // tidying came first
	}
	return st.removeIfDead(ctx, s)
}

// wants says whether a segment is sealed, at least the share dead of it is dead or a piece of it damaged, and something in it is alive that a compaction has not
// left there. It is called with Store.mu.
func (s *seg) wants(dead float64) bool {
	blobs, size := s.blobs.Load(), s.end-segment.HeaderLen
	return s.end > 0 && !s.moving && blobs > 0 && size > 0 && s.tried != blobs && (s.damaged || s.deadShare() >= dead)
}

func (s *seg) deadShare() float64 {
	return 1 - float64(s.bytes.Load())/float64(s.end-segment.HeaderLen)
}

// mostDead finds the segment to be compacted next and marks it: it stays until moved.
func (st *Store) mostDead(deadMin float64, upTo uint64) *seg {
	st.mu.Lock()
	defer st.mu.Unlock()
	var best *seg
	for _, s := range *st.segments.Load() {
		if s.Number <= upTo && s.wants(deadMin) && (best == nil || s.deadShare() > best.deadShare()) {
			best = s
		}
	}
	if best == nil {
		return nil
	}
	best.moving = true
	c := &st.compaction
	c.done.Store(0)
	c.total.Store(best.bytes.Load())
	c.began.Store(time.Now().UnixNano())
	c.segment.Store(best.Number)
	return best
}

// moved ends the compaction of a segment; whole says that what is still alive in it is to be left there.
func (st *Store) moved(s *seg, whole bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	s.moving = false
	if whole {
		s.tried = s.blobs.Load()
	}
	st.compaction.segment.Store(0)
}

// copyLiving copies what is alive in a segment; it is on disk when nil is returned, and in any case no copy is under way any more. What
// fails its checksums is left out and noted.
func (st *Store) copyLiving(ctx context.Context, s *seg, step func(s *seg, n int)) error {
	p := pace{rate: st.o.CompactRate, begin: time.Now()}
	var groups []*group
	copied := 0
	flush := func() error {
		var failed error
		for _, g := range groups {
			if err := g.wait(context.Background()); err != nil && failed == nil {
				failed = err
			}
		}
		st.compaction.done.Add(int64(copied))
		if failed == nil && step != nil && copied > 0 {
			step(s, copied)
		}
		groups, copied = groups[:0], 0
		return failed
	}
	_, err := s.Scan(segment.HeaderLen, s.end, func(off int64, h record.Header, _ []byte) error {
		if h.Type != record.Blob {
			return nil
		}
		g, n, err := st.copyBlob(ctx, s, off, h)
		if err != nil {
			return err
		}
		if g != nil && (len(groups) == 0 || groups[len(groups)-1] != g) {
			groups = append(groups, g)
		}
		p.done += int64(n)
		if copied += n; copied < compactStep {
			return nil
		}
		if err := flush(); err != nil {
			return err
		}
		return p.wait(ctx)
	})
	if ferr := flush(); err == nil {
		err = ferr
	}
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

// copyBlob appends a copy of the record at off if the blob is alive and this is the record that counts.
func (st *Store) copyBlob(ctx context.Context, s *seg, off int64, h record.Header) (*group, int, error) {
	for !st.flights.start(h.ID) { // lands when the copy is in the index
	}
	e, ok, err := st.lookup(h.ID)
	if err != nil || !ok || e.State() >= index.Dropped || e.Segment != uint32(s.Number) || e.Off() != off {
		st.flights.land(h.ID)
		return nil, 0, err
	}
	data, h, err := s.ReadRecord(off)
	if err != nil {
		st.flights.land(e.ID)
		if errs.Is(err, errs.Corrupt) {
			st.noteBad(&e, err)
			return nil, 0, nil
		}
		return nil, 0, err
	}
	h.Flags &^= record.Committed
	if e.State() == index.Committed {
		h.Flags |= record.Committed
	}
	parts := [][]byte{data}
	n := record.Header{Type: record.Blob, Flags: h.Flags, ID: h.ID, Epochs: h.Epochs, Length: h.Length}
	g, err := st.logFor(len(data)).append(ctx, item{h: n, sums: record.Sums(nil, parts), data: parts, need: synced})
	if err != nil {
		st.flights.land(h.ID)
		return nil, 0, err
	}
	st.counters.copied.Add(int64(len(data)))
	return g, s.Layout().Size(len(data)), nil
}

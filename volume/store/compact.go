package store

import (
	"context"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
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

// compactOne compacts the segment with the largest dead share, if one has enough. It is called with the janitor's lock.
func (st *Store) compactOne(ctx context.Context, deadMin float64) (bool, error) {
	s := st.mostDead(deadMin)
	if s == nil {
		return false, nil
	}
	before := s.blobs.Load()
	err := st.copyLiving(ctx, s)
	removed := false
	if err == nil && s.blobs.Load() == 0 {
		removed, err = st.remove(ctx, s)
	}
	if err != nil {
		return false, errs.Wrap("store.Compact", err)
	}
	st.mu.Lock()
	s.tried = s.blobs.Load()
	st.mu.Unlock()
	if removed {
		st.janitor.removals++
		st.counters.removed.Add(1)
		st.counters.compacted.Add(1)
	}
	return removed || s.blobs.Load() < before, nil
}

// mostDead finds a sealed segment of which at least the share deadMin is dead, and something alive.
func (st *Store) mostDead(deadMin float64) *seg {
	st.mu.Lock()
	defer st.mu.Unlock()
	var best *seg
	most := deadMin
	for _, s := range *st.segments.Load() {
		blobs, size := s.blobs.Load(), s.end-segment.HeaderLen
		if s.end == 0 || s.damaged || blobs <= 0 || size <= 0 || s.tried == blobs {
			continue
		}
		if dead := 1 - float64(s.bytes.Load())/float64(size); dead >= most {
			best, most = s, dead
		}
	}
	return best
}

// copyLiving copies what is alive in a segment; it is on disk when nil is returned. What fails its checksums is left out and noted.
func (st *Store) copyLiving(ctx context.Context, s *seg) error {
	p := pace{rate: st.o.CompactRate, begin: time.Now()}
	var groups []*group
	step := 0
	flush := func() error {
		for _, g := range groups {
			if err := g.wait(ctx); err != nil {
				return err
			}
		}
		groups, step = groups[:0], 0
		return p.wait(ctx)
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
		if step += n; step < compactStep {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
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
	g, err := st.logFor(len(data)).append(ctx, n, record.Sums(nil, parts), parts, synced)
	if err != nil {
		st.flights.land(h.ID)
		return nil, 0, err
	}
	st.counters.copied.Add(int64(len(data)))
	return g, s.Layout().Size(len(data)), nil
}

// Compact rewrites all segments of which at least the share dead is dead, from 0 to 1, and removes dead ones. It is done now and
// then by itself, see Options.CompactDead.
func (st *Store) Compact(ctx context.Context, dead float64) error {
	for {
		if err := st.Tidy(ctx); err != nil {
			return err
		}
		st.janitor.tidy.Lock()
		if st.janitor.closed {
			st.janitor.tidy.Unlock()
			return errClosed
		}
		some, err := st.compactOne(ctx, max(dead, 1e-9))
		st.janitor.tidy.Unlock()
		if err != nil || !some {
			return err
		}
	}
}

// pace holds work to a rate.
type pace struct {
	rate  int64 // bytes per second; negative: no limit
	begin time.Time
	done  int64 // bytes since begin
}

// wait waits until as much may have been done.
func (p *pace) wait(ctx context.Context) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	d := time.Duration(float64(p.done)/float64(p.rate)*float64(time.Second)) - time.Since(p.begin)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Bad is a blob whose bytes here fail their checksums, or cannot be read. Preparing it again, from a good replica, replaces it.
type Bad struct {
	ID      object.BlobID
	Segment string
	Offset  int64 // of its record
	Cause   string
}

// noteBad puts a blob on the list of repairs.
func (st *Store) noteBad(e *index.Entry, cause error) {
	s := (*st.segments.Load())[e.Segment]
	if s == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, known := st.bad[e.ID]; !known {
		st.o.Logf("blob %s is bad: %v", e.ID, cause)
	}
	if st.bad == nil {
		st.bad = map[object.BlobID]Bad{}
	}
	st.bad[e.ID] = Bad{ID: e.ID, Segment: segment.Name(s.Number, s.Kind), Offset: e.Off(), Cause: cause.Error()}
	st.bads.Store(int64(len(st.bad)))
}

// isBad says whether a blob waits for repair.
func (st *Store) isBad(id object.BlobID) bool {
	if st.bads.Load() == 0 {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	_, bad := st.bad[id]
	return bad
}

// good takes a blob off the list.
func (st *Store) good(id object.BlobID) {
	if st.bads.Load() == 0 {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.bad, id)
	st.bads.Store(int64(len(st.bad)))
}

// Repairs lists the living blobs that reads, compaction and scrub found bad since the volume was opened.
func (st *Store) Repairs() []Bad {
	st.mu.Lock()
	all := make([]Bad, 0, len(st.bad))
	for _, b := range st.bad {
		all = append(all, b)
	}
	st.mu.Unlock()
	living := all[:0]
	for _, b := range all {
		if e, ok, err := st.index.Get(b.ID); err != nil || (ok && e.State() < index.Dropped) {
			living = append(living, b)
		}
	}
	return living
}

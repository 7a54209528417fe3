package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// When a page of the index file turns out damaged while the volume is open, the file is removed, so that a crash from here on lets the
// next start read the segments, and its table is built again from them while everything else goes on: a cut is taken as for a
// checkpoint, the records below it are read into a table in memory, that is merged with what was frozen at the cut, and written
// as the index file of that cut. Until then what needs a damaged page is errs.Unavailable; the rest is served.
//
// Why the records say it all: every entry of the file was made from records below its own cut, which is below this one. What the records
// above the cut say of blobs below it is read too, last with the janitor's lock: a segment that was removed meanwhile had its word of
// other segments' blobs appended there. Only a hint that was not yet written at its cut may be read back as lost, which a hint may be.
//
// Reading takes long and holds no lock of the janitor: free space is watched and dead segments are removed meanwhile.

// rebuildPause is the time between attempts to build the index again that fail.
const rebuildPause = time.Minute

// indexError notes a damaged index file, unless err is of one that was replaced since. While the volume is being opened, open reads the
// segments instead.
func (st *Store) indexError(err error) {
	if !errs.Is(err, errs.Corrupt) {
		return
	}
	st.verdict.Lock()
	defer st.verdict.Unlock()
	if b := index.DamagedBase(err); (b != nil && b != st.index.Base()) || st.indexBad.Swap(true) {
		return
	}
	st.o.Logf("the index is damaged: %v; building it again from the segments", err)
	if rerr := st.o.FS.Remove(st.o.FS.PathJoin(st.dir, indexName)); rerr != nil && !vfs.IsNotExist(rerr) {
		st.o.Logf("removing the index: %v", rerr)
	}
	wake(st.janitor.bad)
}

// damagedIndex says that the index file was found damaged and is removed.
func (st *Store) damagedIndex() bool {
	st.verdict.Lock()
	defer st.verdict.Unlock()
	return st.indexBad.Load()
}

// unavailable is what a caller gets for an index that cannot be read: nothing is known of the blob, not even that it is damaged.
func unavailable(err error) error {
	if errs.Is(err, errs.Corrupt) {
		return errs.WrapKind("", errs.Unavailable, err)
	}
	return err
}

// rebuildIndex builds the index again if it is damaged.
func (st *Store) rebuildIndex(ctx context.Context) error {
	const op = "store.rebuildIndex"
	j := &st.janitor
	j.rebuilding.Lock() // one at a time
	defer j.rebuilding.Unlock()
	if !st.damagedIndex() || time.Now().Before(j.rebuildNext) {
		return nil
	}
	began := time.Now()
	c, err := st.rebuildCut()
	if c == nil || err != nil {
		return errs.Wrap(op, err)
	}
	j.rebuildNext = began.Add(rebuildPause)
	r := rebuild{st: st, early: map[object.BlobID]index.State{}, read: map[uint32]int64{}}
	for _, n := range slices.Sorted(maps.Keys(c.cut.segments)) {
		if err := r.segment(ctx, uint32(n), int64(c.cut.segments[n].end)); err != nil {
			return errs.Wrap(op, err)
		}
	}
	if err := r.raise(ctx); err != nil {
		return errs.Wrap(op, err)
	}
	if err := r.finish(ctx, c); err != nil {
		return errs.WrapKind(op, errs.Unavailable, err)
	}
	j.rebuildNext = time.Time{}
	st.o.Logf("the index is built again: %d entries in %v", r.table.Len(), time.Since(began).Round(time.Millisecond))
	return nil
}

// rebuildCut takes a cut, unless there is one whose file could not be written, perhaps because of the damage; nil if that must wait for
// the next write, which seals a failed segment.
func (st *Store) rebuildCut() (*cutting, error) {
	st.janitor.tidy.Lock()
	defer st.janitor.tidy.Unlock()
	if st.janitor.closed {
		return nil, errClosed
	}
	if st.cutting == nil {
		c, err := st.takeCut()
		if errors.Is(err, errNotSealed) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		st.cutting = c
	}
	return st.cutting, nil
}

// rebuild reads segments into a table.
type rebuild struct {
	st    *Store
	table index.Table
	early map[object.BlobID]index.State // of blobs not met yet
	read  map[uint32]int64              // up to where segments were read
}

// finish reads what came last and puts the table in the place of the index.
func (r *rebuild) finish(ctx context.Context, c *cutting) error {
	j := &r.st.janitor
	j.tidy.Lock()
	defer j.tidy.Unlock()
	if j.closed {
		return errClosed
	}
	if err := r.raise(ctx); err != nil {
		return err
	}
	c.merge.Rebuilt(&r.table)
	c.rebuilt = true
	if err := r.st.finishCut(c); err != nil {
		return err
	}
	r.st.cutting = nil
	r.st.counters.checkpoints.Add(1)
	return nil
}

// raise reads on in all segments, for what is said there of blobs that were met.
func (r *rebuild) raise(ctx context.Context) error {
	for number := range *r.st.segments.Load() {
		if err := r.raiseIn(ctx, number); err != nil {
			return err
		}
	}
	return nil
}

func (r *rebuild) raiseIn(ctx context.Context, number uint32) error {
	s := r.st.segment(number)
	if s == nil {
		return nil
	}
	defer s.Release()
	r.st.mu.Lock()
	end := s.end
	r.st.mu.Unlock()
	if end == 0 {
		end = s.Synced()
	}
	from := max(r.read[number], segment.HeaderLen)
	if from >= end {
		return nil
	}
	r.read[number] = end
	_, err := s.Scan(from, end, func(_ int64, h record.Header, data []byte) error {
		if to := stateOf(h.Type); to != 0 {
			return r.control(data, to)
		}
		return ctx.Err()
	})
	return err
}

// segment reads all records of a segment below end.
func (r *rebuild) segment(ctx context.Context, number uint32, end int64) error {
	s := r.st.segment(number)
	if s == nil {
		return nil // removed since the cut: dead, or copied to others above it
	}
	defer s.Release()
	gaps, err := s.Scan(segment.HeaderLen, end, func(off int64, h record.Header, data []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return r.record(number, off, &h, data)
	})
	for _, g := range gaps {
		r.st.gap(s, g)
	}
	r.read[number] = end
	return err
}

// control raises the states of blobs; of those not met yet it is remembered.
func (r *rebuild) control(data []byte, to index.State) error {
	ids, err := record.ParseIDs(data)
	for _, id := range ids {
		if !r.table.Update(id, func(e *index.Entry) { e.SetState(max(e.State(), to)) }) {
			r.early[id] = max(r.early[id], to)
		}
	}
	return err
}

func (r *rebuild) record(segment uint32, off int64, h *record.Header, data []byte) error {
	if to := stateOf(h.Type); to != 0 {
		return r.control(data, to)
	}
	if h.Type != record.Blob {
		return nil
	}
	state := max(index.Prepared, r.early[h.ID])
	delete(r.early, h.ID)
	if h.Flags&record.Committed != 0 {
		state = max(state, index.Committed)
	}
	if old, ok := r.table.Get(h.ID); ok {
		state = max(state, old.State())
	}
	r.table.Put(index.MakeEntry(h.ID, segment, off, int(h.Length), state, h.Epochs.Cluster))
	return nil
}

// gap notes a damaged piece of a segment, once.
func (st *Store) gap(s *seg, g segment.Gap) {
	d := Damage{Segment: segment.Name(s.Number, s.Kind), From: g.From, To: g.To, Cause: "no valid record"}
	st.mu.Lock()
	s.damaged = true
	known := slices.ContainsFunc(st.damage, func(x Damage) bool { return x.Segment == d.Segment && x.From <= d.From && (d.To <= x.To || x.To < 0) })
	st.mu.Unlock()
	if !known {
		st.damaged(d)
	}
}

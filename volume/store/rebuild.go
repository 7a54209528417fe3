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
// Why the records say it all: every entry of the file was made from records below its own cut, which is below this one. Only a hint that
// was not yet written at its cut may be read back as lost, which a hint may be.

// rebuildPause is the time between attempts to build the index again that fail.
const rebuildPause = time.Minute

// indexError notes a damaged index file. While the volume is being opened, open reads the segments instead.
func (st *Store) indexError(err error) {
	if !errs.Is(err, errs.Corrupt) || st.indexBad.Swap(true) {
		return
	}
	st.o.Logf("the index is damaged: %v; building it again from the segments", err)
	if rerr := st.o.FS.Remove(st.o.FS.PathJoin(st.dir, indexName)); rerr != nil && !vfs.IsNotExist(rerr) {
		st.o.Logf("removing the index: %v", rerr)
	}
	st.janitor.wakeUp()
}

// unavailable is what a caller gets for an index that cannot be read: nothing is known of the blob, not even that it is damaged.
func unavailable(err error) error {
	if errs.Is(err, errs.Corrupt) {
		return errs.WrapKind("", errs.Unavailable, err)
	}
	return err
}

// rebuildIndex builds the index again if it is damaged. It is called with the janitor's lock.
func (st *Store) rebuildIndex(ctx context.Context) (err error) {
	if !st.indexBad.Load() || time.Now().Before(st.rebuildNext) {
		return nil
	}
	if st.cutting == nil { // else one whose file could not be written, perhaps because of the damage
		if st.cutting, err = st.takeCut(); errors.Is(err, errNotSealed) {
			return nil // the next write seals it
		}
		if err != nil {
			return errs.Wrap("store.rebuildIndex", err)
		}
	}
	began := time.Now()
	st.rebuildNext = began.Add(rebuildPause)
	r := rebuild{st: st, early: map[object.BlobID]index.State{}}
	for _, n := range slices.Sorted(maps.Keys(st.cutting.cut.segments)) {
		if err := r.segment(ctx, uint32(n), int64(st.cutting.cut.segments[n].end)); err != nil {
			return errs.Wrap("store.rebuildIndex", err)
		}
	}
	st.cutting.merge.Rebuilt(&r.table)
	if err := st.finishCut(st.cutting); err != nil {
		return errs.WrapKind("store.rebuildIndex", errs.Unavailable, err)
	}
	st.cutting, st.rebuildNext = nil, time.Time{}
	st.indexBad.Store(false)
	st.counters.checkpoints.Add(1)
	st.o.Logf("the index is built again: %d entries in %v", r.table.Len(), time.Since(began).Round(time.Millisecond))
	return nil
}

// rebuild reads segments into a table.
type rebuild struct {
	st    *Store
	table index.Table
	early map[object.BlobID]index.State // of blobs not met yet
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
	return err
}

func (r *rebuild) record(segment uint32, off int64, h *record.Header, data []byte) error {
	if to := stateOf(h.Type); to != 0 {
		ids, err := record.ParseIDs(data)
		for _, id := range ids {
			if !r.table.Update(id, func(e *index.Entry) { e.SetState(max(e.State(), to)) }) {
				r.early[id] = max(r.early[id], to)
			}
		}
		return err
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

package store

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// removeIfDead removes a segment if nothing in it is alive. It is called with the janitor's lock.
func (st *Store) removeIfDead(ctx context.Context, s *seg) (bool, error) {
	j := &st.janitor
	if !st.removable(s, j.removals) {
		return false, nil
	}
	removed, err := st.remove(ctx, s)
	if err != nil {
		return false, err
	}
	if removed {
		j.removals++
		st.counters.removed.Add(1)
		st.counters.returned.Add(s.Capacity)
		return true, nil
	}
	if s.blobs.Load() == 0 {
		st.mu.Lock()
		s.keep = j.removals + 1
		st.mu.Unlock()
	}
	return false, nil
}

// removable says whether a segment may be dead. One that is being compacted is not: copies of its blobs may be under way, which
// must find the blobs' entries to learn of their death.
func (st *Store) removable(s *seg, removals int64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return s.end > 0 && !s.moving && s.blobs.Load() == 0 && s.keep <= removals
}

// keepShare is the part of a segment that may be copied on when it is removed: were it more, segments of nothing but tombstones
// would be copied round and round.
const keepShare = 4

// remove removes a dead segment; see the fifth invariant of the package. It declines when too much of it must be kept. Pieces that do not
// parse are set aside: see lost.go.
func (st *Store) remove(ctx context.Context, s *seg) (bool, error) {
	c := census{st: st, s: s, stale: st.othersStale(s), damaged: st.isDamaged(s), keep: map[record.Type][]object.BlobID{}}
	gaps, err := s.Scan(segment.HeaderLen, s.end, c.visit)
	if err != nil {
		return false, err
	}
	if len(gaps) > 0 {
		st.noteDamaged(s, gaps)
	}
	if c.alive > 0 || c.keeps*keepShare > s.end {
		return false, nil
	}
	if err := c.copyOn(ctx); err != nil {
		return false, err
	}
	if len(gaps) > 0 {
		if err := st.setAside(s, gaps); err != nil {
			return false, err
		}
	}
	if err := st.o.FS.Remove(s.Path()); err != nil && !vfs.IsNotExist(err) {
		return false, errs.WrapKind("", errs.Unavailable, err)
	}
	if err := vfs.SyncDir(st.o.FS, st.dir); err != nil {
		return false, errs.WrapKind("", errs.Unavailable, err)
	}
	st.alterSegments(func(m map[uint32]*seg) { delete(m, uint32(s.Number)) })
	st.index.Drop(uint32(s.Number))
	s.Release()
	return true, nil
}

// census finds what a dead segment says of others.
type census struct {
	st      *Store
	s       *seg
	alive   int  // blobs in it, which should be 0
	stale   bool // other segments hold copies that count elsewhere
	damaged bool // it was when the scan began
	keep    map[record.Type][]object.BlobID
	ends    []record.End
	keeps   int64 // bytes
}

func (c *census) visit(off int64, h record.Header, data []byte) error {
	switch {
	case h.Type == record.Blob:
		e, ok, err := c.st.lookupSure(h.ID)
		if !ok && err == nil && c.damaged { // it could not be read when the index was made
			c.st.applyBlob(c.s, off, &h)
			c.alive++
		}
		if ok && e.Segment == uint32(c.s.Number) && e.State() < index.Dropped {
			c.alive++
		}
		return err
	case h.Type == record.Seal:
		return c.seals(data)
	case stateOf(h.Type) != 0:
		return c.control(h.Type, data)
	}
	return nil
}

// othersStale says whether a copy of a blob may be in another segment than the one that counts.
func (st *Store) othersStale(s *seg) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, x := range *st.segments.Load() {
		if x != s && x.stale {
			return true
		}
	}
	return false
}

// seals keeps those of segments that still exist.
func (c *census) seals(data []byte) error {
	ends, err := record.ParseEnds(data)
	for _, e := range ends {
		if _, ok := (*c.st.segments.Load())[uint32(e.Segment)]; ok {
			c.ends = append(c.ends, e)
			c.keeps += int64(len(record.AppendEnds(nil, ends[:1])))
		}
	}
	return err
}

// control keeps what is said of blobs with bytes in other segments, if nothing higher was said since.
func (c *census) control(t record.Type, data []byte) error {
	ids, err := record.ParseIDs(data)
	for _, id := range ids {
		e, ok, err := c.st.lookupSure(id)
		if err != nil {
			return err
		}
		gone := !ok || e.Segment == uint32(c.s.Number)
		if (!gone && e.State() == stateOf(t)) || (gone && c.stale && stateOf(t) >= index.Dropped) {
			c.keep[t] = append(c.keep[t], id)
			c.keeps += object.BlobIDLen
		}
	}
	return err
}

// copyOn appends what must be kept and waits until it is on disk.
func (c *census) copyOn(ctx context.Context) error {
	for _, t := range []record.Type{record.Commit, record.Abort, record.Tombstone} {
		g, err := c.st.appendIDs(ctx, t, c.keep[t], synced)
		if err == nil && g != nil {
			err = g.wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return c.st.appendSeals(ctx, c.ends)
}

// isDamaged says whether a piece of the segment is known not to parse.
func (st *Store) isDamaged(s *seg) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return s.damaged
}

// noteDamaged reports pieces that do not parse, the first time.
func (st *Store) noteDamaged(s *seg, gaps []segment.Gap) {
	st.mu.Lock()
	known := s.damaged
	s.damaged = true
	st.mu.Unlock()
	if known {
		return
	}
	for _, g := range gaps {
		st.damaged(Damage{Segment: segment.Name(s.Number, s.Kind), From: g.From, To: g.To, Cause: "no valid record"})
	}
}

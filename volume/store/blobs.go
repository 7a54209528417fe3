package store

import (
	"context"
	"sync"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/index"
	"minikv/volume/record"
)

var sumsPool = sync.Pool{New: func() any {
	s := make([]uint32, 0, record.BlocksMax)
	return &s
}}

// Prepare stores a blob, the concatenation of data, which may be reused when Prepare has returned. durable says that it is on disk,
// as it always is with the policy Always.
//
// It may be repeated: the same bytes are stored once. Errors: errs.Conflict for other bytes under the same id, errs.Aborted for
// a blob that was aborted or deleted, errs.StaleEpoch below the horizon, errs.StorageFull, errs.EntityTooLarge. After any other
// error, an ended context included, the blob may be there or not.
func (st *Store) Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (durable bool, err error) {
	const op = "store.Prepare"
	length := 0
	for _, d := range data {
		length += len(d)
	}
	if length > st.o.BlobMax {
		return false, errs.E(op, errs.EntityTooLarge, "a blob has at most %d bytes, not %d", st.o.BlobMax, length)
	}
	if h := st.horizon.Load(); ep.Cluster < h {
		return false, errs.E(op, errs.StaleEpoch, "epoch %d is below the horizon %d", ep.Cluster, h)
	}
	sums := sumsPool.Get().(*[]uint32)
	defer sumsPool.Put(sums)
	*sums = st.sumsOf((*sums)[:0], data, length)
	for !st.flights.start(id) {
	}
	e, known, err := st.lookup(id)
	if err != nil {
		st.flights.land(id)
		return false, errs.Wrap(op, err)
	}
	if known {
		again, durable, err := st.prepared(&e, length, *sums)
		if !again {
			st.flights.land(id)
			return durable, errs.Wrap(op, err)
		}
	}
	if st.full.Load() {
		st.flights.land(id)
		return false, errs.E(op, errs.StorageFull, "the disk of this volume is full")
	}
	durable, err = st.logFor(length).put(ctx, item{
		h:    record.Header{Type: record.Blob, ID: id, Epochs: ep, Length: uint32(length)},
		sums: *sums, data: data, need: st.prepareNeed(), fresh: !known,
	})
	if err != nil {
		return false, errs.Wrap(op, err)
	}
	st.counters.prepares.Add(1)
	return durable, nil
}

func (st *Store) logFor(length int) *log {
	if length >= st.o.LargeBlob {
		return st.large
	}
	return st.small
}

func (st *Store) prepareNeed() need {
	if st.o.Fsync == Always {
		return synced
	}
	return written
}

// prepared answers a repeated prepare. again says that the stored copy is damaged and may be replaced.
func (st *Store) prepared(e *index.Entry, length int, sums []uint32) (again, durable bool, err error) {
	if e.State() == index.Evicted {
		return true, false, nil
	}
	if e.State() >= index.Dropped {
		return false, false, errs.E("", errs.Aborted, "blob %s was aborted or deleted", e.ID)
	}
	s := st.segment(e.Segment)
	if s == nil {
		return true, false, nil
	}
	defer s.Release()
	if st.isBad(e.ID) && e.Length() == length {
		return true, false, nil
	}
	if e.Length() != length {
		return false, false, conflict(e)
	}
	stored, err := s.Sums(e.ID, e.Off(), length)
	if err != nil {
		return errs.Is(err, errs.Corrupt), false, err
	}
	for i := range sums {
		if sums[i] != stored[i] {
			return false, false, conflict(e)
		}
	}
	return false, e.Off()+int64(s.Layout().Size(length)) <= s.Synced(), nil
}

func conflict(e *index.Entry) error {
	return errs.E("", errs.Conflict, "blob %s is here with other bytes", e.ID)
}

// Commit notes that the blobs' run was published. It is a hint, written with what comes next: a crash may lose it. Blobs that are
// not here give errs.BlobMissing, aborted ones errs.Aborted, after all others were noted.
func (st *Store) Commit(ctx context.Context, ids ...object.BlobID) error {
	const op = "store.Commit"
	return st.hint(ctx, op, record.Commit, index.Committed, ids, func(was index.State, id object.BlobID) error {
		switch was {
		case 0, index.Evicted:
			return errs.E(op, errs.BlobMissing, "blob %s is not on this volume", id)
		case index.Dropped, index.Deleted:
			return errs.E(op, errs.Aborted, "blob %s was aborted or deleted", id)
		}
		return nil
	})
}

// Abort drops blobs that were never proposed. Blobs that are not here are none of its business; committed ones give errs.Conflict,
// after all others were dropped. A crash may lose it; the collector then drops them.
func (st *Store) Abort(ctx context.Context, ids ...object.BlobID) error {
	const op = "store.Abort"
	return st.hint(ctx, op, record.Abort, index.Dropped, ids, func(was index.State, id object.BlobID) error {
		if was == index.Committed {
			return errs.E(op, errs.Conflict, "blob %s is committed", id)
		}
		return nil
	})
}

// hint raises blobs to a state, unless check refuses, and appends a record of those that rose.
func (st *Store) hint(ctx context.Context, op string, t record.Type, to index.State, ids []object.BlobID, check func(index.State, object.BlobID) error) error {
	var failed error
	rose := make([]object.BlobID, 0, len(ids))
	for _, id := range ids {
		was, err := st.raise(id, to, check)
		if err != nil && failed == nil {
			failed = err
		}
		if err == nil && was != 0 && was < to {
			rose = append(rose, id)
		}
	}
	if _, err := st.appendIDs(ctx, t, rose, lazy); err != nil {
		return errs.Wrap(op, err)
	}
	return failed
}

// raise is advance unless check refuses the state before.
func (st *Store) raise(id object.BlobID, to index.State, check func(index.State, object.BlobID) error) (was index.State, err error) {
	var e index.Entry
	_, ierr := st.index.Update(id, func(x *index.Entry) {
		was, e = x.State(), *x
		if err = check(was, id); err == nil && to > was {
			x.SetState(to)
		}
	})
	if ierr != nil {
		st.indexError(ierr)
		return 0, unavailable(ierr)
	}
	if was == 0 {
		return 0, check(0, id)
	}
	if err == nil && was < index.Dropped && to >= index.Dropped {
		st.account((*st.segments.Load())[e.Segment], e.Length(), -1)
	}
	return was, err
}

// appendIDs appends control records about ids and returns the group of the last; nil if there were none.
func (st *Store) appendIDs(ctx context.Context, t record.Type, ids []object.BlobID, n need) (*group, error) {
	var last *group
	for len(ids) > 0 {
		some := ids[:min(len(ids), record.IDsMax)]
		ids = ids[len(some):]
		h, data := st.idsRecord(t, some)
		g, err := st.small.append(ctx, item{h: h, sums: record.Sums(nil, data), data: data, need: n})
		if err != nil {
			return nil, err
		}
		if n == synced && last != nil && last != g {
			if err := last.wait(ctx); err != nil {
				return nil, err
			}
		}
		last = g
	}
	return last, nil
}

// idsRecord is a control record about ids, at most record.IDsMax.
func (st *Store) idsRecord(t record.Type, ids []object.BlobID) (record.Header, [][]byte) {
	data := record.AppendIDs(nil, ids)
	return record.Header{Type: t, Length: uint32(len(data)), Epochs: object.Epochs{Cluster: st.horizon.Load()}}, [][]byte{data}
}

// Delete drops blobs whose run is gone; that is on disk when it returns nil. Blobs that are not here are left out.
func (st *Store) Delete(ctx context.Context, ids ...object.BlobID) error {
	const op = "store.Delete"
	here, entries := make([]object.BlobID, 0, len(ids)), make([]index.Entry, len(ids))
	if err := st.index.GetAll(ids, entries); err != nil {
		st.indexError(err)
		return errs.Wrap(op, unavailable(err))
	}
	for i, id := range ids {
		if s := entries[i].State(); s != 0 && s < index.Deleted {
			here = append(here, id)
		}
	}
	for len(here) > 0 {
		some := here[:min(len(here), record.IDsMax)]
		here = here[len(some):]
		h, data := st.idsRecord(record.Tombstone, some)
		if _, err := st.small.put(ctx, item{h: h, sums: record.Sums(nil, data), data: data, need: synced}); err != nil {
			return errs.Wrap(op, err)
		}
		st.counters.deletes.Add(int64(len(some)))
	}
	return nil
}

// ReadAt reads into dst the blob's bytes from off on and returns how many there were: less than len(dst) only at the blob's end.
// All is verified before it returns. Errors: errs.BlobMissing, and errs.Corrupt naming segment and offset, with which nothing in dst
// counts. It allocates nothing.
func (st *Store) ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	const op = "store.ReadAt"
	if err := ctx.Err(); err != nil {
		return 0, errs.Wrap(op, err)
	}
	if off < 0 {
		return 0, errs.E(op, errs.Invalid, "offset %d", off)
	}
	e, s, err := st.locate(id)
	if s == nil {
		return 0, st.missing(op, id, err)
	}
	n, err := s.ReadAt(id, e.Off(), e.Length(), dst, off)
	s.Release()
	st.counters.reads.Add(1)
	if err != nil {
		st.counters.readErrors.Add(1)
		if errs.Is(err, errs.Corrupt) {
			st.noteBad(&e, err)
		}
		return 0, errs.Wrap(op, err)
	}
	if n == e.Length() {
		st.good(id) // it could not be read for a moment, or its bad record was replaced while another reader found it bad
	}
	return n, nil
}

// locate finds a living blob and its segment, which stays open until Release. The segment is nil if there is none.
func (st *Store) locate(id object.BlobID) (index.Entry, *seg, error) {
	for range 3 { // the blob may move between the look into the index and that for the segment
		e, ok, err := st.lookup(id)
		if err != nil || !ok || e.State() >= index.Dropped {
			return e, nil, err
		}
		if s := st.segment(e.Segment); s != nil {
			return e, s, nil
		}
	}
	return index.Entry{}, nil, nil
}

// missing is the error for a blob that was not found; a closed volume finds none and must not say so.
func (st *Store) missing(op string, id object.BlobID, err error) error {
	if st.closing.Load() {
		return errs.Wrap(op, errClosed)
	}
	if err != nil {
		return errs.Wrap(op, err)
	}
	return errs.E(op, errs.BlobMissing, "blob %s is not on this volume", id)
}

// Stat tells what is known of a blob; it reads its header. Errors: as ReadAt.
func (st *Store) Stat(id object.BlobID) (object.BlobInfo, error) {
	const op = "store.Stat"
	e, s, err := st.locate(id)
	if s == nil {
		return object.BlobInfo{}, st.missing(op, id, err)
	}
	defer s.Release()
	h, err := s.HeaderAt(id, e.Off(), e.Length())
	if err != nil {
		return object.BlobInfo{}, errs.Wrap(op, err)
	}
	info := infoOf(&e)
	info.Epochs = h.Epochs
	return info, nil
}

func infoOf(e *index.Entry) object.BlobInfo {
	state := object.BlobPrepared
	if e.State() == index.Committed {
		state = object.BlobCommitted
	}
	return object.BlobInfo{ID: e.ID, Length: int64(e.Length()), State: state, Epochs: object.Epochs{Cluster: uint64(e.Epoch)}}
}

// List gives up to limit living blobs after the given one, in the order of the ids' hashes; the zero id begins at the start. Fewer
// than limit mean the end. Shard epochs are left out (see Stat). Errors: errs.Unavailable when the index cannot be read, or the volume
// is closed; there are no blobs then.
func (st *Store) List(after object.BlobID, limit int) ([]object.BlobInfo, error) {
	return st.list("store.List", after, limit, func(*index.Entry) bool { return true })
}

// ListPrepared is List of blobs that are not committed and whose epoch is below the given one.
func (st *Store) ListPrepared(after object.BlobID, limit int, below uint64) ([]object.BlobInfo, error) {
	return st.list("store.ListPrepared", after, limit, func(e *index.Entry) bool { return e.State() == index.Prepared && uint64(e.Epoch) < below })
}

// TallyPrepared is ListPrepared, and tells see the epochs of the other blobs that are not committed: a walk over all pages tells of each once.
func (st *Store) TallyPrepared(after object.BlobID, limit int, below uint64, see func(epoch uint64)) ([]object.BlobInfo, error) {
	return st.list("store.TallyPrepared", after, limit, func(e *index.Entry) bool {
		if e.State() != index.Prepared {
			return false
		}
		if uint64(e.Epoch) < below {
			return true
		}
		see(uint64(e.Epoch))
		return false
	})
}

// ListCommitted is List of blobs that are committed and whose epoch is below the given one.
func (st *Store) ListCommitted(after object.BlobID, limit int, below uint64) ([]object.BlobInfo, error) {
	return st.list("store.ListCommitted", after, limit, func(e *index.Entry) bool { return e.State() == index.Committed && uint64(e.Epoch) < below })
}

func (st *Store) list(op string, after object.BlobID, limit int, want func(*index.Entry) bool) ([]object.BlobInfo, error) {
	var infos []object.BlobInfo
	err := st.scanLiving(after, func(e *index.Entry) bool {
		if want(e) {
			infos = append(infos, infoOf(e))
		}
		return len(infos) < limit
	})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	return infos, nil
}

// SetHorizon makes the store refuse prepares of older epochs from now on. The horizon never falls. Control records carry it, so what
// was dropped on its word stays refused after a crash.
func (st *Store) SetHorizon(epoch uint64) {
	for {
		h := st.horizon.Load()
		if epoch <= h || st.horizon.CompareAndSwap(h, epoch) {
			return
		}
	}
}

// Horizon is the lowest epoch whose prepares are accepted.
func (st *Store) Horizon() uint64 { return st.horizon.Load() }

// NewestEpoch is the highest epoch of a blob seen.
func (st *Store) NewestEpoch() uint64 { return st.newest.Load() }

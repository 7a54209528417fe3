package store

import (
	"cmp"
	"context"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// replay brings the index up to date from the segments, after anything but a clean close: from all of them, or from what is above
// the cut of the index file.
type replay struct {
	st    *Store
	files []*segment.File
	cut   *cut // nil: there is no index
	tails map[uint64]segment.Tail
	seals map[uint64][]sealAt // by the segment they seal
	early map[object.BlobID]index.State
	began bool // records of blobs were taken in

	open []*segment.File // without a valid seal
	kept []record.End    // seals that are only in tails
	tail []tailRecord    // what lies in tails, in order
}

// tailRecord is a record above the durable end of an unsealed segment.
type tailRecord struct {
	f   *segment.File
	off int64
	h   record.Header
}

// sealAt is a seal record's word, found in a segment at an offset.
type sealAt struct {
	in  uint64
	off int64
	record.End
}

func (st *Store) replay(files []*segment.File, c *cut) (*replay, error) {
	r := &replay{
		st: st, files: files, cut: c, tails: map[uint64]segment.Tail{}, seals: map[uint64][]sealAt{},
		early: map[object.BlobID]index.State{},
	}
	for _, f := range files {
		from, sealed := r.known(f.Number)
		if sealed {
			continue
		}
		tail, err := f.FindEnd(from, func(off int64, h record.Header, data []byte) error { return r.survey(f, off, &h, data) })
		if err != nil {
			return nil, err
		}
		r.tails[f.Number] = tail
	}
	for _, f := range files {
		if _, sealed := r.known(f.Number); sealed {
			r.keepSeal(f.Number)
			continue
		}
		if err := r.read(f); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// keepSeal keeps the seal of a segment whose end the index knows, if it is only in a tail: the index file may be lost later.
func (r *replay) keepSeal(number uint64) {
	for _, s := range r.seals[number] {
		if _, owner := r.end(s.in, map[uint64]bool{}); owner == nil && s.off >= r.tails[s.in].Durable {
			r.kept = append(r.kept, record.End{Segment: number, Offset: r.cut.segments[number].end, Reason: s.Reason})
			return
		}
	}
}

// known says from where on a segment must be read, and whether its end is known, so that nothing of it must be.
func (r *replay) known(number uint64) (from int64, sealed bool) {
	if r.cut == nil || r.cut.segments[number] == nil {
		return segment.HeaderLen, false
	}
	s := r.cut.segments[number]
	return int64(s.end), s.role == roleSealed
}

// survey sees everything that parses, also what turns out not to count.
func (r *replay) survey(f *segment.File, off int64, h *record.Header, data []byte) error {
	r.st.sequence.Store(max(r.st.sequence.Load(), h.Sequence))
	if h.Type != record.Blob {
		r.st.SetHorizon(h.Epochs.Cluster)
	}
	if h.Type != record.Seal {
		return nil
	}
	ends, err := record.ParseEnds(data)
	for _, e := range ends {
		r.seals[e.Segment] = append(r.seals[e.Segment], sealAt{f.Number, off, e})
		r.st.lastNumber.Store(max(r.st.lastNumber.Load(), e.Segment)) // the seal of one that is gone must not speak of another
	}
	return err
}

// end finds where a segment ends by a seal that counts: one below the end of the segment it is in. No segment is sealed by one that
// it seals, since a segment that is sealed takes no more records.
func (r *replay) end(number uint64, visiting map[uint64]bool) (end int64, sealed *sealAt) {
	if end, sealed := r.known(number); sealed {
		return end, &sealAt{in: number}
	}
	if visiting[number] {
		return 0, nil
	}
	visiting[number] = true
	defer delete(visiting, number)
	for i := range r.seals[number] {
		s := &r.seals[number][i]
		if in, _ := r.end(s.in, visiting); s.off < in {
			return int64(s.Offset), s
		}
	}
	return r.tails[number].End, nil
}

// read takes a segment's records into the index: all of a sealed one, the durable ones of another.
func (r *replay) read(f *segment.File) error {
	end, seal := r.end(f.Number, map[uint64]bool{})
	tail := r.tails[f.Number]
	if seal == nil {
		end = tail.Durable
		r.open = append(r.open, f)
	} else if _, owner := r.end(seal.in, map[uint64]bool{}); owner == nil && seal.off >= r.tails[seal.in].Durable {
		r.kept = append(r.kept, seal.End)
	}
	s := (*r.st.segments.Load())[uint32(f.Number)]
	s.end = end
	f.Ended(end)
	from, _ := r.known(f.Number)
	gaps, err := f.Scan(from, end, func(off int64, h record.Header, data []byte) error { return r.apply(s, off, &h, data) })
	if err == nil && seal == nil {
		err = r.readTail(f, tail)
	}
	for _, g := range gaps {
		s.damaged = true
		r.st.damaged(Damage{Segment: segment.Name(f.Number, f.Kind), From: g.From, To: g.To, Cause: "no valid record"})
	}
	return err
}

// readTail notes what a tail holds; what it says of blobs counts at once.
func (r *replay) readTail(f *segment.File, tail segment.Tail) error {
	for off := tail.Durable; off < tail.End; {
		data, h, err := f.ReadRecord(off)
		if err != nil {
			return err
		}
		if to := stateOf(h.Type); to != 0 {
			if err := r.control(data, to); err != nil {
				return err
			}
		}
		r.tail = append(r.tail, tailRecord{f, off, h})
		off += int64(f.Layout().Size(len(data)))
	}
	return nil
}

// apply takes one record into the index and the accounts.
func (r *replay) apply(s *seg, off int64, h *record.Header, data []byte) error {
	if h.Type == record.Blob {
		return r.blob(s, off, h)
	}
	if to := stateOf(h.Type); to != 0 {
		return r.control(data, to)
	}
	return nil
}

func (r *replay) blob(s *seg, off int64, h *record.Header) error {
	if !r.began && r.cut != nil {
		r.st.tailFilter()
	}
	r.began = true
	state := max(index.Prepared, r.early[h.ID])
	if h.Flags&record.Committed != 0 {
		state = max(state, index.Committed)
	}
	old, ok, err := r.st.index.Get(h.ID)
	if err != nil {
		return err
	}
	if ok {
		if old.State() != index.Evicted { // this record is newer than the index that says so
			state = max(state, old.State())
		}
		if old.State() < index.Dropped {
			r.st.account((*r.st.segments.Load())[old.Segment], old.Length(), -1)
		}
		if old.Segment != uint32(s.Number) {
			r.st.staleCopy(old.Segment)
		}
	}
	r.st.index.Put(index.MakeEntry(h.ID, uint32(s.Number), off, int(h.Length), state, h.Epochs.Cluster))
	if state < index.Dropped {
		r.st.account(s, int(h.Length), 1)
	}
	r.st.counters.newestEpoch(&r.st.newest, h.Epochs.Cluster)
	return nil
}

// control raises the states of blobs; of those not met yet it is remembered.
func (r *replay) control(data []byte, to index.State) error {
	ids, err := record.ParseIDs(data)
	for _, id := range ids {
		if was := r.st.advance(id, to); was == 0 || was == index.Evicted {
			r.early[id] = max(r.early[id], to)
		}
	}
	return err
}

// salvage copies what was found above the durable ends into the running logs, waits until it is on disk, and then seals the segments
// it came from; those with nothing else in them go. See the third invariant of the package.
func (st *Store) salvage(r *replay) error {
	ctx := context.Background()
	// The latest first: a prepare that failed may have left whole bytes, and others been acknowledged under the same id since.
	slices.SortFunc(r.tail, func(a, b tailRecord) int { return cmp.Compare(b.h.Sequence, a.h.Sequence) })
	var last [2]*group // of each log; an earlier group is on disk before a later one
	for _, t := range r.tail {
		g, err := st.copyRecord(ctx, r, t)
		if err != nil {
			return err
		}
		if g != nil {
			n := 0
			if t.h.Type == record.Blob && st.logFor(int(t.h.Length)) == st.large {
				n = 1
			}
			if last[n] != nil && last[n] != g {
				if err := last[n].wait(ctx); err != nil {
					return err
				}
			}
			last[n] = g
		}
	}
	for _, g := range last {
		if g == nil {
			continue
		}
		if err := g.wait(ctx); err != nil {
			return err
		}
	}
	return st.sealOpen(ctx, r)
}

// sealOpen ends the segments that no seal spoke of.
func (st *Store) sealOpen(ctx context.Context, r *replay) error {
	ends := r.kept
	for _, f := range r.open {
		if d := r.tails[f.Number].Durable; d > segment.HeaderLen {
			ends = append(ends, record.End{Segment: f.Number, Offset: uint64(d), Reason: record.Recovered})
		}
	}
	if err := st.appendSeals(ctx, ends); err != nil {
		return err
	}
	for _, f := range r.open {
		if r.tails[f.Number].Durable == segment.HeaderLen {
			if err := st.discardActive((*st.segments.Load())[uint32(f.Number)]); err != nil {
				return errs.WrapKind("", errs.Unavailable, err)
			}
		}
	}
	return nil
}

// endsMax is the number of seals in one record.
const endsMax = record.BlockLen / 32

// appendSeals writes where segments end; that is on disk when it returns nil.
func (st *Store) appendSeals(ctx context.Context, ends []record.End) error {
	for len(ends) > 0 {
		some := ends[:min(len(ends), endsMax)]
		ends = ends[len(some):]
		data := [][]byte{record.AppendEnds(nil, some)}
		h := record.Header{Type: record.Seal, Length: uint32(len(data[0]))}
		g, err := st.small.append(ctx, item{h: h, sums: record.Sums(nil, data), data: data, need: synced})
		if err == nil {
			err = g.wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyRecord appends one record of a tail again, unless it has nothing more to say.
func (st *Store) copyRecord(ctx context.Context, r *replay, t tailRecord) (*group, error) {
	l, h := st.small, record.Header{Type: t.h.Type, Flags: t.h.Flags, ID: t.h.ID, Epochs: t.h.Epochs, Length: t.h.Length}
	if h.Type == record.Blob {
		state := r.early[h.ID]
		if state >= index.Dropped || !st.flights.start(h.ID) {
			return nil, nil // dead, or its copy was under way
		}
		if good, err := st.hasGood(h.ID); good || err != nil {
			st.flights.land(h.ID)
			return nil, err
		}
		if state == index.Committed {
			h.Flags |= record.Committed
		}
		l = st.logFor(int(h.Length))
	} else if stateOf(h.Type) == 0 {
		return nil, nil
	}
	data, _, err := t.f.ReadRecord(t.off)
	if err != nil {
		return nil, err
	}
	parts := [][]byte{data}
	return l.append(ctx, item{h: h, sums: record.Sums(nil, parts), data: parts, need: synced})
}

// hasGood says that a blob of the tail is elsewhere too, sound. A record that fails its checksums may be what the one in the tail
// replaced.
func (st *Store) hasGood(id object.BlobID) (bool, error) {
	e, ok, err := st.index.Get(id)
	if err != nil || !ok || e.State() == index.Evicted {
		return false, err
	}
	s := st.segment(e.Segment)
	if s == nil {
		return false, nil
	}
	defer s.Release()
	_, _, err = s.ReadRecord(e.Off())
	if errs.Is(err, errs.Corrupt) {
		return false, nil
	}
	return err == nil, err
}

// stateOf is the state that a control record gives to blobs; 0 for other records.
func stateOf(t record.Type) index.State {
	switch t {
	case record.Commit:
		return index.Committed
	case record.Abort:
		return index.Dropped
	case record.Tombstone:
		return index.Deleted
	}
	return 0
}

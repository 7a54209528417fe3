package payload

import (
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Written says what was prepared and who confirmed it, in the terms of the shard table as it is now; nil for an empty body.
//
// After errs.StaleShardEpoch of the decision the caller refreshes the layout and asks again: a confirmation stays true when its
// shard's epoch rises, since a member keeps what it confirmed, and a move copies what members have. Only volumes that still
// belong to the shard are listed; if they are no write quorum of it any more, that is errs.Unavailable.
func (w *Write) Written() (*metapb.Written, error) {
	if w.size == 0 {
		return nil, nil
	}
	t, err := tableOf(w.s.place.Layout())
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &metapb.Written{
		LowestEpoch: w.epoch,
		Run:         &metapb.Run{Base: w.base[:], BlobSize: uint32(w.blobBytes), Length: w.size, Ranges: w.ranges()},
	}
	var byShard map[uint32]*metapb.ShardWrite
	if len(w.attempts) > 1 {
		byShard = make(map[uint32]*metapb.ShardWrite, min(len(w.attempts), len(t.l.Shards)))
	}
	for _, a := range w.attempts {
		row := t.shard(a.id)
		volumes := a.listed(row)
		if !t.written(row, func(v uint32) bool { return contains(volumes, v) }) {
			return nil, errs.E("payload.Written", errs.Unavailable, "shard %d moved away from the volumes that have the blob", row.Shard)
		}
		s := byShard[row.Shard]
		if s == nil {
			s = &metapb.ShardWrite{Shard: row.Shard, Epoch: row.Epoch}
			if byShard != nil {
				byShard[row.Shard] = s
			}
			out.Shards = append(out.Shards, s)
		}
		confirm(s, volumes, a.id.Counter())
	}
	return out, nil
}

// ranges are the counters in the order of the body. The caller holds mu.
func (w *Write) ranges() []*metapb.CounterRange {
	var out []*metapb.CounterRange
	for _, a := range w.attempts {
		c := a.id.Counter()
		if n := len(out); n > 0 && out[n-1].First+out[n-1].Count == c {
			out[n-1].Count++
			continue
		}
		out = append(out, &metapb.CounterRange{First: c, Count: 1})
	}
	return out
}

// listed is who confirmed and still belongs to the shard, ascending. The caller holds w.mu.
func (a *attempt) listed(row *metapb.ShardRow) []uint32 {
	out := make([]uint32, 0, len(a.confirmed))
	for _, v := range a.confirmed {
		if contains(row.Members, v) || contains(row.Joining, v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// confirm adds a blob to the confirmation of exactly these volumes.
func confirm(s *metapb.ShardWrite, volumes []uint32, counter uint32) {
	for _, c := range s.Confirmations {
		if slices.Equal(c.Volumes, volumes) {
			c.Counters = append(c.Counters, counter)
			return
		}
	}
	s.Confirmations = append(s.Confirmations, &metapb.Confirmation{Volumes: volumes, Counters: []uint32{counter}})
}

// Base is the run's base id.
func (w *Write) Base() object.RunBase { return w.base }

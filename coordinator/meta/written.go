package meta

import (
	"cmp"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// confirmed says which replicas of its shard have a blob.
type confirmed struct {
	counter uint32
	shard   *shard
	by      uint64
}

// missingAt is a replica that lacks a blob.
type missingAt struct {
	blob   object.BlobID
	volume uint32
}

// verify checks that a write's bytes may be published: not older than the horizon, placed by the shard epochs of now, every
// blob of the run confirmed by a quorum of distinct replicas (M5). It notes who is missing for publishRun.
func (t *txn) verify(w *metapb.Written, size uint64) error {
	t.missing = t.missing[:0]
	if w == nil {
		if size > 0 {
			return refuse(errs.Invalid, "%d bytes without a run", size)
		}
		return nil
	}
	if size == 0 || w.GetRun().GetLength() != size {
		return refuse(errs.Invalid, "a run of %d bytes for an object of %d", w.GetRun().GetLength(), size)
	}
	if c := t.m.cluster; w.LowestEpoch < c.Horizon {
		return refuse(errs.StaleEpoch, "prepared in epoch %d; the horizon is %d", w.LowestEpoch, c.Horizon)
	} else if w.LowestEpoch > c.Epoch {
		return refuse(errs.Invalid, "prepared in epoch %d; it is epoch %d", w.LowestEpoch, c.Epoch)
	}
	if err := checkRun(w.Run); err != nil {
		return err
	}
	pool := t.m.pools[uint32(w.Run.Base[0])]
	if pool == nil {
		return refuse(errs.Invalid, "there is no pool %d", w.Run.Base[0])
	}
	if err := t.confirmations(w, t.m.shards[pool.Pool]); err != nil {
		return err
	}
	return t.countQuorums(w.Run, pool)
}

// checkRun checks that a run is well formed: as many blobs as its length needs, in ascending order.
func checkRun(r *metapb.Run) error {
	switch {
	case len(r.Base) != object.BlobIDLen || object.BlobID(r.Base).Counter() != 0:
		return refuse(errs.Invalid, "the run's base is malformed")
	case r.BlobSize == 0 || r.Length == 0 || r.Length > object.PartBytesMax:
		return refuse(errs.Invalid, "a run of %d bytes in blobs of %d", r.Length, r.BlobSize)
	}
	next, blobs := uint64(0), uint64(0)
	for _, g := range r.Ranges {
		if g.Count == 0 || uint64(g.First) < next || uint64(g.First)+uint64(g.Count) > object.CountersMax {
			return refuse(errs.Invalid, "the run's ranges are out of order")
		}
		next = uint64(g.First) + uint64(g.Count)
		blobs += uint64(g.Count)
	}
	if need := (r.Length + uint64(r.BlobSize) - 1) / uint64(r.BlobSize); blobs != need {
		return refuse(errs.Invalid, "the run names %d blobs and needs %d", blobs, need)
	}
	return nil
}

// confirmations gathers who has which blob, ordered by counter.
func (t *txn) confirmations(w *metapb.Written, shards []*shard) error {
	t.confirm = t.confirm[:0]
	for _, sw := range w.Shards {
		if int(sw.Shard) >= len(shards) {
			return refuse(errs.Invalid, "there is no shard %d", sw.Shard)
		}
		s := shards[sw.Shard]
		if s.epoch != sw.Epoch {
			return refuse(errs.StaleShardEpoch, "shard %d is at epoch %d, the write was placed at %d", s.number, s.epoch, sw.Epoch)
		}
		for _, c := range sw.Confirmations {
			var by uint64
			for _, v := range c.Volumes {
				by |= s.find(v)
			}
			for _, n := range c.Counters {
				t.confirm = append(t.confirm, confirmed{n, s, by})
			}
		}
	}
	slices.SortStableFunc(t.confirm, func(a, b confirmed) int { return cmp.Compare(a.counter, b.counter) })
	return nil
}

// countQuorums walks the run's blobs beside the confirmations.
func (t *txn) countQuorums(run *metapb.Run, pool *metapb.PoolRow) error {
	rest := t.confirm
	for _, g := range run.Ranges {
		for n := g.First; n < g.First+g.Count; n++ {
			blob := object.RunBase(run.Base).Blob(n)
			var by uint64
			var s *shard
			for ; len(rest) > 0 && rest[0].counter == n; rest = rest[1:] {
				s, by = rest[0].shard, by|rest[0].by
				if s.number != blob.Shard(pool.Shards) {
					return refuse(errs.Invalid, "blob %d does not belong to shard %d", n, s.number)
				}
			}
			if s == nil || !s.quorum(by) {
				return refuse(errs.Unavailable, "blob %d was not confirmed by a write quorum", n)
			}
			for i, v := range s.volumes {
				if (s.all&^by)>>i&1 != 0 {
					t.missing = append(t.missing, missingAt{blob, v})
				}
			}
		}
	}
	if len(rest) > 0 {
		return refuse(errs.Invalid, "blob %d was confirmed and is not of the run", rest[0].counter)
	}
	return nil
}

// publishRun writes the row of a verified run with one reference, and who is missing. A run is published once.
func (t *txn) publishRun(w *metapb.Written) error {
	if w == nil {
		return nil
	}
	key := runKey(w.Run.Base)
	t.m.published.note(w.Run.Base)
	for _, x := range t.missing {
		if err := t.addMissing(x.blob, x.volume, MissingUnconfirmed); err != nil {
			return err
		}
	}
	return t.store(key, &metapb.RunRow{Epoch: w.LowestEpoch, Run: w.Run, References: 1})
}

// unpublished refuses a run that has a row: it is alive or dying, and its references never rise from 0 (M3).
func (t *txn) unpublished(w *metapb.Written) error {
	if w == nil {
		return nil
	}
	if not, err := t.m.published.surelyNot(t, w.Run.Base); not || err != nil {
		return err
	}
	_, found, err := t.Get(nil, runKey(w.Run.Base))
	if found {
		return refuse(errs.Conflict, "the run is published already")
	}
	return err
}

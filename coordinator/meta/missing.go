package meta

import (
	"encoding/binary"
	"errors"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Missing rows are counted by shard and volume, in rows beside them, so that Apply knows without a scan whether a move may end.

// Reasons of a missing row. The numbers are part of the format.
const (
	MissingUnconfirmed = 0 // its writer had no confirmation
	MissingDamaged     = 1 // the replica has it, and it fails its checksums
	MissingLost        = 2 // it should be there and is not
)

// addMissing notes that a replica lacks a blob. A row that is there already is replaced.
func (t *txn) addMissing(blob object.BlobID, volume, reason uint32) error {
	key := missingKey(blob[:], volume)
	_, found, err := t.Get(nil, key)
	if err != nil {
		return err
	}
	if !found {
		t.stats.missing++
		if err := t.countMissing(blob, volume, 1); err != nil {
			return err
		}
	}
	return t.store(key, &metapb.MissingRow{Blob: blob[:], Volume: volume, SinceIndex: t.index, SinceMs: t.c.TimeMs, Reason: reason})
}

// dropMissing forgets a missing row that is there.
func (t *txn) dropMissing(blob object.BlobID, volume uint32) error {
	t.remove(missingKey(blob[:], volume))
	t.stats.missing--
	return t.countMissing(blob, volume, -1)
}

func (t *txn) countMissing(blob object.BlobID, volume uint32, by int64) error {
	pool := t.m.pools[uint32(blob.Pool())]
	if pool == nil {
		return broken("blob %s is of no pool", blob)
	}
	key := missingCountKey(pool.Pool, blob.Shard(pool.Shards), volume)
	row := new(metapb.MissingCountRow)
	if _, err := t.load(key, row); err != nil {
		return err
	}
	if row.Count = uint64(max(0, int64(row.Count)+by)); row.Count == 0 {
		t.remove(key)
		return nil
	}
	return t.store(key, row)
}

// forgetMissing removes the missing rows of a run: blob ids begin with its base less the counter.
func (t *txn) forgetMissing(base []byte) error {
	return scanTable(t.b, tableKey(tableMissing, base[:idLen-counterLen]), func(k, _ []byte) (bool, error) {
		if len(k) != 1+idLen+numberLen {
			return false, broken("a malformed key of a missing row")
		}
		return true, t.dropMissing(object.BlobID(k[1:1+idLen]), binary.BigEndian.Uint32(k[1+idLen:]))
	})
}

// clearMissing forgets missing rows whose replicas have their blobs now, or whose runs are gone.
func (t *txn) clearMissing(op *metapb.ClearMissing, res *metapb.Result) error {
	if len(op.Rows) > collectMax {
		return refuse(errs.Invalid, "%d rows; at most %d at once", len(op.Rows), collectMax)
	}
	r := &metapb.ReleaseResult{Done: true}
	for _, x := range op.Rows {
		key := missingKey(x.Blob, x.Volume)
		row := new(metapb.MissingRow)
		found, err := t.load(key, row)
		if err != nil {
			return err
		}
		if found && row.SinceIndex == x.SinceIndex {
			if err := t.dropMissing(object.BlobID(row.Blob), row.Volume); err != nil {
				return err
			}
			r.Released++
		}
	}
	res.Value = &metapb.Result_Released{Released: r}
	return nil
}

// reportMissing writes the rows of replicas that someone found to lack a blob, or to have it damaged: of blobs that are alive, on
// members and joining replicas of their shard, which have no row yet.
func (t *txn) reportMissing(op *metapb.ReportMissing, res *metapb.Result) error {
	if len(op.Rows) > collectMax {
		return refuse(errs.Invalid, "%d rows; at most %d at once", len(op.Rows), collectMax)
	}
	r := &metapb.ReleaseResult{Done: true}
	for _, x := range op.Rows {
		if x.Reason > MissingLost {
			return refuse(errs.Invalid, "a row with reason %d", x.Reason)
		}
		belongs, err := t.belongs(x)
		if err != nil {
			return err
		}
		key := missingKey(x.Blob, x.Volume)
		_, known, err := t.Get(nil, key)
		if err != nil {
			return err
		}
		if !belongs || known {
			continue
		}
		r.Released++
		if err := t.addMissing(object.BlobID(x.Blob), x.Volume, x.Reason); err != nil {
			return err
		}
	}
	res.Value = &metapb.Result_Released{Released: r}
	return nil
}

// belongs says that the row's blob is alive and its volume a member or joining replica of the blob's shard.
func (t *txn) belongs(x *metapb.MissingRow) (bool, error) {
	id, err := object.BlobIDFrom(x.Blob)
	if err != nil {
		return false, refuse(errs.Invalid, "a row of a blob id of %d bytes", len(x.Blob))
	}
	pool := t.m.pools[uint32(id.Pool())]
	if pool == nil {
		return false, nil
	}
	s := t.m.shards[pool.Pool][id.Shard(pool.Shards)]
	if in := s.find(x.Volume); in&s.all == 0 || (x.Reason == MissingLost && in&s.members == 0) { // a joining replica still gets its blobs
		return false, nil
	}
	run, base := new(metapb.RunRow), id.Run()
	found, err := t.load(runKey(base[:]), run)
	if !found || err != nil || run.References == 0 {
		return false, err
	}
	return slices.ContainsFunc(run.Run.GetRanges(), func(g *metapb.CounterRange) bool { return id.Counter()-g.First < g.Count }), nil
}

// lacks says how many blobs of a shard a replica lacks.
func (t *txn) lacks(pool, shard, volume uint32) (uint64, error) {
	row := new(metapb.MissingCountRow)
	_, err := t.load(missingCountKey(pool, shard, volume), row)
	return row.Count, err
}

// whole refuses when one of the replicas of a shard lacks a blob.
func (t *txn) whole(pool, shard uint32, volumes []uint32) error {
	for _, v := range volumes {
		n, err := t.lacks(pool, shard, v)
		if err != nil {
			return err
		}
		if n > 0 {
			return refuse(errs.Unavailable, "volume %d lacks %d blobs of shard %d", v, n, shard)
		}
	}
	return nil
}

func missingCountKey(pool, shard, volume uint32) []byte {
	return appendNumber(appendNumber(appendNumber([]byte{tableMissingCounts}, pool), shard), volume)
}

// missingCounts tells which replicas lack blobs: at most one row for each replica of each shard.
func (v *view) missingCounts() (*metapb.MissingCountsAnswer, error) {
	r := new(metapb.MissingCountsAnswer)
	return r, scanTable(v.s, []byte{tableMissingCounts}, func(k, b []byte) (bool, error) {
		if len(k) != 1+3*numberLen {
			return false, errors.New("a malformed key of a missing count")
		}
		row := new(metapb.MissingCountRow)
		r.Counts = append(r.Counts, &metapb.MissingCount{
			Pool: binary.BigEndian.Uint32(k[1:]), Shard: binary.BigEndian.Uint32(k[5:]), Volume: binary.BigEndian.Uint32(k[9:]),
		})
		err := decodeRow(b, row)
		r.Counts[len(r.Counts)-1].Count = row.Count
		return true, err
	})
}

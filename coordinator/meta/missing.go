package meta

import (
	"encoding/binary"
	"errors"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Missing rows are counted by shard and volume, in rows beside them, so that Apply knows without a scan whether a move may end.

// addMissing notes that a replica lacks a blob. A row that is there already is replaced.
func (t *txn) addMissing(blob object.BlobID, volume uint32) error {
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
	return t.store(key, &metapb.MissingRow{Blob: blob[:], Volume: volume, SinceIndex: t.index})
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

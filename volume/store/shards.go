package store

import (
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/index"
)

// Comparing replicas of a shard: those with the same ShardDigest hold the same blobs. Of others, one gives its ShardFilter, and the
// other lists what that surely lacks (Lacking); the few that a filter misses are found with one of another seed, or by comparing
// the whole lists (ListShard). All of these are of living blobs, prepared ones included, that were there from begin to end of the
// call; blobs that come or go meanwhile may be in them or not. None is a proof that a blob may be dropped.

// ShardDigest is object.ShardDigest.
type ShardDigest = object.ShardDigest

// filterWrong is the share of lacking blobs that a filter does not tell of.
const filterWrong = 0.01

// ShardDigests is what this volume holds of each of so many shards, in their order, also of those it holds nothing of. It reads the
// whole index. Errors: errs.Invalid, errs.Unavailable when the index cannot be read or the volume is closed.
func (st *Store) ShardDigests(shards int) ([]ShardDigest, error) {
	const op = "store.ShardDigests"
	if err := checkShard(0, shards); err != nil {
		return nil, errs.Wrap(op, err)
	}
	all := make([]ShardDigest, shards)
	for i := range all {
		all[i].Shard = uint32(i)
	}
	err := st.scanLiving(object.BlobID{}, func(e *index.Entry) bool {
		all[e.ID.Shard(uint32(shards))].Add(e.ID, int64(e.Length()))
		return true
	})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	return all, nil
}

// ShardFilter is a filter over the ids that this volume holds of a shard, at most index.FilterLenMax bytes when marshalled. Each has
// another seed. It reads the whole index. Errors: as ShardDigests.
func (st *Store) ShardFilter(shard, shards int) (*index.Filter, error) {
	const op = "store.ShardFilter"
	if err := checkShard(shard, shards); err != nil {
		return nil, errs.Wrap(op, err)
	}
	var ids []object.BlobID
	err := st.scanShard(shard, shards, object.BlobID{}, func(e *index.Entry) bool {
		ids = append(ids, e.ID)
		return true
	})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	f := index.NewFilter(int64(len(ids)), filterWrong, st.o.Rand())
	for _, id := range ids {
		f.Add(id)
	}
	return f, nil
}

// Lacking gives up to limit blobs of a shard after the given one that are here and that a volume with the given filter (of
// ShardFilter) surely lacks, as ListShard. About one in a hundred of what it lacks is not told.
func (st *Store) Lacking(shard, shards int, filter *index.Filter, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	return st.listShard("store.Lacking", shard, shards, after, limit, func(e *index.Entry) bool { return filter.Lacks(e.ID) })
}

// ListShard gives up to limit living blobs of a shard after the given one, in the order of the ids' hashes; the zero id begins at the
// start. Fewer than limit mean the end. Shard epochs are left out (see Stat). Errors: as ShardDigests.
func (st *Store) ListShard(shard, shards int, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	return st.listShard("store.ListShard", shard, shards, after, limit, func(*index.Entry) bool { return true })
}

func (st *Store) listShard(op string, shard, shards int, after object.BlobID, limit int, want func(*index.Entry) bool) ([]object.BlobInfo, error) {
	err := checkShard(shard, shards)
	if err == nil && limit < 1 {
		err = errs.E("", errs.Invalid, "a page of %d blobs", limit)
	}
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	return st.list(op, after, limit, func(e *index.Entry) bool { return e.ID.Shard(uint32(shards)) == uint32(shard) && want(e) })
}

func checkShard(shard, shards int) error {
	if shards < 1 || shards > object.ShardsMax || shard < 0 || shard >= shards {
		return errs.E("", errs.Invalid, "shard %d of %d; there are 1 to %d", shard, shards, object.ShardsMax)
	}
	return nil
}

// scanShard is scanLiving of one shard.
func (st *Store) scanShard(shard, shards int, after object.BlobID, visit func(*index.Entry) bool) error {
	return st.scanLiving(after, func(e *index.Entry) bool {
		return e.ID.Shard(uint32(shards)) != uint32(shard) || visit(e)
	})
}

// scanLiving visits the living blobs after the given one in the order of the ids' hashes, until visit returns false. An index that cannot
// be read is errs.Unavailable, and so is a volume that closes meanwhile.
func (st *Store) scanLiving(after object.BlobID, visit func(*index.Entry) bool) error {
	closed := false
	err := st.index.Scan(after, func(e *index.Entry) bool {
		if closed = st.closing.Load(); closed {
			return false
		}
		return e.State() >= index.Dropped || visit(e)
	})
	if err != nil {
		st.indexError(err)
		return unavailable(err)
	}
	if closed || st.closing.Load() {
		return errClosed
	}
	return nil
}

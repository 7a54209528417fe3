package meta

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// The life of a move of a shard from leaving to joining volumes; with none that leave it is raised to more members, with none that join
// it is lowered to fewer:
//
//	join    epoch+1: a write needs a majority of the members and of those that will be members
//	flip    epoch+1: what will be members are members; refused while one of them lacks a blob
//	release the volumes that left may drop their blobs, once the horizon has passed the flip and no member lacks a blob
//	cancel  epoch+1: instead of flip; members had a quorum of every write all along

// movePool is the pool whose shards move; there is one.
const movePool = 0

// shardAt is the shard's row if it is as the caller saw it.
func (t *txn) shardAt(number uint32, epoch uint64) (*metapb.ShardRow, error) {
	shards := t.m.shards[movePool]
	if int(number) >= len(shards) {
		return nil, refuse(errs.Invalid, "there is no shard %d", number)
	}
	row := shards[number].row
	if row.Epoch != epoch {
		return nil, refuse(errs.Conflict, "shard %d is at epoch %d, not %d", number, row.Epoch, epoch)
	}
	return proto.CloneOf(row), nil
}

func (t *txn) storeShard(row *metapb.ShardRow, res *metapb.Result) error {
	res.Value = &metapb.Result_Shard{Shard: row}
	t.shards = append(t.shards, row)
	if err := t.store(shardKey(movePool, row.Shard), row); err != nil {
		return err
	}
	return t.layoutChanged()
}

func (t *txn) joinShard(op *metapb.JoinShard, res *metapb.Result) error {
	row, err := t.shardAt(op.Shard, op.Epoch)
	if err != nil {
		return err
	}
	if Moving(row) {
		return refuse(errs.Conflict, "shard %d is moving already", op.Shard)
	}
	if err := t.checkJoin(row, op); err != nil {
		return err
	}
	kept := slices.DeleteFunc(row.Leaving, func(v uint32) bool { return slices.Contains(op.Joining, v) })
	row.Joining, row.Leaving = op.Joining, append(kept, op.Leaving...)
	row.Epoch++
	return t.storeShard(row, res)
}

// checkJoin holds what a move needs to keep its promises: volumes that are in join, members leave, and afterwards as many are members as
// the pool has replicas, or the number is nearer to it than before.
func (t *txn) checkJoin(row *metapb.ShardRow, op *metapb.JoinShard) error {
	if len(op.Joining)+len(op.Leaving) == 0 || len(row.Members)+len(op.Joining)+len(row.Leaving)+len(op.Leaving) > replicasMax {
		return refuse(errs.Invalid, "%d volumes can't join shard %d", len(op.Joining), op.Shard)
	}
	for i, v := range op.Joining {
		if slices.Contains(op.Joining[:i], v) || slices.Contains(row.Members, v) {
			return refuse(errs.Invalid, "volume %d has shard %d already", v, op.Shard)
		}
		if r := t.m.volumes[v]; r == nil || r.State != VolumeIn {
			return refuse(errs.Conflict, "volume %d is not in", v)
		}
	}
	for i, v := range op.Leaving {
		if slices.Contains(op.Leaving[:i], v) || !slices.Contains(row.Members, v) {
			return refuse(errs.Invalid, "volume %d can't leave shard %d", v, op.Shard)
		}
	}
	after := len(row.Members) - len(op.Leaving) + len(op.Joining)
	if want := t.m.pools[movePool].Replication; !Towards(len(row.Members), after, want) {
		return refuse(errs.Conflict, "shard %d would have %d members instead of %d; the pool is to have %d", op.Shard, after, len(row.Members), want)
	}
	return nil
}

// flipShard ends a move. That the joining volumes have all of what the members had is the mover's work before; what was decided
// since the join and did not reach them is in missing rows, and refuses it.
func (t *txn) flipShard(op *metapb.FlipShard, res *metapb.Result) error {
	row, err := t.shardAt(op.Shard, op.Epoch)
	if err != nil {
		return err
	}
	if !Moving(row) {
		return refuse(errs.Conflict, "shard %d is not moving", op.Shard)
	}
	next := Next(row)
	if want := t.m.pools[movePool].Replication; !Towards(len(row.Members), len(next), want) {
		return refuse(errs.Conflict, "shard %d would have %d members instead of %d; now the pool is to have %d", op.Shard, len(next), len(row.Members), want)
	}
	if err := t.whole(movePool, op.Shard, next); err != nil {
		return err
	}
	slices.Sort(next)
	row.Members, row.Joining = next, nil
	row.Epoch++
	row.FlippedEpoch = t.m.cluster.Epoch
	return t.storeShard(row, res)
}

func (t *txn) cancelJoin(op *metapb.CancelJoin, res *metapb.Result) error {
	row, err := t.shardAt(op.Shard, op.Epoch)
	if err != nil {
		return err
	}
	if !Moving(row) {
		return refuse(errs.Conflict, "shard %d is not moving", op.Shard)
	}
	row.Joining = nil
	row.Leaving = slices.DeleteFunc(row.Leaving, func(v uint32) bool { return slices.Contains(row.Members, v) })
	row.Epoch++
	return t.storeShard(row, res)
}

// releaseShard lets volumes go that were members before a flip. Writers never used them since, so the epoch stays.
func (t *txn) releaseShard(op *metapb.ReleaseShard, res *metapb.Result) error {
	row, err := t.shardAt(op.Shard, op.Epoch)
	if err != nil {
		return err
	}
	gone := len(op.Volumes) > 0
	for _, v := range op.Volumes {
		if !slices.Contains(row.Leaving, v) || slices.Contains(row.Members, v) {
			return refuse(errs.Conflict, "volume %d is not one that left shard %d", v, op.Shard)
		}
		r := t.m.volumes[v]
		gone = gone && (r == nil || r.State == VolumeRemoved)
	}
	if !gone {
		if t.m.cluster.Horizon <= row.FlippedEpoch {
			return refuse(errs.Unavailable, "the horizon is %d and must pass %d", t.m.cluster.Horizon, row.FlippedEpoch)
		}
		if err := t.whole(movePool, op.Shard, row.Members); err != nil {
			return err
		}
	}
	row.Leaving = slices.DeleteFunc(row.Leaving, func(v uint32) bool { return slices.Contains(op.Volumes, v) })
	return t.storeShard(row, res)
}

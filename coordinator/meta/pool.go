package meta

import (
	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// ReplicationMax bounds the replicas of a pool's blobs: a write is sent to all of them.
const ReplicationMax = 7

// setReplication changes what a pool is to have. No shard changes by it: quorums are counted by the members that a shard has (shard.quorum),
// and moves bring one shard after the other to the new number.
func (t *txn) setReplication(op *metapb.SetReplication, res *metapb.Result) error {
	old := t.m.pools[op.Pool]
	switch {
	case old == nil:
		return refuse(errs.Invalid, "there is no pool %d", op.Pool)
	case op.Replication < 1 || op.Replication > ReplicationMax:
		return refuse(errs.Invalid, "a pool has 1 to %d replicas of each blob, not %d", ReplicationMax, op.Replication)
	case old.Replication != op.From:
		return refuse(errs.Conflict, "pool %d has replication %d, not %d", op.Pool, old.Replication, op.From)
	}
	takes := 0
	for _, v := range t.m.volumes {
		if TakesShards(v) {
			takes++
		}
	}
	if takes < int(op.Replication) {
		return refuse(errs.Conflict, "%d volumes are in and take shards; %d replicas need as many", takes, op.Replication)
	}
	row := proto.CloneOf(old)
	row.Replication = op.Replication
	res.Value = &metapb.Result_Pool{Pool: row}
	t.pools = append(t.pools, row)
	if err := t.store(poolKey(row.Pool), row); err != nil {
		return err
	}
	t.raiseLevel(t.clusterNow())
	return t.layoutChanged()
}

// TakesShards says that shards may be moved to the volume: it is in, and its weight is not 0.
func TakesShards(v *metapb.VolumeRow) bool {
	return v.State == VolumeIn && (v.Weight == nil || *v.Weight > 0)
}

// setVolumeWeight changes what share of the shards a volume is to have.
func (t *txn) setVolumeWeight(op *metapb.SetVolumeWeight, res *metapb.Result) error {
	old := t.m.volumes[op.Number]
	switch {
	case old == nil:
		return refuse(errs.Invalid, "there is no volume %d", op.Number)
	case op.GetWeight() > WeightMax:
		return refuse(errs.Invalid, "a weight is at most %d", uint64(WeightMax))
	}
	row := proto.CloneOf(old)
	row.Weight = op.Weight
	res.Value = &metapb.Result_Volume{Volume: row}
	t.raiseLevel(t.clusterNow())
	return t.storeVolume(row)
}

package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// foundIfEmpty proposes the cluster when there is none. Two leaders may both try; the first one's stands.
func (c *Coordinator) foundIfEmpty(ctx context.Context) error {
	const op = "coordinator.found"
	l, err := c.layout(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if len(l.GetCluster().GetId()) > 0 {
		c.founded.Store(true)
		return nil
	}
	volumes, shards, err := c.foundingVolumes()
	if err != nil {
		return err
	}
	if len(volumes) == 0 {
		return errs.E(op, errs.Unavailable, "there is no cluster, and no volume to found one with")
	}
	id := make([]byte, 16)
	rand.Read(id)
	r, err := c.node.Propose(ctx, &metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: &metapb.CreateCluster{
		Id: id, Fsync: c.cfg.Fsync,
		Pool:    &metapb.PoolRow{Shards: c.cfg.Pool.Shards, Replication: c.cfg.Pool.Replication, BlobSize: c.cfg.Pool.BlobSize},
		Volumes: volumes,
		Shards:  shards,
	}}})
	if err != nil {
		return errs.Wrap(op, err)
	}
	if r.Failed && errs.Kind(r.Kind) != errs.Conflict {
		return errs.E(op, errs.Kind(r.Kind), "%s", r.Message)
	}
	c.founded.Store(true)
	return nil
}

// firstShards gives each shard the volumes of highest random weight.
func firstShards(p Pool, volumes []*metapb.VolumeRow) []*metapb.ShardRow {
	shards := make([]*metapb.ShardRow, p.Shards)
	for i := range shards {
		ranked := make([]uint32, len(volumes))
		for j, v := range volumes {
			ranked[j] = v.Number
		}
		slices.SortFunc(ranked, func(a, b uint32) int {
			switch wa, wb := weight(uint32(i), a), weight(uint32(i), b); {
			case wa > wb:
				return -1
			case wa < wb:
				return 1
			}
			return int(a) - int(b)
		})
		shards[i] = &metapb.ShardRow{Shard: uint32(i), Epoch: 1, Members: slices.Sorted(slices.Values(ranked[:p.Replication]))}
	}
	return shards
}

// weight mixes a shard and a volume as blob ids are mixed.
func weight(shard, volume uint32) uint64 {
	var id object.BlobID
	binary.BigEndian.PutUint32(id[0:], shard)
	binary.BigEndian.PutUint32(id[8:], volume)
	return id.Hash()
}

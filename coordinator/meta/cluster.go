package meta

import (
	"bytes"
	"encoding/binary"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Bounds of a cluster's layout.
const (
	shardsMax  = 1 << 16
	volumesMax = 1 << 12
	epochFirst = 1
)

func (t *txn) createCluster(op *metapb.CreateCluster, res *metapb.Result) error {
	if c := t.m.cluster; c != nil {
		if !bytes.Equal(c.Id, op.Id) {
			return refuse(errs.Conflict, "there is a cluster already")
		}
		res.Value = &metapb.Result_Cluster{Cluster: c}
		return nil
	}
	if err := checkLayout(op); err != nil {
		return err
	}
	c := &metapb.ClusterRow{
		Id: op.Id, CreatedMs: t.c.TimeMs, Level: t.c.Level, Epoch: epochFirst, Fsync: op.Fsync, HorizonIndex: t.index,
		LayoutIndex: t.index,
	}
	for _, v := range op.Volumes {
		c.LastVolume = max(c.LastVolume, v.Number)
	}
	if err := t.setCluster(c); err != nil {
		return err
	}
	if err := t.store(poolKey(op.Pool.Pool), op.Pool); err != nil {
		return err
	}
	for _, v := range op.Volumes {
		if err := t.store(volumeKey(v.Number), v); err != nil {
			return err
		}
	}
	for _, s := range op.Shards {
		if err := t.store(shardKey(op.Pool.Pool, s.Shard), s); err != nil {
			return err
		}
	}
	t.layout = true
	res.Value = &metapb.Result_Cluster{Cluster: c}
	return nil
}

func checkLayout(op *metapb.CreateCluster) error {
	p := op.Pool
	switch {
	case len(op.Id) != idLen:
		return refuse(errs.Invalid, "a cluster id has %d bytes", idLen)
	case p == nil || p.Pool > 255 || p.BlobSize == 0 || p.Replication == 0 || p.Replication > replicasMax:
		return refuse(errs.Invalid, "the pool is incomplete")
	case p.Shards == 0 || p.Shards > shardsMax || len(op.Shards) != int(p.Shards):
		return refuse(errs.Invalid, "the pool has %d shards, %d are given", p.Shards, len(op.Shards))
	case len(op.Volumes) == 0 || len(op.Volumes) > volumesMax:
		return refuse(errs.Invalid, "%d volumes", len(op.Volumes))
	}
	for i, s := range op.Shards {
		if int(s.Shard) != i || len(s.Members)+len(s.Joining) > replicasMax {
			return refuse(errs.Invalid, "shard %d is out of order or has too many replicas", s.Shard)
		}
	}
	return nil
}

func (t *txn) setCluster(c *metapb.ClusterRow) error {
	t.cluster = c
	return t.store(clusterKey, c)
}

// tickEpoch moves the cluster's epoch and, behind it, the fencing horizon, and ends quiet sessions. A late duplicate does
// nothing.
func (t *txn) tickEpoch(op *metapb.TickEpoch, res *metapb.Result) error {
	old := t.m.cluster
	res.Value = &metapb.Result_Cluster{Cluster: old}
	if op.From != old.Epoch {
		return nil
	}
	c := t.clusterNow()
	c.Epoch++
	if c.Epoch > op.HorizonLag && c.Epoch-op.HorizonLag > c.Horizon {
		c.Horizon, c.HorizonIndex = c.Epoch-op.HorizonLag, t.index
	}
	res.Value = &metapb.Result_Cluster{Cluster: c}
	if err := t.setCluster(c); err != nil {
		return err
	}
	return t.endQuietSessions(c.Epoch)
}

// loadLayout caches pools, shards and volumes.
func (m *Machine) loadLayout(r kv.Reader) error {
	pools := make(map[uint32]*metapb.PoolRow)
	err := scanTable(r, []byte{tablePools}, func(_, v []byte) (bool, error) {
		p := new(metapb.PoolRow)
		err := decodeRow(v, p)
		pools[p.Pool] = p
		return true, err
	})
	if err != nil {
		return err
	}
	shards := make(map[uint32][]*shard)
	err = scanTable(r, []byte{tableShards}, func(k, v []byte) (bool, error) {
		row := new(metapb.ShardRow)
		if err := decodeRow(v, row); err != nil {
			return false, err
		}
		pool := binary.BigEndian.Uint32(k[1:])
		shards[pool] = append(shards[pool], newShard(row))
		return true, nil
	})
	if err != nil {
		return err
	}
	volumes := make(map[uint32]*metapb.VolumeRow)
	err = scanTable(r, []byte{tableVolumes}, func(_, v []byte) (bool, error) {
		row := new(metapb.VolumeRow)
		err := decodeRow(v, row)
		volumes[row.Number] = row
		return true, err
	})
	m.pools, m.shards, m.volumes = pools, shards, volumes
	return err
}

package meta

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// States of a volume. Only volumes that are in get shards; those of draining, out and removed ones move away.
const (
	VolumeIn       = 0
	VolumeDraining = 1 // readable and written to until its shards have moved
	VolumeOut      = 2 // not heard of for long, or an operator said so
	VolumeRemoved  = 3 // for good: it is refused when it comes back
)

// VolumeStateText is a volume's state in a word.
func VolumeStateText(state uint32) string {
	names := []string{VolumeIn: "in", VolumeDraining: "draining", VolumeOut: "out", VolumeRemoved: "removed"}
	if int(state) < len(names) {
		return names[state]
	}
	return "unknown"
}

// Bounds of a volume's row.
const (
	nodeNameMax = 255 // bytes, also of zones and addresses
	WeightMax   = 1 << 60
)

// registerVolume makes a volume known under the next number, which is never used again, or updates where a known one is. A
// volume that was out only because it was silent is in again.
func (t *txn) registerVolume(op *metapb.RegisterVolume, res *metapb.Result) error {
	if len(op.Id) != idLen || op.GetWeight() > WeightMax {
		return refuse(errs.Invalid, "a volume id has %d bytes, and a weight is at most %d", idLen, uint64(WeightMax))
	}
	if max(len(op.Node), len(op.Zone), len(op.Address)) > nodeNameMax || op.Node == "" {
		return refuse(errs.Invalid, "the volume's node, zone or address is empty or too long")
	}
	old := t.m.volumeByID(op.Id)
	if old == nil {
		if len(t.m.volumes) >= volumesMax {
			return refuse(errs.LimitExceeded, "there are %d volumes", volumesMax)
		}
		c := t.clusterNow()
		number := c.LastVolume
		for n := range t.m.volumes {
			number = max(number, n)
		}
		c.LastVolume = number + 1
		row := &metapb.VolumeRow{
			Number: number + 1, Id: op.Id, Node: op.Node, Zone: op.Zone, Address: op.Address, Capacity: op.Capacity,
			Weight: op.Weight,
		}
		t.raiseLevel(c)
		res.Value = &metapb.Result_Volume{Volume: row}
		return t.storeVolume(row)
	}
	if old.State == VolumeRemoved {
		return refuse(errs.Conflict, "volume %d was removed; node add brings it back", old.Number)
	}
	row := proto.CloneOf(old)
	row.Node, row.Zone, row.Address, row.Capacity = op.Node, op.Zone, op.Address, op.Capacity
	if row.Silent {
		row.State, row.Silent = VolumeIn, false
	}
	res.Value = &metapb.Result_Volume{Volume: row}
	if proto.Equal(row, old) {
		return nil
	}
	return t.storeVolume(row)
}

// volumeByID finds a volume by what is written on its disk.
func (m *Machine) volumeByID(id []byte) *metapb.VolumeRow {
	for _, v := range m.volumes {
		if bytes.Equal(v.Id, id) {
			return v
		}
	}
	return nil
}

// setVolumeState moves a volume in, out, or away.
func (t *txn) setVolumeState(op *metapb.SetVolumeState, res *metapb.Result) error {
	old := t.m.volumes[op.Number]
	switch {
	case old == nil:
		return refuse(errs.Invalid, "there is no volume %d", op.Number)
	case old.State != op.From:
		return refuse(errs.Conflict, "volume %d is in state %d, not %d", op.Number, old.State, op.From)
	case op.To > VolumeRemoved || op.Silent && op.To != VolumeOut:
		return refuse(errs.Invalid, "there is no volume state %d", op.To)
	}
	if op.To == VolumeRemoved {
		if err := t.removable(op.Number, op.Force); err != nil {
			return err
		}
	}
	row := proto.CloneOf(old)
	row.State, row.Silent = op.To, op.Silent
	res.Value = &metapb.Result_Volume{Volume: row}
	return t.storeVolume(row)
}

// removable refuses to remove a volume that shards count on: any, or with force those without a quorum of other members that are
// neither out nor removed.
func (t *txn) removable(number uint32, force bool) error {
	for _, p := range t.m.pools {
		holds, short := 0, 0
		for _, s := range t.m.shards[p.Pool] {
			if !slices.Contains(s.row.Members, number) && !slices.Contains(s.row.Joining, number) {
				continue
			}
			holds++
			others := 0
			for _, v := range s.row.Members {
				if row := t.m.volumes[v]; v != number && row != nil && row.State < VolumeOut {
					others++
				}
			}
			if others < Quorum(len(s.row.Members)) {
				short++
			}
		}
		switch {
		case holds > 0 && !force:
			return refuse(errs.Conflict, "volume %d still has %d shards: drain it first, or force it", number, holds)
		case short > 0:
			return refuse(errs.Conflict, "without volume %d, %d shards would have no quorum of replicas", number, short)
		}
	}
	return nil
}

func (t *txn) storeVolume(row *metapb.VolumeRow) error {
	t.volumes = append(t.volumes, row)
	if err := t.store(volumeKey(row.Number), row); err != nil {
		return err
	}
	return t.layoutChanged()
}

// clusterNow is the cluster's row as this transaction changes it; the caller may alter and must set it.
func (t *txn) clusterNow() *metapb.ClusterRow {
	if t.cluster == nil {
		t.cluster = proto.CloneOf(t.m.cluster)
	}
	return t.cluster
}

// layoutChanged lets gateways and nodes know that their layout is old.
func (t *txn) layoutChanged() error {
	c := t.clusterNow()
	c.LayoutIndex = t.index
	return t.setCluster(c)
}

// setRebalance changes what is asked of moves.
func (t *txn) setRebalance(op *metapb.SetRebalance, res *metapb.Result) error {
	row := new(metapb.RebalanceRow)
	if _, err := t.load(rebalanceKey, row); err != nil {
		return err
	}
	if op.Running != nil {
		if *op.Running && !row.Running {
			row.StartedMs = t.c.TimeMs
		}
		row.Running = *op.Running
	}
	if op.Paused != nil {
		row.Paused = *op.Paused
	}
	if op.BytesPerSecond != nil {
		row.BytesPerSecond = *op.BytesPerSecond
	}
	res.Value = &metapb.Result_Rebalance{Rebalance: row}
	if err := t.store(rebalanceKey, row); err != nil {
		return err
	}
	return t.layoutChanged()
}

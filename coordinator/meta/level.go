package meta

import (
	"slices"

	"minikv/proto/metapb"
)

// Level is the highest command level that this code applies.
//
//	1  everything but what follows
//	2  SetReplication, SetVolumeWeight, volumes that bring a weight; a shard may have another number of members than its pool asks for
const Level = 2

// LevelOf is the level that a command needs. Who proposes one above the cluster's level makes sure before that every coordinator knows it:
// one that does not would stop for good (M7). Commands of a higher level raise the cluster's when they are applied.
func LevelOf(c *metapb.Command) uint32 {
	switch op := c.GetOp().(type) {
	case *metapb.Command_SetReplication, *metapb.Command_SetVolumeWeight:
		return 2
	case *metapb.Command_RegisterVolume:
		if op.RegisterVolume != nil && op.RegisterVolume.Weight != nil {
			return 2
		}
	case *metapb.Command_CreateCluster:
		if slices.ContainsFunc(op.CreateCluster.GetVolumes(), func(v *metapb.VolumeRow) bool { return v.Weight != nil }) {
			return 2
		}
	}
	return 1
}

// raiseLevel notes that commands of this one's level are in use; the caller stores the row.
func (t *txn) raiseLevel(c *metapb.ClusterRow) { c.Level = max(c.Level, t.c.Level) }

package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/coordinator/meta"
	"minikv/proto/metapb"
)

// TestWhatMembersLackIsKept: a volume that is no replica of a shard any more forgets nothing of it while a member lacks a blob, for the
// copy here may be the last. Rows of volumes that are no members say nothing.
func TestWhatMembersLackIsKept(t *testing.T) {
	l := &metapb.Layout{Cluster: &metapb.ClusterRow{Horizon: 9}, Shards: []*metapb.ShardRow{
		{Shard: 0, Epoch: 4, Members: []uint32{1, 2, 3}},
		{Shard: 1, Epoch: 5, Members: []uint32{1, 2, 3}},
		{Shard: 2, Epoch: 6, Members: []uint32{1, 2, 7}},
		{Shard: 3, Epoch: 7, Members: []uint32{1, 2, 3}, Leaving: []uint32{7}},
		{Shard: 4, Epoch: 8, Members: []uint32{1, 2, 3}, Joining: []uint32{7}, Leaving: []uint32{3}},
	}}
	p, kept := placementOf(l, nil, 7)
	require.False(t, kept)
	require.Equal(t, []bool{false, false, true, true, true}, p.Mine)
	require.Equal(t, []uint64{4, 5, 6, 7, 8}, p.Epochs)
	require.EqualValues(t, 9, p.Horizon)
	p, kept = placementOf(l, []*metapb.MissingCount{
		{Shard: 0, Volume: 8, Count: 3}, {Shard: 1, Volume: 2, Count: 1}, {Shard: 2, Volume: 1, Count: 1}, {Shard: 99, Volume: 1, Count: 1},
	}, 7)
	require.True(t, kept)
	require.Equal(t, []bool{false, true, true, true, true}, p.Mine)
}

// TestWhatNobodyElseMayHaveIsKept: a member that is out or was removed tells nothing of what it lacks. After the restore of an old backup it
// may have gone long ago, with all that the shard's move brought here.
func TestWhatNobodyElseMayHaveIsKept(t *testing.T) {
	for state, kept := range map[uint32]bool{meta.VolumeIn: false, meta.VolumeDraining: false, meta.VolumeOut: true, meta.VolumeRemoved: true} {
		p, k := placementOf(&metapb.Layout{
			Cluster: &metapb.ClusterRow{Horizon: 9},
			Volumes: []*metapb.VolumeRow{{Number: 1}, {Number: 2, State: state}, {Number: 3}, {Number: 4}, {Number: 7}},
			Shards:  []*metapb.ShardRow{{Shard: 0, Epoch: 4, Members: []uint32{1, 2, 3}}, {Shard: 1, Epoch: 5, Members: []uint32{1, 3, 4}}},
		}, nil, 7)
		require.Equal(t, kept, k, "state %d", state)
		require.Equal(t, []bool{kept, false}, p.Mine, "state %d", state)
	}
}

package rebalance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"minikv/coordinator/meta"
	"minikv/coordinator/placement"
	"minikv/proto/metapb"
)

func everyone(uint32) bool { return true }

// layoutOf places shards on volumes as a new cluster is.
func layoutOf(shards, replication uint32, rows ...*metapb.VolumeRow) *metapb.Layout {
	l := &metapb.Layout{
		Cluster: &metapb.ClusterRow{Id: []byte{1}, Epoch: 1}, Rebalance: &metapb.RebalanceRow{},
		Pools: []*metapb.PoolRow{{Shards: shards, Replication: replication, BlobSize: 1 << 20}}, Volumes: rows,
	}
	var volumes []placement.Volume
	for _, r := range rows {
		volumes = append(volumes, VolumeOf(r))
	}
	for i, members := range placement.Table(shards, replication, volumes) {
		slices.Sort(members)
		l.Shards = append(l.Shards, &metapb.ShardRow{Shard: uint32(i), Epoch: 1, Members: members})
	}
	return l
}

// carryOut applies moves as join and flip do.
func carryOut(l *metapb.Layout, moves []Move) {
	for _, m := range moves {
		row := l.Shards[m.Shard]
		row.Members = slices.DeleteFunc(append(row.Members, m.Joining...), func(v uint32) bool { return slices.Contains(m.Leaving, v) })
		slices.Sort(row.Members)
		row.Epoch += 2
	}
}

// settle plans and carries out until nothing is left, and counts the replicas that moved.
func settle(t require.TestingT, l *metapb.Layout, spread bool, check func(row *metapb.ShardRow)) (moved int) {
	for range 20 {
		moves := Plan(l, spread, everyone)
		require.Equal(t, moves, Plan(proto.CloneOf(l), spread, everyone), "it is deterministic")
		if len(moves) == 0 {
			return moved
		}
		moved += len(moves)
		carryOut(l, moves)
		for _, m := range moves {
			check(l.Shards[m.Shard])
		}
	}
	require.Fail(t, "the plan does not end")
	return 0
}

// TestPlans: for any topology, a plan ends; afterwards no replica is on a volume that is not in, shards are where placement has them
// when they were to be spread, failure domains are kept at each step, and no replica moved that need not.
func TestPlans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		replication := uint32(rapid.IntRange(1, 3).Draw(t, "replication"))
		shards := uint32(rapid.IntRange(1, 40).Draw(t, "shards"))
		row := func(n int) *metapb.VolumeRow {
			r := &metapb.VolumeRow{Number: uint32(n), Capacity: uint64(rapid.IntRange(1, 5).Draw(t, "capacity")) << 30}
			r.Node = fmt.Sprint("n", rapid.IntRange(1, 9).Draw(t, "node"))
			r.Zone = fmt.Sprint("z", r.Node[1]%3)
			return r
		}
		var rows []*metapb.VolumeRow
		old := rapid.IntRange(int(replication), 8).Draw(t, "volumes")
		for n := range old {
			rows = append(rows, row(n+1))
		}
		l := layoutOf(shards, replication, rows...)
		before := proto.CloneOf(l)
		for n := range rapid.IntRange(0, 4).Draw(t, "new") {
			l.Volumes = append(l.Volumes, row(old+n+1))
		}
		for range rapid.IntRange(0, len(l.Volumes)-int(replication)).Draw(t, "go") {
			l.Volumes[rapid.IntRange(0, len(l.Volumes)-1).Draw(t, "gone")].State = uint32(rapid.IntRange(1, 3).Draw(t, "state"))
		}
		spread := rapid.Bool().Draw(t, "spread")
		byNumber := map[uint32]*metapb.VolumeRow{}
		nodes := map[string]bool{}
		var in []placement.Volume
		for _, r := range l.Volumes {
			byNumber[r.Number] = r
			if r.State == meta.VolumeIn {
				in = append(in, VolumeOf(r))
				nodes[r.Node] = true
			}
		}
		moved := settle(t, l, spread, func(row *metapb.ShardRow) {
			require.Len(t, row.Members, int(replication))
			seen := map[uint32]bool{}
			for _, v := range row.Members {
				require.False(t, seen[v], "twice")
				seen[v] = true
			}
		})
		least := 0
		for i, row := range l.Shards {
			used := map[string]bool{}
			for _, v := range row.Members {
				require.EqualValues(t, meta.VolumeIn, byNumber[v].State)
				used[byNumber[v].Node] = true
			}
			if spread {
				target := placement.Shard(row.Shard, replication, in)
				slices.Sort(target)
				require.Equal(t, target, row.Members)
			}
			if len(nodes) >= int(replication) && spread {
				require.Len(t, used, int(replication), "two replicas on one node")
			}
			for _, v := range before.Shards[i].Members {
				if byNumber[v].State != meta.VolumeIn || spread && !slices.Contains(row.Members, v) {
					least++
				}
			}
		}
		if !spread {
			require.Equal(t, least, moved, "only what had to")
		}
		require.GreaterOrEqual(t, moved, least)
	})
}

// TestPlanLeavesAloneWhatItShould: a new volume gets nothing until it is asked for, nothing moves to a volume that is down, a shard
// that moves is left alone, and without enough volumes nothing happens.
func TestPlanLeavesAloneWhatItShould(t *testing.T) {
	row := func(n uint32) *metapb.VolumeRow {
		return &metapb.VolumeRow{Number: n, Capacity: 1 << 30, Node: fmt.Sprint("n", n)}
	}
	l := layoutOf(64, 3, row(1), row(2), row(3))
	l.Volumes = append(l.Volumes, row(4), row(5))
	require.Empty(t, Plan(l, false, everyone))
	moves := Plan(l, true, everyone)
	require.NotEmpty(t, moves)
	require.Empty(t, Plan(l, true, func(v uint32) bool { return v < 4 }))
	for _, m := range Plan(l, true, func(v uint32) bool { return v != 5 }) {
		require.Equal(t, []uint32{4}, m.Joining)
	}
	l.Shards[moves[0].Shard].Joining = []uint32{4}
	require.Equal(t, moves[1:], Plan(l, true, everyone))

	l = layoutOf(64, 3, row(1), row(2), row(3))
	l.Volumes[2].State = meta.VolumeOut
	require.Empty(t, Plan(l, true, everyone), "there is nowhere to go")
}

package payload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/proto/metapb"
)

// TestQuorumIsOfTheShardsMembers, whatever the pool is to have, and of those that will be members.
func TestQuorumIsOfTheShardsMembers(t *testing.T) {
	for _, c := range []struct {
		name        string
		row         *metapb.ShardRow
		enough, few [][]uint32
	}{
		{"one", &metapb.ShardRow{Members: []uint32{1}}, [][]uint32{{1}}, [][]uint32{{}, {2}}},
		{"raised", &metapb.ShardRow{Members: []uint32{1}, Joining: []uint32{2, 3}}, [][]uint32{{1, 2}, {1, 3}}, [][]uint32{{1}, {2, 3}}},
		{"two", &metapb.ShardRow{Members: []uint32{1, 2}, Leaving: []uint32{3}}, [][]uint32{{1, 2}}, [][]uint32{{1, 3}, {2}}},
		{"lowered", &metapb.ShardRow{Members: []uint32{1, 2, 3}, Leaving: []uint32{2, 3}}, [][]uint32{{1, 2}, {1, 3}}, [][]uint32{{1}, {2, 3}}},
		{"replaced", &metapb.ShardRow{Members: []uint32{1, 2, 3}, Joining: []uint32{4}, Leaving: []uint32{1}}, [][]uint32{{2, 3}, {1, 2, 4}}, [][]uint32{{1, 2}, {2, 4}}},
	} {
		for replication := uint32(1); replication <= 7; replication++ {
			tb := table{pool: &metapb.PoolRow{Replication: replication}}
			for want, sets := range map[bool][][]uint32{true: c.enough, false: c.few} {
				for _, set := range sets {
					got := tb.written(c.row, func(v uint32) bool { return contains(set, v) })
					require.Equal(t, want, got, "%s, %v, replication %d", c.name, set, replication)
				}
			}
		}
	}
}

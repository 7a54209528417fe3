package meta

import (
	"math/bits"
	"slices"

	"minikv/proto/metapb"
)

// replicasMax bounds members plus joining of a shard: sets of them are bits of a word.
const replicasMax = 64

// shard is a shard row made ready for counting: replica i of volumes is bit i of a set.
type shard struct {
	row     *metapb.ShardRow // not to be changed
	number  uint32
	epoch   uint64
	volumes []uint32 // members, then joining
	members uint64   // set
	next    uint64   // members less leaving plus joining; equals members when nothing moves
	all     uint64   // members and joining
}

func newShard(row *metapb.ShardRow) *shard {
	s := &shard{row: row, number: row.Shard, epoch: row.Epoch}
	for _, v := range row.Members {
		s.members |= s.bit(v)
	}
	s.next = s.members
	for _, v := range row.Joining {
		s.next |= s.bit(v)
	}
	s.all = s.next
	for _, v := range row.Leaving {
		s.next &^= s.find(v)
	}
	return s
}

// bit adds a volume when it is new and gives its bit.
func (s *shard) bit(volume uint32) uint64 {
	if b := s.find(volume); b != 0 {
		return b
	}
	s.volumes = append(s.volumes, volume)
	return 1 << (len(s.volumes) - 1)
}

// find is the volume's bit; 0 for a stranger.
func (s *shard) find(volume uint32) uint64 {
	for i, v := range s.volumes {
		if v == volume {
			return 1 << i
		}
	}
	return 0
}

// quorum says whether the confirmed replicas are enough: a majority of the members, and of those that will be members. It is counted by the
// row alone: while the pool's replication changes, the row's members are what there is, and the pool's number what is to come.
func (s *shard) quorum(confirmed uint64) bool {
	return majority(confirmed, s.members) && majority(confirmed, s.next)
}

func majority(have, of uint64) bool {
	return bits.OnesCount64(have&of) >= Quorum(bits.OnesCount64(of))
}

// Quorum is how many of n replicas must have a blob.
func Quorum(n int) int { return n/2 + 1 }

// Moving says that a move of the shard has begun and not ended.
func Moving(row *metapb.ShardRow) bool {
	return len(row.Joining) > 0 || slices.ContainsFunc(row.Leaving, func(v uint32) bool { return slices.Contains(row.Members, v) })
}

// Next are the shard's members when its move has ended; the members, if it does not move.
func Next(row *metapb.ShardRow) []uint32 {
	return slices.DeleteFunc(slices.Concat(row.Members, row.Joining), func(v uint32) bool {
		return slices.Contains(row.Leaving, v)
	})
}

// Towards says that a shard of so many members may become one of next members when its pool is to have replication replicas: as many,
// or some of those that lack more, or of those that are too many less.
func Towards(members, next int, replication uint32) bool {
	r := int(replication)
	return next > 0 && next >= min(members, r) && next <= max(members, r)
}

package meta

import (
	"math/bits"

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

// quorum says whether the confirmed replicas are enough: of the members, and of those that will be members.
func (s *shard) quorum(confirmed uint64, replication uint32) bool {
	need := int(replication/2 + 1)
	return bits.OnesCount64(confirmed&s.members) >= need && bits.OnesCount64(confirmed&s.next) >= need
}

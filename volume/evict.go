package volume

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// Placement says which shards belong on this volume, by one linearizable answer of the leader: as members, joining, or left and still
// kept.
type Placement struct {
	Epochs []uint64 // of each shard
	Mine   []bool
	// Horizon is the cluster's: younger blobs stay, for a write that they confirm may be decided yet, by a row that this volume is in again.
	Horizon uint64
}

// Evict forgets the blobs of below the horizon of shards that are not this volume's (invariant 4) and returns how many. The answer must be of after this
// volume was opened. Shards that it has heard later epochs of, or that are being written to, are left for another time.
func (s *Server) Evict(ctx context.Context, p Placement) (int, error) {
	const op = "volume.Evict"
	if len(p.Epochs) != len(p.Mine) {
		return 0, errs.E(op, errs.Invalid, "%d epochs of %d shards", len(p.Epochs), len(p.Mine))
	}
	fences, err := s.fences.size(uint32(len(p.Mine)))
	if err != nil {
		return 0, errs.Wrap(op, err)
	}
	evicted := 0
	var after object.BlobID
	for {
		page, err := s.List(after, pageBlobs)
		if err != nil {
			return evicted, errs.Wrap(op, err)
		}
		strays := map[uint32][]object.BlobID{}
		for i := range page {
			if shard := page[i].ID.Shard(uint32(len(p.Mine))); !p.Mine[shard] && page[i].Epochs.Cluster < p.Horizon {
				strays[shard] = append(strays[shard], page[i].ID)
			}
		}
		for shard, ids := range strays {
			_, err := fences[shard].still(p.Epochs[shard], func() error {
				n, err := s.Store.Evict(ctx, ids...)
				evicted += n
				return err
			})
			if err != nil {
				return evicted, errs.Wrap(op, err)
			}
		}
		if len(page) < pageBlobs {
			return evicted, ctx.Err()
		}
		after = page[len(page)-1].ID
	}
}

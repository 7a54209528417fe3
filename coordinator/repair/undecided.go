package repair

import (
	"context"

	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Writes that failed leave prepared blobs on some replicas and not on others until the horizon has passed them, 48 epochs later. By such
// blobs, as by those of a run that is dying, replicas may differ.

// undecidedMax bounds the prepared blobs that are taken into account in a round, at some 100 bytes each. With more of them shards may
// count as differing that do not.
const undecidedMax = 1 << 18

// leftOut takes what is not alive out of the digests of the given shards, so that what is left must be the same on all members. It asks each
// volume for its prepared blobs, which may take as long as its digests, and metadata for their runs.
func (c *Comparer) leftOut(ctx context.Context, t *topology, digests map[uint32][]object.ShardDigest, shards []uint32) error {
	of := map[uint32]bool{}
	for _, s := range shards {
		of[s] = true
	}
	left := undecidedMax
	for _, row := range t.Volumes {
		all := digests[row.Number]
		if all == nil {
			continue
		}
		var err error
		if left, err = c.leaveOut(ctx, t, row, all, of, left); err != nil || left == 0 {
			return err
		}
	}
	return nil
}

// leaveOut is leftOut of one volume, of at most so many blobs. It gives how many are left.
func (c *Comparer) leaveOut(ctx context.Context, t *topology, at *metapb.VolumeRow, digests []object.ShardDigest, of map[uint32]bool, most int) (int, error) {
	var after object.BlobID
	for {
		page, err := c.preparedPage(ctx, at, after)
		if err != nil {
			return most, nil // it counts as differing
		}
		var ids []object.BlobID
		var lengths []int64
		for i := range page {
			if of[page[i].ID.Shard(t.Pools[0].Shards)] {
				ids, lengths = append(ids, page[i].ID), append(lengths, page[i].Length)
			}
		}
		if ids = ids[:min(len(ids), most)]; len(ids) > 0 {
			known, err := lives(ctx, c.Metadata, ids)
			if err != nil {
				return most, err
			}
			for i, id := range ids {
				if !known[i].alive {
					digests[id.Shard(t.Pools[0].Shards)].Remove(id, lengths[i])
				}
			}
		}
		if most -= len(ids); most == 0 || len(page) < listPage {
			return most, ctx.Err()
		}
		after = page[len(page)-1].ID
	}
}

func (c *Comparer) preparedPage(ctx context.Context, at *metapb.VolumeRow, after object.BlobID) ([]object.BlobInfo, error) {
	call, cancel := context.WithTimeout(ctx, checkMax)
	defer cancel()
	return c.Volumes.ListPrepared(call, at, after, listPage)
}

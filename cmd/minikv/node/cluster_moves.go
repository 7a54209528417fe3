package node

import (
	"context"
	"slices"

	"minikv/internal/object"
	"minikv/internal/rpc"
	"minikv/proto/metapb"
)

// Fence has a volume refuse prepares of the shard by older epochs.
func (c *cluster) Fence(ctx context.Context, number, shard, shards uint32, epoch uint64) error {
	if c.isHere(number) {
		return c.volume.Fence(ctx, shard, shards, epoch)
	}
	v, err := c.client(number)
	if err != nil {
		return err
	}
	return v.Fence(ctx, shard, shards, epoch)
}

// ListShard lists a page of what a volume has of a shard.
func (c *cluster) ListShard(ctx context.Context, number, shard, shards uint32, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	if c.isHere(number) {
		return c.volume.ListShard(int(shard), int(shards), after, limit)
	}
	v, err := c.client(number)
	if err != nil {
		return nil, err
	}
	return v.ListShard(ctx, shard, shards, after, limit)
}

// Fetch has a volume get blobs from others.
func (c *cluster) Fetch(ctx context.Context, number uint32, wants []object.Want) ([]object.Fetched, error) {
	sources := sourcesOf(c.known(), wants)
	if c.isHere(number) {
		return c.careHere().Fetch(ctx, wants, sources)
	}
	v, err := c.client(number)
	if err != nil {
		return nil, err
	}
	return v.Fetch(ctx, wants, sources)
}

// sourcesOf says where the volumes are that blobs are got from.
func sourcesOf(l *metapb.Layout, wants []object.Want) (out []rpc.VolumeAt) {
	var numbers []uint32
	for i := range wants {
		for _, n := range wants[i].From {
			if !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	for _, n := range numbers {
		if row := volumeRow(l, n); row != nil && len(row.Id) == 16 {
			out = append(out, rpc.VolumeAt{Number: n, Incarnation: [16]byte(row.Id), Node: row.Node, Address: row.Address})
		}
	}
	return out
}

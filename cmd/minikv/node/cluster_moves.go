package node

import (
	"context"
	"encoding/hex"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/rpc"
	"minikv/proto/metapb"
	"minikv/volume"
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
		return care{c}.Fetch(ctx, wants, sources)
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

// care is what the leader has this node's volume do for its blobs.
type care struct{ c *cluster }

// Fetch gets blobs from other volumes.
func (a care) Fetch(ctx context.Context, wants []object.Want, sources []rpc.VolumeAt) ([]object.Fetched, error) {
	return a.c.volume.Server.Fetch(ctx, wants, func(number uint32) (volume.Source, error) {
		for i := range sources {
			if sources[i].Number == number {
				return a.c.source(&sources[i])
			}
		}
		return nil, errs.E("node.Fetch", errs.Unavailable, "volume %d is nowhere", number)
	}), nil
}

// source is the way to a volume that the leader has named.
func (c *cluster) source(at *rpc.VolumeAt) (volume.Source, error) {
	if c.isHere(at.Number) {
		return c.volume, nil
	}
	v, err := rpc.NewVolumeClient(c.pool, at.Address, at.Node, rpc.VolumeRef{Number: at.Number, Incarnation: hex.EncodeToString(at.Incarnation[:])})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Check tells what the volume has of some blobs.
func (a care) Check(ctx context.Context, check object.Check) (object.Checked, error) {
	return a.c.volume.Server.Check(ctx, check)
}

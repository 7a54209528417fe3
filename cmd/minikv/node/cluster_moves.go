package node

import (
	"context"
	"maps"
	"slices"

	"minikv/coordinator"
	"minikv/internal/object"
	"minikv/internal/rpc"
	"minikv/internal/telemetry"
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

// moveSamples are numbers of volumes and moves; only the leader has them.
func moveSamples(coord *coordinator.Coordinator) []telemetry.Sample {
	p, ok := coord.Moves()
	if !ok {
		return nil
	}
	out := []telemetry.Sample{
		{Name: "minikv_moves_running", Help: "Shards that move; told by the leader.", Value: float64(p.Moving)},
		{Name: "minikv_moves_planned", Help: "Further moves that are due; told by the leader.", Value: float64(p.Planned)},
		{Name: "minikv_moves_total", Help: "Moves that ended since this coordinator leads.", Counter: true, Value: float64(p.Moved)},
		{Name: "minikv_moved_bytes_total", Help: "Bytes that moves copied since this coordinator leads.", Counter: true, Value: float64(p.CopiedBytes)},
		{Name: "minikv_shards_under_replicated", Help: "Shards with a replica that lacks blobs or is not there; told by the leader.", Value: float64(p.UnderReplicated)},
	}
	counts := coord.VolumeCounts()
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		for _, health := range slices.Sorted(maps.Keys(counts[state])) {
			out = append(out, telemetry.Sample{
				Name: "minikv_volumes", Help: "Volumes by state and health; told by the leader.", Value: float64(counts[state][health]),
				Labels: map[string]string{"state": state, "health": string(health)},
			})
		}
	}
	return out
}

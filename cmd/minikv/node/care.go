package node

import (
	"context"
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"minikv/coordinator"
	"minikv/coordinator/repair"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/rpc"
	"minikv/internal/telemetry"
	"minikv/proto/metapb"
	"minikv/volume"
)

var (
	_ rpc.Care       = (*careHere)(nil)
	_ repair.Volumes = care{}
	_ volume.Source  = (*rpc.VolumeClient)(nil)
)

// careHere is what the volume of this process does for its blobs. pool reaches other nodes; nil: there are none.
type careHere struct {
	*volumePart
	pool *rpc.Pool
}

// Fetch gets blobs from other volumes.
func (v *careHere) Fetch(ctx context.Context, wants []object.Want, sources []rpc.VolumeAt) ([]object.Fetched, error) {
	return v.Server.Fetch(ctx, wants, func(number uint32) (volume.Source, error) {
		for i := range sources {
			if sources[i].Number == number {
				return v.source(&sources[i])
			}
		}
		return nil, errs.E("node.Fetch", errs.Invalid, "volume %d is not among the sources", number)
	}), nil
}

func (v *careHere) source(at *rpc.VolumeAt) (volume.Source, error) {
	if at.Incarnation == v.ID() {
		return v.Server, nil
	}
	if v.pool == nil {
		return nil, errs.E("node.Fetch", errs.Unavailable, "there are no other nodes")
	}
	other, err := rpc.NewVolumeClient(v.pool, at.Address, at.Node, rpc.VolumeRef{Number: at.Number, Incarnation: hex.EncodeToString(at.Incarnation[:])})
	if err != nil {
		return nil, err
	}
	return other, nil
}

// care reaches volumes for the leader: the one here, if any, in process, all others over RPC.
type care struct {
	here *careHere
	pool *rpc.Pool
}

func (c *cluster) careHere() *careHere {
	if c.volume == nil {
		return nil
	}
	return &careHere{c.volume, c.pool}
}

func (c *cluster) care() care { return care{c.careHere(), c.pool} }

// at finds a volume by its row.
func (c care) at(row *metapb.VolumeRow) (rpc.Care, error) {
	id, err := object.BlobIDFrom(row.Id)
	if err != nil {
		return nil, errs.Wrap("node.care", err)
	}
	if c.here != nil && c.here.ID() == id {
		return c.here, nil
	}
	if c.pool == nil {
		return nil, errs.E("node.care", errs.Unavailable, "volume %d is not here", row.Number)
	}
	other, err := rpc.NewVolumeClient(c.pool, row.Address, row.Node, rpc.VolumeRef{Number: row.Number, Incarnation: hex.EncodeToString(row.Id)})
	if err != nil {
		return nil, err
	}
	return other, nil
}

// Fetch has a volume get blobs from others.
func (c care) Fetch(ctx context.Context, to *metapb.VolumeRow, wants []object.Want, sources []*metapb.VolumeRow) ([]object.Fetched, error) {
	v, err := c.at(to)
	if err != nil {
		return nil, err
	}
	from := make([]rpc.VolumeAt, len(sources))
	for i, s := range sources {
		id, err := object.BlobIDFrom(s.Id)
		if err != nil {
			return nil, err
		}
		from[i] = rpc.VolumeAt{Number: s.Number, Incarnation: id, Node: s.Node, Address: s.Address}
	}
	return v.Fetch(ctx, wants, from)
}

// Check asks a volume what it has of blobs.
func (c care) Check(ctx context.Context, at *metapb.VolumeRow, q object.Check) (object.Checked, error) {
	v, err := c.at(at)
	if err != nil {
		return object.Checked{}, err
	}
	return v.Check(ctx, q)
}

// Digests tells what the volume holds of each shard.
func (v *careHere) Digests(_ context.Context, shards uint32) ([]object.ShardDigest, error) {
	return v.ShardDigests(int(shards))
}

// Compact rewrites segments that are mostly dead.
func (v *careHere) Compact(ctx context.Context, dead float64) (object.Compacted, error) {
	r, err := v.CompactNow(ctx, dead, nil)
	return object.Compacted{Segments: int64(r.Segments), CopiedBytes: r.Copied, FreedBytes: r.Returned}, err
}

// List gives a page of what a volume has.
func (c care) List(ctx context.Context, at *metapb.VolumeRow, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	switch v, err := c.at(at); v := v.(type) {
	case *careHere:
		return v.Server.List(after, limit)
	case *rpc.VolumeClient:
		return v.List(ctx, after, limit)
	default:
		return nil, err
	}
}

// ListPrepared gives a page of what a volume does not know to be committed.
func (c care) ListPrepared(ctx context.Context, at *metapb.VolumeRow, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	switch v, err := c.at(at); v := v.(type) {
	case *careHere:
		return v.Server.ListPrepared(after, limit, math.MaxUint64)
	case *rpc.VolumeClient:
		return v.ListPrepared(ctx, after, limit, math.MaxUint64)
	default:
		return nil, err
	}
}

// ListShard gives a page of what a volume has of a shard.
func (c care) ListShard(ctx context.Context, at *metapb.VolumeRow, shard, shards uint32, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	switch v, err := c.at(at); v := v.(type) {
	case *careHere:
		return v.Server.ListShard(int(shard), int(shards), after, limit)
	case *rpc.VolumeClient:
		return v.ListShard(ctx, shard, shards, after, limit)
	default:
		return nil, err
	}
}

// Digests tells what a volume holds of each shard.
func (c care) Digests(ctx context.Context, at *metapb.VolumeRow, shards uint32) ([]object.ShardDigest, error) {
	v, err := c.at(at)
	if err != nil {
		return nil, err
	}
	return v.Digests(ctx, shards)
}

// Compact has a volume rewrite segments that are mostly dead.
func (c care) Compact(ctx context.Context, at *metapb.VolumeRow, dead float64) (object.Compacted, error) {
	v, err := c.at(at)
	if err != nil {
		return object.Compacted{}, err
	}
	return v.Compact(ctx, dead)
}

// repairSamples are the numbers of the leader's repair; gauges only while it leads.
func repairSamples(c *coordinator.Coordinator) []telemetry.Sample {
	st := c.RepairStats()
	counter := func(name, help string, value int64) telemetry.Sample {
		return telemetry.Sample{Name: "minikv_repair_" + name + "_total", Help: help, Counter: true, Value: float64(value)}
	}
	out := []telemetry.Sample{
		counter("copied", "Replicas copied to volumes that lacked them.", st.Copied),
		counter("copied_bytes", "Bytes of the replicas copied.", st.CopiedBytes),
		counter("failed", "Attempts to copy a replica that failed.", st.Failed),
		counter("cleared", "Missing replicas of blobs that were deleted meanwhile.", st.Cleared),
	}
	compared := c.CompareStats()
	out = append(out, []telemetry.Sample{
		counter("compared_rounds", "Comparisons of what all replicas hold.", compared.Rounds),
		counter("compared_starts", "Volumes compared with metadata because they had started.", compared.Started),
		counter("compared_found", "Replicas that comparisons found to lack a blob.", compared.Found),
	}...)
	if c.Leads() != nil {
		return out
	}
	gauge := func(name, help string, value float64) {
		out = append(out, telemetry.Sample{Name: "minikv_repair_" + name, Help: help, Value: value})
	}
	age := 0.0
	if st.OldestMs > 0 {
		age = max(0, time.Since(time.UnixMilli(st.OldestMs)).Seconds())
	}
	gauge("oldest_seconds", "Age of the oldest missing replica.", age)
	gauge("unrepairable", "Replicas for which no volume gave good bytes.", float64(st.Lost))
	gauge("volumes_away", "Volumes that could not be repaired, or copied from, a moment ago.", float64(st.Away))
	for _, v := range slices.Sorted(maps.Keys(st.Missing)) {
		out = append(out, telemetry.Sample{
			Name: "minikv_repair_missing", Help: "Replicas that a volume lacks or has damaged.", Value: float64(st.Missing[v]),
			Labels: map[string]string{"volume": strconv.Itoa(int(v))},
		})
	}
	return out
}

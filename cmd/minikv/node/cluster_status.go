package node

import (
	"context"
	"encoding/hex"
	"strconv"
	"sync"
	"time"

	"minikv/internal/errs"
	"minikv/internal/telemetry"
	"minikv/internal/vfs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
	"minikv/proto/volumepb"
)

func (v *volumePart) incarnation() string {
	id := v.ID()
	return hex.EncodeToString(id[:])
}

func (v *volumePart) statsReply() *volumepb.StatsReply {
	st, doubt := v.Stats(), v.InDoubt()
	counted := int64(-1)
	if !doubt.At.IsZero() {
		counted = time.Since(doubt.At).Milliseconds()
	}
	return &volumepb.StatsReply{
		InDoubt: uint64(doubt.Blobs), InDoubtEpoch: doubt.Oldest, InDoubtSeenMs: counted,
		DiskFree: uint64(st.FreeBytes), Full: st.Full, Blobs: uint64(st.Blobs), Bytes: uint64(st.Bytes), Segments: uint64(st.Segments),
		SegmentBytes: uint64(st.SegmentBytes), IndexBytes: uint64(st.IndexBytes), Damaged: uint64(st.Damaged), Horizon: st.Horizon,
		Prepares: uint64(st.Prepares), Deletes: uint64(st.Deletes), Reads: uint64(st.Reads), ReadErrors: uint64(st.ReadErrors),
		Groups: uint64(st.Groups), Syncs: uint64(st.Syncs), BytesWritten: uint64(st.BytesWritten), WriteFailures: uint64(st.WriteFailures),
	}
}

// nodeVolume is this node's volume as the leader is told.
func (c *cluster) nodeVolume() *coordpb.NodeVolume {
	id, st := c.volume.ID(), c.volume.Stats()
	disk, _ := vfs.OS().GetDiskUsage(c.cfg.Data) // without it, every volume weighs the same
	return &coordpb.NodeVolume{
		DiskTotal:   disk.TotalBytes,
		Incarnation: id[:], Number: c.number.Load(), Address: c.rpcAddr, DiskFree: uint64(st.FreeBytes), Used: uint64(st.SegmentBytes),
		Blobs: uint64(st.Blobs), Full: st.Full, Weight: c.cfg.VolumeWeight,
	}
}

// readyMax bounds the question whether this node can serve.
const readyMax = 2 * time.Second

// ready says whether a leader answers, without which nothing can be read or decided.
func (c *cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	_, err := c.stats(ctx)
	return err
}

func (c *cluster) stats(ctx context.Context) (*metapb.StatsAnswer, error) {
	a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
	return a.GetStats(), err
}

// status shows the cluster as it is seen from this node.
func (c *cluster) status(ctx context.Context) (map[string]any, error) {
	counts, err := c.stats(ctx)
	if err != nil {
		return nil, errs.Wrap("status", err)
	}
	out := map[string]any{
		"node": c.cfg.Node, "roles": c.cfg.Roles, "counts": countsStatus(counts), "volumes": c.volumesStatus(ctx),
		"under_replicated": counts.GetMissing(),
	}
	coordinators := map[string]any{}
	var best uint64
	for _, s := range c.coordinatorsNow(ctx) {
		coordinators[s.Node] = map[string]any{
			"state": s.State, "term": s.Term, "applied_index": s.AppliedIndex, "last_index": s.LastIndex,
			"snapshot_index": s.SnapshotIndex, "storage_full": s.StorageFull, "incarnation": s.Incarnation,
		}
		if s.Ready && s.Term >= best {
			best = s.Term
			out["leader"], out["term"] = s.Node, s.Term
		}
	}
	out["coordinators"] = coordinators
	return out, nil
}

func (c *cluster) volumesStatus(ctx context.Context) map[string]any {
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	rows := c.known().GetVolumes()
	all := make([]map[string]any, len(rows))
	var wg sync.WaitGroup
	for i, row := range rows {
		wg.Go(func() {
			st, err := c.volumeStats(ctx, row.Number)
			all[i] = map[string]any{"node": row.Node, "address": row.Address, "up": err == nil}
			if err == nil {
				all[i]["blobs"], all[i]["bytes"], all[i]["free_bytes"], all[i]["full"] = st.Blobs, st.Bytes, st.DiskFree, st.Full
			}
		})
	}
	wg.Wait()
	out := map[string]any{}
	for i, row := range rows {
		out[strconv.Itoa(int(row.Number))] = all[i]
	}
	return out
}

func (c *cluster) volumeStats(ctx context.Context, number uint32) (*volumepb.StatsReply, error) {
	if c.isHere(number) {
		return c.volume.statsReply(), nil
	}
	v, err := c.client(number)
	if err != nil {
		return nil, err
	}
	return v.Stats(ctx)
}

func (c *cluster) unresolved() int {
	if m := c.meta.Load(); m != nil {
		return m.Unresolved()
	}
	return 0
}

// samples are the numbers for metrics.
func (c *cluster) samples() []telemetry.Sample {
	out := []telemetry.Sample{
		{Name: "minikv_gateway_commands_unresolved", Help: "Commands of this gateway whose clients were told that the outcome is unknown, and whose outcome is asked for.",
			Value: float64(c.unresolved())},
		{Name: "minikv_gateway_bad_replicas_total", Help: "Reads and writes of blobs that failed on a replica.", Counter: true, Value: float64(c.bad.Load())},
	}
	out = append(out, c.volumeInfo()...)
	if c.coord != nil {
		out = append(append(out, coordinatorSamples(c.coord)...), repairSamples(c.coord)...)
		out = append(append(out, moveSamples(c.coord)...), nodeSamples(c.coord)...)
	}
	if c.volume != nil {
		labels := map[string]string{"volume": strconv.Itoa(int(c.number.Load()))}
		for _, s := range c.volume.samples() {
			s.Labels = labels
			out = append(out, s)
		}
	}
	return out
}

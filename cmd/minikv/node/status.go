package node

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// metricsRegistry is what metrics are registered with and read from.
type metricsRegistry = *prometheus.Registry

// Status is the answer of /admin/status below "store".
type Status struct {
	Data        string         `json:"data"`
	Fsync       string         `json:"fsync"`
	Region      string         `json:"region"`
	Coordinator any            `json:"coordinator"`
	Volumes     map[string]any `json:"volumes"`
	Counts      map[string]any `json:"counts"`
}

func (n *Node) status(ctx context.Context) (any, error) {
	st := n.storage.coord.Status()
	counts, err := n.storage.stats(ctx)
	if err != nil {
		return nil, err
	}
	layout := n.storage.meta.Layout()
	return &Status{
		Data: n.dir.Path, Fsync: n.cfg.Fsync, Region: n.cfg.Region,
		Coordinator: map[string]any{
			"ready": st.Ready, "storage_full": st.StorageFull, "state": st.State, "term": st.Term, "applied_index": st.AppliedIndex,
			"last_index": st.LastIndex, "snapshot_index": st.SnapshotIndex,
			"epoch": layout.GetCluster().GetEpoch(), "horizon": layout.GetCluster().GetHorizon(),
		},
		Volumes: map[string]any{"1": n.storage.volume.status()},
		Counts: map[string]any{
			"buckets": counts.GetBuckets(), "objects": counts.GetObjects(), "bytes": counts.GetBytes(), "uploads": counts.GetUploads(),
			"queued": counts.GetQueued(), "missing": counts.GetMissing(), "sessions": counts.GetSessions(),
		},
	}, nil
}

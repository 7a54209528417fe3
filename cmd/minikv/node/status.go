package node

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"minikv/coordinator"
	"minikv/proto/metapb"
)

// metricsRegistry is what metrics are registered with and read from.
type metricsRegistry = *prometheus.Registry

// status is the answer of /admin/status below "store".
func (n *Node) status(ctx context.Context) (any, error) {
	st, err := n.storage.status(ctx)
	if err != nil {
		return nil, err
	}
	st["data"], st["fsync"], st["region"] = n.dir.Path, n.cfg.Fsync, n.cfg.Region
	return st, nil
}

func (s *storage) status(ctx context.Context) (map[string]any, error) {
	st := s.coord.Status()
	counts, err := s.stats(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"coordinator": coordinatorStatus(st, s.meta.Layout()),
		"volumes":     map[string]any{"1": s.volume.status()},
		"counts":      countsStatus(counts),
	}, nil
}

func coordinatorStatus(st coordinator.Status, layout *metapb.Layout) map[string]any {
	return map[string]any{
		"ready": st.Ready, "storage_full": st.StorageFull, "state": st.State, "term": st.Term, "applied_index": st.AppliedIndex,
		"last_index": st.LastIndex, "snapshot_index": st.SnapshotIndex,
		"epoch": layout.GetCluster().GetEpoch(), "horizon": layout.GetCluster().GetHorizon(),
	}
}

func countsStatus(counts *metapb.StatsAnswer) map[string]any {
	return map[string]any{
		"buckets": counts.GetBuckets(), "objects": counts.GetObjects(), "bytes": counts.GetBytes(), "uploads": counts.GetUploads(),
		"queued": counts.GetQueued(), "missing": counts.GetMissing(), "sessions": counts.GetSessions(),
	}
}

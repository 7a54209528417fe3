package coordinator

import (
	"context"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/coordinator/repair"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// newRepair makes the queue of missing replicas; nil without volumes that could be asked.
func (c *Coordinator) newRepair() *repair.Queue {
	if c.cfg.Care == nil {
		return nil
	}
	return repair.NewQueue(repair.Config{
		Metadata: c, Volumes: c.cfg.Care, Clock: c.cfg.Clock, Log: c.cfg.Log.Named("repair"), Rate: c.cfg.RepairRate,
	})
}

// newCompare makes what finds replicas that lack blobs unnoticed; nil without volumes that could be asked.
func (c *Coordinator) newCompare() *repair.Comparer {
	if c.cfg.Care == nil {
		return nil
	}
	return &repair.Comparer{
		Metadata: c, Volumes: c.cfg.Care, Clock: c.cfg.Clock, Log: c.cfg.Log.Named("compare"), Every: c.cfg.CompareEvery,
		Found: func() { c.repair.Nudge(false) },
	}
}

// CompareStats is what this coordinator has compared while it led.
func (c *Coordinator) CompareStats() repair.CompareStats {
	if c.compare == nil {
		return repair.CompareStats{}
	}
	return c.compare.Stats()
}

// RepairStats is what this coordinator has repaired while it led, and how that stands.
func (c *Coordinator) RepairStats() repair.Stats {
	if c.repair == nil {
		return repair.Stats{}
	}
	return c.repair.Stats()
}

// RepairNow has this coordinator, if it leads, look at missing replicas at once, also at those that failed a moment ago.
func (c *Coordinator) RepairNow() {
	if c.repair != nil {
		c.repair.Nudge(true)
	}
}

// Report hears of replicas that others found bad, and has those repaired that hold, or should hold, a living blob. errs.NotLeader.
func (c *Coordinator) Report(ctx context.Context, r *coordpb.ReportRequest) (*coordpb.ReportReply, error) {
	const op = "coordinator.Report"
	if _, err := c.node.Ready(); err != nil {
		return nil, err
	}
	if r.Volume != 0 && len(r.Boot) > 0 && c.compare != nil {
		c.compare.Booted(r.Volume, r.Boot, time.Duration(r.UptimeMs)*time.Millisecond)
	}
	rows := make([]*metapb.MissingRow, len(r.Suspects))
	for i, s := range r.Suspects {
		rows[i] = &metapb.MissingRow{Blob: s.Blob, Volume: s.Volume, Reason: meta.MissingLost}
		if s.Damaged {
			rows[i].Reason = meta.MissingDamaged
		}
	}
	if len(rows) == 0 {
		return &coordpb.ReportReply{}, nil
	}
	n, err := repair.Report(ctx, c, rows)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if n > 0 {
		c.cfg.Log.Warn("replicas were found damaged or missing", zap.Int("replicas", n), zap.Int("reported", len(rows)))
		if c.repair != nil {
			c.repair.Nudge(false)
		}
	}
	return &coordpb.ReportReply{Taken: uint32(n)}, nil
}

// Verify compares metadata with itself and with all volumes; see repair.Verifier. Only a leader with volumes to ask can.
func (c *Coordinator) Verify(ctx context.Context, o repair.VerifyOptions, problem func(repair.Problem) error, progress func(repair.Verified) error) (repair.Verified, error) {
	if c.cfg.Care == nil {
		return repair.Verified{}, errs.E("coordinator.Verify", errs.Unsupported, "there are no volumes to ask")
	}
	v := &repair.Verifier{Metadata: c, Volumes: c.cfg.Care, Clock: c.cfg.Clock}
	did, err := v.Verify(ctx, o, problem, progress)
	if did.Reported > 0 {
		c.repair.Nudge(false)
	}
	return did, err
}

// Layout reads the cluster's layout. errs.NotLeader, errs.Unavailable.
func (c *Coordinator) Layout(ctx context.Context) (*metapb.Layout, error) { return c.layout(ctx) }

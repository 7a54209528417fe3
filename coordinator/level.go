package coordinator

import (
	"context"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// allow refuses a command of a level that the cluster does not use yet, unless every coordinator has said that it knows it: one that does
// not would stop for good when it applies it. errs.Unavailable: one did not say; errs.Unsupported: one is too old.
func (c *Coordinator) allow(ctx context.Context, op string, cmd *metapb.Command) error {
	need := meta.LevelOf(cmd)
	if need <= 1 || c.cfg.LevelOf == nil {
		return nil
	}
	l, err := c.layout(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if l.GetCluster().GetLevel() >= need {
		return nil
	}
	members, err := c.node.Members()
	if err != nil {
		return errs.Wrap(op, err)
	}
	for _, m := range members {
		if m.ID == c.ID() {
			continue
		}
		level, err := c.cfg.LevelOf(ctx, m)
		if err != nil {
			return errs.E(op, errs.Unavailable, "the coordinator at %s must say first that its version knows this command, and does not answer: %v", m.Address, err)
		}
		if level < need {
			return errs.E(op, errs.Unsupported, "the coordinator at %s is of an older version, which does not know this command: update it first", m.Address)
		}
	}
	return nil
}

// knowsEnough refuses a coordinator whose program does not know the level that the cluster uses: it would stop at the first such entry.
func (c *Coordinator) knowsEnough(ctx context.Context, r *coordpb.JoinRequest) error {
	const op = "coordinator.Join"
	l, err := c.layout(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if used := l.GetCluster().GetLevel(); used > 1 && r.Level < used {
		return errs.E(op, errs.Conflict, "the program of node %s is too old for this cluster, which uses commands of level %d", r.Node, used)
	}
	return nil
}

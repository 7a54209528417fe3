package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// ReplicationChange is what is asked of a pool.
type ReplicationChange struct {
	Pool, Replication uint32
	Fewer             bool // fewer than before are meant: copies of everything are dropped
	Crowded           bool // replicas may share a node
}

// SetReplication changes how many replicas the blobs of a pool have, and tells what is to be known of it. Shards follow one after the other,
// as moves do. errs.Invalid: no such pool or number; errs.Conflict: not so many volumes are there to hold them, or it is not meant so.
func (c *Coordinator) SetReplication(ctx context.Context, q ReplicationChange) (warnings []string, err error) {
	const op = "coordinator.SetReplication"
	l, err := c.layout(ctx)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	i := slices.IndexFunc(l.GetPools(), func(p *metapb.PoolRow) bool { return p.Pool == q.Pool })
	if i < 0 {
		return nil, errs.E(op, errs.Invalid, "there is no pool %d", q.Pool)
	}
	was := l.Pools[i].Replication
	if c.cfg.Moves == nil && q.Replication > 1 {
		return nil, errs.E(op, errs.Conflict, "this process is alone with its one volume, which holds 1 replica of each blob; %d need a cluster, made with --node and --cluster", q.Replication)
	}
	if q.Replication < 1 || q.Replication > meta.ReplicationMax {
		return nil, errs.E(op, errs.Invalid, "a pool has 1 to %d replicas of each blob, not %d", meta.ReplicationMax, q.Replication)
	}
	if q.Replication == was {
		return nil, nil
	}
	if q.Replication < was && !q.Fewer {
		return nil, errs.E(op, errs.Conflict, "from %d replicas to %d, copies of everything are dropped: say --yes if that is meant", was, q.Replication)
	}
	if warnings, err = c.roomFor(l, q); err != nil {
		return nil, errs.Wrap(op, err)
	}
	_, err = c.propose(ctx, op, &metapb.Command{Op: &metapb.Command_SetReplication{SetReplication: &metapb.SetReplication{
		Pool: q.Pool, From: was, Replication: q.Replication,
	}}})
	if err != nil {
		return nil, err
	}
	c.cfg.Log.Info("a pool's replication was changed", zap.Uint32("pool", q.Pool), zap.Uint32("from", was), zap.Uint32("to", q.Replication))
	c.keepLayout(ctx)
	return warnings, nil
}

// roomFor refuses a replication for which there are too few volumes that are up and take shards, or too few nodes.
func (c *Coordinator) roomFor(l *metapb.Layout, q ReplicationChange) (warnings []string, err error) {
	nodes, zones, takes := map[string]bool{}, map[string]bool{}, 0
	var others []string
	for _, v := range c.volumeStatuses(l, nil) {
		why := ""
		switch row := v.Row; {
		case row.State == meta.VolumeRemoved:
			continue
		case row.State != meta.VolumeIn:
			why = "is " + meta.VolumeStateText(row.State)
		case !meta.TakesShards(row):
			why = "has weight 0"
		case v.Health == Down:
			why = "is down"
		}
		if why != "" {
			others = append(others, fmt.Sprintf("volume %d on %s %s", v.Row.Number, v.Row.Node, why))
			continue
		}
		takes++
		nodes[v.Row.Node] = true
		if v.Row.Zone != "" {
			zones[v.Row.Zone] = true
		} else {
			zones["\x00"+v.Row.Node] = true
		}
	}
	n := int(q.Replication)
	switch {
	case takes < n:
		but := ""
		if len(others) > 0 {
			but = " (" + strings.Join(others[:min(len(others), 8)], ", ") + ")"
		}
		return nil, errs.E("", errs.Conflict, "%d volumes are up and take shards%s; %d replicas need as many: add nodes first", takes, but, n)
	case len(nodes) < n && !q.Crowded:
		return nil, errs.E("", errs.Conflict, "%d replicas on %d nodes: some of a shard would share a node, and be lost with it; add nodes, or force it", n, len(nodes))
	case len(nodes) < n:
		warnings = append(warnings, fmt.Sprintf("%d replicas are on %d nodes: some of a shard share a node", n, len(nodes)))
	case len(zones) < n:
		warnings = append(warnings, fmt.Sprintf("%d replicas are in %d zones: some of a shard share a zone", n, len(zones)))
	}
	return warnings, nil
}

// SetWeight changes what share of the shards the volumes of a node, or one by its number, are to have: in the unit of capacities; nil: by
// their capacity; 0: they keep what they have until shards are spread, and get nothing. errs.Conflict: too few others would take shards.
func (c *Coordinator) SetWeight(ctx context.Context, name string, weight *uint64) error {
	const op = "coordinator.SetWeight"
	l, err := c.layout(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	rows, err := volumesOf(l, name)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if weight != nil && *weight == 0 {
		if err := enoughLeft(op, l, rows); err != nil {
			return err
		}
	}
	for _, row := range rows {
		_, err := c.propose(ctx, op, &metapb.Command{Op: &metapb.Command_SetVolumeWeight{SetVolumeWeight: &metapb.SetVolumeWeight{
			Number: row.Number, Weight: weight,
		}}})
		if err != nil {
			return err
		}
		c.cfg.Log.Info("a volume's weight was changed", zap.Uint32("volume", row.Number), zap.String("node", row.Node), zap.Uint64p("weight", weight))
	}
	c.keepLayout(ctx)
	return nil
}

// keepLayout has those who ask for the health of volumes see what was just changed.
func (c *Coordinator) keepLayout(ctx context.Context) {
	if now, err := c.layout(ctx); err == nil {
		c.health.keep(now)
	}
}

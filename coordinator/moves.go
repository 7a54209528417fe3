package coordinator

import (
	"context"
	"slices"
	"strconv"

	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/coordinator/rebalance"
	"minikv/coordinator/repair"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// move carries out moves of shards until ctx ends, and waits for what runs.
func (c *Coordinator) move(ctx context.Context) {
	cfg := rebalance.Config{Log: c.cfg.Log.Named("moves"), Clock: c.cfg.Clock, Up: c.up}
	if c.compare != nil {
		cfg.Started = c.compare.StartedAt
	}
	m := rebalance.New(c, c.cfg.Moves, cfg)
	c.mover.Store(m)
	defer c.mover.Store(nil)
	m.Run(ctx)
}

// up says that a volume was heard of within Config.DownAfter, and soon enough not to be suspected when it can be helped.
func (c *Coordinator) up(number uint32) bool {
	for _, row := range c.health.layout().GetVolumes() {
		if row.Number == number {
			silent, _ := c.health.silent(row.Id, c.cfg.Clock.Now())
			return row.Address == "" || c.healthOf(silent) != Down
		}
	}
	return false
}

// Moves tells how far moves are; false: this coordinator does not lead, or moves nothing.
func (c *Coordinator) Moves() (rebalance.Progress, bool) {
	m := c.mover.Load()
	if m == nil {
		return rebalance.Progress{}, false
	}
	return m.Progress(), true
}

// VolumeCounts counts the volumes by state and health, as this leader last looked; nil: it does not lead, or has not looked yet.
func (c *Coordinator) VolumeCounts() map[string]map[Health]int {
	l := c.health.layout()
	if l == nil || c.mover.Load() == nil {
		return nil
	}
	out := map[string]map[Health]int{}
	for _, v := range c.volumeStatuses(l, nil) {
		state := meta.VolumeStateText(v.Row.State)
		if out[state] == nil {
			out[state] = map[Health]int{}
		}
		out[state][v.Health]++
	}
	return out
}

// Rebalance changes what is asked of moves, and gives what is asked now and how far moves are; an empty change only asks.
func (c *Coordinator) Rebalance(ctx context.Context, change *metapb.SetRebalance) (*metapb.RebalanceRow, rebalance.Progress, error) {
	const op = "coordinator.Rebalance"
	if c.cfg.Moves == nil {
		return nil, rebalance.Progress{}, errs.E(op, errs.Unsupported, "this process is alone: there is nothing to move")
	}
	if change.Running != nil || change.Paused != nil || change.BytesPerSecond != nil {
		if _, err := c.propose(ctx, op, &metapb.Command{Op: &metapb.Command_SetRebalance{SetRebalance: change}}); err != nil {
			return nil, rebalance.Progress{}, err
		}
	}
	l, err := c.layout(ctx)
	if err != nil {
		return nil, rebalance.Progress{}, errs.Wrap(op, err)
	}
	m := c.mover.Load()
	if m == nil {
		return nil, rebalance.Progress{}, errs.E(op, errs.Unavailable, "this coordinator has begun or ceased to lead just now: ask again")
	}
	return l.GetRebalance(), m.ProgressOf(l), nil
}

// volumesOf finds volumes by the name of their node, or one by its number.
func volumesOf(l *metapb.Layout, name string) ([]*metapb.VolumeRow, error) {
	var out []*metapb.VolumeRow
	for _, row := range l.GetVolumes() {
		if row.Node == name {
			out = append(out, row)
		}
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && len(out) == 0 {
		for _, row := range l.GetVolumes() {
			if uint64(row.Number) == n {
				out = append(out, row)
			}
		}
	}
	if len(out) == 0 {
		return nil, errs.E("coordinator.Volumes", errs.Invalid, "no volume is on a node %q, and none has that number", name)
	}
	return out, nil
}

// enoughLeft refuses with errs.Conflict when, without the rows, fewer volumes than replicas would take shards.
func enoughLeft(op string, l *metapb.Layout, without []*metapb.VolumeRow) error {
	left := 0
	for _, row := range l.Volumes {
		if meta.TakesShards(row) && !slices.Contains(without, row) {
			left++
		}
	}
	if need := int(l.GetPools()[0].GetReplication()); left < need {
		return errs.E(op, errs.Conflict, "%d volumes that take shards would be left, and blobs have %d replicas: add nodes first", left, need)
	}
	return nil
}

// AddNode takes the volumes of a node, or one by its number, in again: drained, lost or removed ones. New nodes need no such thing: they
// register themselves.
func (c *Coordinator) AddNode(ctx context.Context, name string) error {
	return c.setStates(ctx, "coordinator.AddNode", name, meta.VolumeIn, false, func(*metapb.Layout, []*metapb.VolumeRow) error { return nil })
}

// DrainNode has all shards of the volumes of a node move to others; the volumes go on serving until they have. errs.Conflict: those that
// would be left in can't hold every replica.
func (c *Coordinator) DrainNode(ctx context.Context, name string) error {
	const op = "coordinator.DrainNode"
	return c.setStates(ctx, op, name, meta.VolumeDraining, false, func(l *metapb.Layout, rows []*metapb.VolumeRow) error {
		if err := enoughLeft(op, l, rows); err != nil {
			return err
		}
		for _, row := range rows {
			if row.State == meta.VolumeRemoved {
				return errs.E(op, errs.Conflict, "volume %d was removed", row.Number)
			}
		}
		return nil
	})
}

// RemoveNode forgets the volumes of a node for good, and tells of the blobs that only they are known to have good. errs.Conflict: they still
// hold shards, or such blobs; with force, a shard would be left without a quorum of other members that live.
func (c *Coordinator) RemoveNode(ctx context.Context, name string, force bool) (lost repair.Last, err error) {
	const op = "coordinator.RemoveNode"
	err = c.setStates(ctx, op, name, meta.VolumeRemoved, force, func(l *metapb.Layout, rows []*metapb.VolumeRow) error {
		goes := func(v uint32) bool {
			return slices.ContainsFunc(rows, func(r *metapb.VolumeRow) bool { return r.Number == v })
		}
		if lost, err = repair.LastCopies(ctx, c, goes); err != nil {
			return errs.Wrap(op, err)
		}
		if !force && lost.Count > 0 {
			return errs.E(op, errs.Conflict, "%s has the only good copy that is known of %s: wait until they are repaired, or force it and lose them", name, &lost)
		}
		if !force {
			return nil
		}
		if err := c.leavesQuorum(l, goes); err != nil {
			return errs.Wrap(op, err)
		}
		if lost.Count > 0 {
			c.cfg.Log.Error("a node is removed by force with the only good copies of blobs", zap.String("node", name), zap.Stringer("lost", &lost))
		}
		return nil
	})
	return lost, err
}

// leavesQuorum refuses when a shard of those that go would be left without a quorum of living members.
func (c *Coordinator) leavesQuorum(l *metapb.Layout, goes func(uint32) bool) error {
	for _, s := range l.Shards {
		others := 0
		for _, v := range s.Members {
			if !goes(v) && c.up(v) {
				others++
			}
		}
		if quorum := meta.Quorum(len(s.Members)); slices.ContainsFunc(s.Members, goes) && others < quorum {
			return errs.E("", errs.Conflict, "shard %d would have %d living replicas; a quorum is %d", s.Shard, others, quorum)
		}
	}
	return nil
}

// setStates moves the volumes of a node to a state, one entry each, once check has nothing against it.
func (c *Coordinator) setStates(ctx context.Context, op, name string, to uint32, force bool, check func(*metapb.Layout, []*metapb.VolumeRow) error) error {
	l, err := c.layout(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	rows, err := volumesOf(l, name)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if to != meta.VolumeRemoved || len(rows) > 1 { // volumes that were removed before stay so unless they are named
		if some := slices.DeleteFunc(slices.Clone(rows), func(r *metapb.VolumeRow) bool { return r.State == meta.VolumeRemoved }); len(some) > 0 {
			rows = some
		}
	}
	if err := check(l, rows); err != nil {
		return err
	}
	for _, row := range rows {
		if row.State == to {
			continue
		}
		_, err := c.propose(ctx, op, &metapb.Command{Op: &metapb.Command_SetVolumeState{SetVolumeState: &metapb.SetVolumeState{
			Number: row.Number, From: row.State, To: to, Force: force,
		}}})
		if err != nil {
			return err
		}
		c.cfg.Log.Info("a volume's state was changed", zap.Uint32("volume", row.Number), zap.String("node", row.Node),
			zap.Uint32("from", row.State), zap.Uint32("to", to))
	}
	if now, err := c.layout(ctx); err == nil {
		c.health.keep(now)
	}
	return nil
}

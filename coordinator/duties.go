package coordinator

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/txn"
)

// runDuties runs the leader's loops until ctx ends, and waits for them.
func (c *Coordinator) runDuties(ctx context.Context) {
	var wg sync.WaitGroup
	for _, d := range c.duties() {
		wg.Go(func() { d.Run(ctx, c.cfg.Clock, c.cfg.Log) })
	}
	if c.cfg.Moves != nil {
		wg.Go(func() { c.move(ctx) })
	}
	if c.repair != nil {
		wg.Go(func() { c.repair.Run(ctx) })
		wg.Go(func() { c.compare.Run(ctx) })
	}
	wg.Wait()
}

func (c *Coordinator) duties() []txn.Duty {
	collectEvery := min(collectEveryMax, max(c.cfg.QueueDelay/4, 100*time.Millisecond))
	duties := []txn.Duty{
		{Name: "watch volumes", Next: txn.Every(watchEvery), Step: func(ctx context.Context, _ time.Time) error {
			return c.WatchOnce(ctx)
		}},
		{Name: "tick the epoch", Next: c.untilTick, Step: func(ctx context.Context, _ time.Time) error {
			return c.TickIfDue(ctx)
		}},
		{Name: "collect", Next: txn.Every(collectEvery), Step: func(ctx context.Context, now time.Time) error {
			_, err := c.CollectOnce(ctx)
			return err
		}},
		{Name: "forget completed uploads", Next: txn.Every(pruneEvery), Step: func(ctx context.Context, now time.Time) error {
			_, err := txn.PruneCompleted(ctx, c, now.Add(-c.cfg.CompletedKeep))
			return err
		}},
	}
	return duties
}

func (c *Coordinator) tickFile() tickFile {
	return tickFile{fs: c.cfg.FS, name: c.cfg.FS.PathJoin(c.cfg.Dir, tickName)}
}

// untilTick looks at least every tenth of an interval, so that a changed clock does not matter for long.
func (c *Coordinator) untilTick(time.Time) time.Duration {
	return max(c.cfg.EpochInterval/10, time.Millisecond)
}

// TickIfDue ticks the epoch when it has lasted for the interval.
func (c *Coordinator) TickIfDue(ctx context.Context) error {
	l, err := c.layout(ctx)
	if err != nil || len(l.GetCluster().GetId()) == 0 {
		return err
	}
	now := c.cfg.Clock.Now()
	if now.Before(c.tickFile().due(l.Cluster.Epoch, c.cfg.EpochInterval, now)) {
		return nil
	}
	return c.TickOnce(ctx)
}

// TickOnce ticks the epoch now.
func (c *Coordinator) TickOnce(ctx context.Context) error {
	row, err := txn.TickEpoch(ctx, c, c.cfg.HorizonLag)
	if err == nil {
		c.tickFile().due(row.GetEpoch(), c.cfg.EpochInterval, c.cfg.Clock.Now())
		c.cfg.Log.Info("epoch", zap.Uint64("epoch", row.GetEpoch()), zap.Uint64("horizon", row.GetHorizon()))
	}
	return err
}

// CollectOnce goes through the deletion queue once.
func (c *Coordinator) CollectOnce(ctx context.Context) (txn.Collected, error) {
	v := c.volumes()
	if v == nil {
		return txn.Collected{}, nil
	}
	// Not negative: what was queued in this very millisecond is due when nothing is to wait.
	return txn.Collect(ctx, c, v, c.cfg.Clock.Now().Add(time.Millisecond-c.cfg.QueueDelay))
}

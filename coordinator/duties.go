package coordinator

import (
	"context"
	"math"
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
			c.watchSettings()
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
			_, err := txn.PruneCompleted(ctx, c, c.notAfter(now).Add(-c.cfg.CompletedKeep))
			return err
		}},
	}
	return duties
}

// notAfter is now, or what now would be if nobody had set the wall clock forward since this coordinator started.
func (c *Coordinator) notAfter(now time.Time) time.Time {
	if steady := c.started.Add(c.cfg.Clock.Elapsed() - c.startedAt); steady.Before(now) {
		return steady
	}
	return now
}

// untilTick looks at least every tenth of an interval, and often enough to remember most of it when the process is killed.
func (c *Coordinator) untilTick(time.Time) time.Duration {
	return max(min(c.cfg.EpochInterval/10, time.Minute), time.Millisecond)
}

// TickIfDue ticks the epoch when it has lasted for the interval.
func (c *Coordinator) TickIfDue(ctx context.Context) error {
	l, err := c.layout(ctx)
	if err != nil || len(l.GetCluster().GetId()) == 0 {
		return err
	}
	if c.epochAge.of(l.Cluster.Epoch, c.cfg.Clock.Elapsed()) < c.cfg.EpochInterval {
		return nil
	}
	return c.TickOnce(ctx)
}

// TickOnce ticks the epoch now.
func (c *Coordinator) TickOnce(ctx context.Context) error {
	row, err := txn.TickEpoch(ctx, c, c.cfg.HorizonLag)
	if err == nil {
		c.epochAge.of(row.GetEpoch(), c.cfg.Clock.Elapsed())
		c.cfg.Log.Info("epoch", zap.Uint64("epoch", row.GetEpoch()), zap.Uint64("horizon", row.GetHorizon()))
	}
	return err
}

// CollectOnce goes through the deletion queue once. What is due was queued by an entry that this coordinator applied a delay ago by its
// own clock: what the wall clocks say, which leaders stamp entries with, does not matter.
func (c *Coordinator) CollectOnce(ctx context.Context) (txn.Collected, error) {
	v := c.volumes()
	if v == nil {
		return txn.Collected{}, nil
	}
	now := c.cfg.Clock.Elapsed()
	c.ages.note(c.node.Applied(), now)
	upTo := c.ages.old(now)
	if c.cfg.QueueDelay == 0 {
		upTo = math.MaxUint64
	}
	c.collecting.Lock()
	defer c.collecting.Unlock()
	return txn.Collect(ctx, c, v, upTo, &c.collected)
}

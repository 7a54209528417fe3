package txn

import (
	"context"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
)

// Clock is time as loops see it.
type Clock interface {
	// Now is the wall clock's, which somebody may set.
	Now() time.Time
	// Elapsed is the time since some moment, by a clock that is never set. Whatever is done when time has passed goes by it.
	Elapsed() time.Duration
	// After is time.After.
	After(d time.Duration) <-chan time.Time
}

// RealClock is the machine's.
type RealClock struct{}

// Now is time.Now.
func (RealClock) Now() time.Time { return time.Now() }

// Elapsed is the time since the process started.
func (RealClock) Elapsed() time.Duration { return time.Since(started) }

var started = time.Now()

// After is time.After.
func (RealClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Duty is something to be done again and again.
type Duty struct {
	Name string
	// Next is how long to wait from now until the next step; asked before each.
	Next func(now time.Time) time.Duration
	Step func(ctx context.Context, now time.Time) error
}

// Run does the duty until ctx ends.
func (d Duty) Run(ctx context.Context, clock Clock, log *zap.Logger) {
	for {
		select {
		case <-clock.After(d.Next(clock.Now())):
		case <-ctx.Done():
			return
		}
		err := d.Step(ctx, clock.Now())
		switch {
		case err == nil || ctx.Err() != nil:
		case errs.Is(err, errs.NotLeader), errs.Is(err, errs.Unavailable), errs.Is(err, errs.NotProposed):
			log.Debug("a duty of the leader waits", zap.String("duty", d.Name), zap.Error(err))
		default:
			log.Warn("a duty of the leader failed", zap.String("duty", d.Name), zap.Error(err))
		}
	}
}

// Every waits the same time before each step.
func Every(d time.Duration) func(time.Time) time.Duration {
	return func(time.Time) time.Duration { return d }
}

// Package pace holds what is copied and read in the background to a rate of bytes per second.
package pace

import (
	"context"
	"sync"
	"time"
)

// waitMax is how long Wait sleeps at once, so that another rate is soon heeded.
const waitMax = time.Second

// Clock is where time comes from.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Pace lets bytes through at a rate, over all who share it. Its methods may be called concurrently.
type Pace struct {
	clock Clock

	mu   sync.Mutex
	rate int64     // bytes per second; 0 or less: no limit
	free time.Time // when what was let through so far has had its time
}

// New is a pace of so many bytes per second; 0 or less: no limit.
func New(clock Clock, rate int64) *Pace { return &Pace{clock: clock, rate: rate} }

// Set changes the rate for what is let through from now on. With a higher one, what was let through takes no longer than it would have at
// that one: after a very low rate, all would wait for what passed by it.
func (p *Pace) Set(rate int64) {
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch left := p.free.Sub(now); {
	case left <= 0 || p.rate <= 0:
	case rate <= 0:
		p.free = now
	case rate > p.rate:
		p.free = now.Add(time.Duration(float64(left) * float64(p.rate) / float64(rate)))
	}
	p.rate = rate
}

// take says how long to wait before n bytes may go; 0: they may now, and are counted.
func (p *Pace) take(n int64) time.Duration {
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate <= 0 {
		return 0
	}
	if wait := p.free.Sub(now); wait > 0 {
		return wait
	}
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return 0
}

// Wait waits until n bytes may go. stop, if not nil, is asked before and now and then; its error ends the waiting, as the end of ctx does.
func (p *Pace) Wait(ctx context.Context, n int64, stop func() error) error {
	for {
		if stop != nil {
			if err := stop(); err != nil {
				return err
			}
		}
		wait := p.take(n)
		if wait == 0 {
			return ctx.Err()
		}
		select {
		case <-p.clock.After(min(wait, waitMax)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

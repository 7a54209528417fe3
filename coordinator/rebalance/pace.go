package rebalance

import (
	"context"
	"sync"
	"time"
)

// pace holds copies to a rate that may change.
type pace struct {
	mu   sync.Mutex
	rate uint64    // bytes per second
	free time.Time // when what was let through so far has had its time
}

func (p *pace) set(rate uint64) {
	p.mu.Lock()
	p.rate = rate
	p.mu.Unlock()
}

// next says how long to wait before n bytes may be copied; 0: they may now, and are counted.
func (p *pace) next(now time.Time, n int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wait := p.free.Sub(now); wait > 0 {
		return wait
	}
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(max(p.rate, 1)) * float64(time.Second)))
	return 0
}

// await waits until n bytes may be copied; errPaused when moves are paused.
func (m *Mover) await(ctx context.Context, n int64) error {
	for {
		m.mu.Lock()
		paused := m.paused
		m.mu.Unlock()
		if paused {
			return errPaused
		}
		wait := m.pace.next(m.cfg.Clock.Now(), n)
		if wait == 0 {
			return ctx.Err()
		}
		select {
		case <-m.cfg.Clock.After(min(wait, stepEvery)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

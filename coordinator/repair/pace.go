package repair

import (
	"context"
	"sync"
	"time"
)

// pace holds bytes to a rate, over all who share it.
type pace struct {
	rate  int64 // bytes per second; 0 or less: no limit
	clock Clock

	mu   sync.Mutex
	next time.Time // when the next bytes may go
}

// wait waits until n bytes may go.
func (p *pace) wait(ctx context.Context, n int64) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := p.clock.Now()
	if p.next.Before(now) {
		p.next = now
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-p.clock.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package store

import (
	"context"
	"time"
)

// pace holds work to a rate.
type pace struct {
	rate  int64 // bytes per second; negative: no limit
	begin time.Time
	done  int64 // bytes since begin
}

// wait waits until as much may have been done.
func (p *pace) wait(ctx context.Context) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	d := time.Duration(float64(p.done)/float64(p.rate)*float64(time.Second)) - time.Since(p.begin)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

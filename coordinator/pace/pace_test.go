package pace

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type bubble struct{}

func (bubble) Now() time.Time                         { return time.Now() }
func (bubble) After(d time.Duration) <-chan time.Time { return time.After(d) }

// TestPace: all who share it get the rate together; another rate is heeded by those who wait.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := New(bubble{}, 100), time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for range 5 {
					if err := p.Wait(t.Context(), 100, nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 14*time.Second { // the last need not have had its time
			t.Errorf("15 seconds' worth took %v", took)
		}
		if err := p.Wait(t.Context(), 1_000_000, nil); err != nil {
			t.Error(err)
		}
		began = time.Now()
		if err := p.Wait(t.Context(), 1, func() error { p.Set(0); return nil }); err != nil || time.Since(began) != 0 {
			t.Errorf("without a limit: %v after %v", err, time.Since(began))
		}
	})
}

// TestPaceEnds with the context, and when it is told to stop.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(bubble{}, 1)
		if err := p.Wait(t.Context(), 1000, nil); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Wait(ctx, 1, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		stopped, asked := errors.New("stopped"), 0
		err := p.Wait(t.Context(), 1, func() error {
			if asked++; asked > 3 {
				return stopped
			}
			return nil
		})
		if err != stopped {
			t.Error(err)
		}
	})
}

// TestARaisedRateCountsAtOnce: what went at a low rate keeps nobody waiting for as long as that rate would have; a lowered one counts for
// what follows only.
func TestARaisedRateCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(bubble{}, 1)
		took := func(n int64) time.Duration {
			began := time.Now()
			if err := p.Wait(t.Context(), n, nil); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		took(100_000) // more than a day's worth
		p.Set(1000)
		if d := took(1000); d != 100*time.Second {
			t.Errorf("100,000 bytes at 1,000 a second: %v", d)
		}
		p.Set(1)
		if d := took(1); d != time.Second {
			t.Errorf("1,000 bytes that went at 1,000 a second: %v", d)
		}
		p.Set(0)
		p.Set(1)
		if d := took(1); d != 0 {
			t.Errorf("after there was no limit: %v", d)
		}
	})
}

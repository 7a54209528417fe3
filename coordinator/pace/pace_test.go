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

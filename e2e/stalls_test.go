package e2e

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	stallsLook  = 20 * time.Millisecond
	stallsLate  = 60 * time.Millisecond  // between two looks: the machine stood still, or its disk, or had no time for us
	stallsLeast = 250 * time.Millisecond // in all, to say anything
	stallsKept  = 10_000
)

// stalls knows when the machine did not run, or its disk took very long: then times say nothing of minikv. All times of cluster tests are
// those of a machine that others use, too.
type stalls struct {
	mu   sync.Mutex // guards what follows
	last time.Time
	all  []stall // the newest, at most stallsKept
}

type stall struct{ from, to time.Time }

// watchStalls looks until the test ends: who wanted to look soon, and to write a byte, and did not get to it for long, tells how long.
func watchStalls(t *testing.T) *stalls {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stalls"))
	require.NoError(t, err)
	s := &stalls{last: time.Now()}
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(stallsLook)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			if _, err := f.WriteAt([]byte{1}, 0); err == nil {
				_ = f.Sync()
			}
			s.look(time.Now())
		}
	}()
	t.Cleanup(func() {
		close(end)
		<-done
		_ = f.Close()
	})
	return s
}

func (s *stalls) look(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last) > stallsLate {
		if len(s.all) == stallsKept {
			s.all = append(s.all[:0], s.all[stallsKept/2:]...)
		}
		s.all = append(s.all, stall{s.last, now})
	}
	s.last = now
}

// since is how long the machine stood still, in all, after a moment; 0: not long enough to matter.
func (s *stalls) since(began time.Time) (stood time.Duration) {
	s.look(time.Now()) // perhaps it has just gone on, and who looks has not yet
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if x.to.After(began) {
			stood += min(x.to.Sub(x.from), x.to.Sub(began))
		}
	}
	if stood < stallsLeast {
		return 0
	}
	return stood
}

func TestStallsAreSeen(t *testing.T) {
	began := time.Now()
	s := &stalls{last: began}
	s.look(began.Add(stallsLook))
	s.look(began.Add(2 * time.Second))
	s.look(began.Add(2*time.Second + stallsLook))
	require.Equal(t, 2*time.Second-stallsLook, s.all[0].to.Sub(s.all[0].from))
	require.Len(t, s.all, 1)
	s.last = began.Add(time.Hour) // no look from here on is late
	require.Equal(t, time.Second, s.since(began.Add(time.Second)))
	require.Zero(t, s.since(began.Add(3*time.Second)))
	require.Zero(t, s.since(began.Add(2*time.Second-stallsLeast/2)), "not long enough")
}

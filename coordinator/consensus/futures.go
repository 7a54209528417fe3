package consensus

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// futures owns the goroutines that wait for Raft. Raft answers all that it was asked while it runs, if its disk does; of what it holds when
// it shuts down it may never speak again. So Close waits for them before, as long as its grace lasts.
type futures struct {
	mu      sync.Mutex // guards what follows
	n       int
	none    chan struct{} // closed when n is 0 and the node closes
	closing bool
}

// wait asks Raft and gives the answer when it comes. Once the node closes nothing is asked: raft.ErrRaftShutdown.
func (f *futures) wait(ask func() raft.Future) <-chan error {
	done := make(chan error, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		done <- errs.WrapKind("consensus.wait", errs.Unavailable, raft.ErrRaftShutdown)
		return done
	}
	f.n++
	go func() {
		done <- ask().Error()
		f.ended()
	}()
	return done
}

func (f *futures) ended() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.closing {
		close(f.none)
	}
}

// close lets no more begin and waits for those that wait, at most for the grace.
func (f *futures) close(grace time.Duration) {
	f.mu.Lock()
	f.closing, f.none = true, make(chan struct{})
	if f.n == 0 {
		close(f.none)
	}
	f.mu.Unlock()
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-f.none:
	case <-late.C:
	}
}

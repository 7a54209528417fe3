package coordinator

import (
	"context"
	"sync"
	"time"
)

// ages knows which entries were applied here long enough ago, by a clock that is never set. Every coordinator keeps it, leading or not,
// so that a new leader knows; one that has just started knows of none yet, and what waits for its age waits a little longer.
type ages struct {
	delay time.Duration

	mu   sync.Mutex // guards seen
	seen []seenIndex
}

// seenIndex was applied at a time of the clock, or before.
type seenIndex struct {
	index uint64
	at    time.Duration
}

// agesSteps is how many looks there are in a delay.
const agesSteps = 8

func (a *ages) every() time.Duration { return max(a.delay/agesSteps, 50*time.Millisecond) }

// note says that all up to index is applied now.
func (a *ages) note(index uint64, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.seen); n > 0 && now-a.seen[n-1].at < a.every() {
		return
	}
	old := 0 // of those that are old enough only the newest counts
	for old+1 < len(a.seen) && now-a.seen[old+1].at >= a.delay {
		old++
	}
	a.seen = append(a.seen[old:], seenIndex{index, now})
}

// old is the newest entry known to have been applied for the delay; 0: none is.
func (a *ages) old(now time.Duration) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	index := uint64(0)
	for _, s := range a.seen {
		if now-s.at >= a.delay {
			index = max(index, s.index)
		}
	}
	return index
}

// watchAges notes what is applied until ctx ends.
func (c *Coordinator) watchAges(ctx context.Context) {
	for {
		c.ages.note(c.node.Applied(), c.cfg.Clock.Elapsed())
		select {
		case <-c.cfg.Clock.After(c.ages.every()):
		case <-ctx.Done():
			return
		}
	}
}

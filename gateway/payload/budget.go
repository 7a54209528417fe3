package payload

import (
	"context"
	"sync"
	"time"

	"minikv/internal/errs"
)

// Budget is a bounded number of bytes, given out first come, first served. See the package comment for the reserve.
type Budget struct {
	wait time.Duration

	mu      sync.Mutex
	free    int64 // of the common part
	reserve int64 // free of the reserve
	limit   int64 // of both parts together
	// reserveAll is the size of the reserve.
	reserveAll int64
	owner      *blob // the one filler that may use the reserve
	queue      []*waiter
}

type waiter struct {
	n        int64
	who      *blob
	ready    chan struct{}
	granted  bool
	reserved bool
}

// NewBudget makes a budget of limit bytes, of which reserve (at most half) are kept for one filler at a time.
func NewBudget(limit, reserve int64, wait time.Duration) *Budget {
	reserve = min(reserve, limit/2)
	return &Budget{wait: wait, free: limit - reserve, reserve: reserve, reserveAll: reserve, limit: limit}
}

// Used is how many bytes are out; more than the limit only by force.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit - b.free - b.reserve
}

// acquire takes n bytes for a blob that is being filled (nil: a reader). It waits at most the budget's wait, then errs.SlowDown.
// reserved says that they came from the reserve and go back there.
func (b *Budget) acquire(ctx context.Context, who *blob, n int64) (reserved bool, err error) {
	b.mu.Lock()
	if len(b.queue) == 0 || b.mine(who, n) {
		if granted, reserved := b.grant(who, n); granted {
			b.mu.Unlock()
			return reserved, nil
		}
	}
	w := &waiter{n: n, who: who, ready: make(chan struct{})}
	b.queue = append(b.queue, w)
	b.mu.Unlock()

	if err = b.await(ctx, w); err == nil || b.leave(w) {
		return w.reserved, nil
	}
	return false, err
}

// await waits for a grant. A write that waits a while drops the replicas whose lag holds memory.
func (b *Budget) await(ctx context.Context, w *waiter) error {
	const op = "payload.Budget"
	end := time.NewTimer(b.wait)
	defer end.Stop()
	relief := time.NewTimer(stragglerWait)
	defer relief.Stop()
	for {
		select {
		case <-w.ready:
			return nil
		case <-ctx.Done():
			return errs.Wrap(op, ctx.Err())
		case <-end.C:
			return errs.E(op, errs.SlowDown, "no memory for the body within %v", b.wait)
		case <-relief.C:
			if w.who != nil && w.who.w != nil {
				w.who.w.relieve()
			}
		}
	}
}

// mine says that the reserve's owner asks for what the reserve has: it never queues.
func (b *Budget) mine(who *blob, n int64) bool {
	return who != nil && b.owner == who && b.reserve >= n
}

// grant takes n bytes if there are any for who. The caller holds mu.
func (b *Budget) grant(who *blob, n int64) (granted, reserved bool) {
	switch {
	case b.mine(who, n):
	case b.free >= n:
		b.free -= n
		return true, false
	case who != nil && b.owner == nil && b.reserve == b.reserveAll && b.reserve >= n:
		b.owner = who // only of the whole reserve: then it never waits again
	default:
		return false, false
	}
	b.reserve -= n
	return true, true
}

// leave takes a waiter out of the queue; true if it had been granted in the same moment.
func (b *Budget) leave(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.granted {
		return true
	}
	for i, q := range b.queue {
		if q == w {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			break
		}
	}
	b.pump()
	return false
}

// try takes n bytes if they are free and nobody waits.
func (b *Budget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 || b.free < n {
		return false
	}
	b.free -= n
	return true
}

// force takes n bytes even if they are not there: for the rare second buffer of a read whose replica hangs.
func (b *Budget) force(n int64) {
	b.mu.Lock()
	b.free -= n
	b.mu.Unlock()
}

// release gives n bytes back.
func (b *Budget) release(n int64, reserved bool) {
	b.mu.Lock()
	if reserved {
		b.reserve += n
	} else {
		b.free += n
	}
	b.pump()
	b.mu.Unlock()
}

// disown ends a blob's claim to the reserve: it takes no more. What it holds comes back by release.
func (b *Budget) disown(who *blob) {
	b.mu.Lock()
	if b.owner == who {
		b.owner = nil
		b.pump()
	}
	b.mu.Unlock()
}

// pump serves the queue from its head. The caller holds mu.
func (b *Budget) pump() {
	for len(b.queue) > 0 {
		w := b.queue[0]
		granted, reserved := b.grant(w.who, w.n)
		if !granted {
			return
		}
		w.granted, w.reserved = true, reserved
		close(w.ready)
		b.queue[0] = nil
		b.queue = b.queue[1:]
	}
}

// pressure is how much is out, in quarters: 0 to 4.
func (b *Budget) pressure() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit == 0 {
		return 4
	}
	return int(max(0, min(4, 4*(b.limit-b.free-b.reserve)/b.limit)))
}

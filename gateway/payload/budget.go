package payload

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"minikv/internal/errs"
)

// The last quarter of the common part (of the memory for answers, which begin small when it is short: the last eighth) is for accounts that
// hold no more than an equal part each, of which one is kept for the next account to come; an equal part is a sixteenth at least.
const (
	lastPart     = 4
	lastPartRead = 8
	equalPart    = 16
)

// Budget is a bounded number of bytes, given out in turn to the accounts that wait, and first come, first served within one. See
// the package comment for the reserve.
type Budget struct {
	wait   time.Duration
	stalls atomic.Uint64 // fillers that were ended

	mu      sync.Mutex
	free    int64 // of the common part
	reserve int64 // free of the reserve
	limit   int64 // of both parts together
	last    int64 // one part of so many is for accounts that hold no more than an equal part
	// reserveAll is the size of the reserve.
	reserveAll int64
	owner      *holder           // the one filler that may use the reserve
	shares     map[string]*share // by account; as many as there are accounts
	active     int               // of them hold or wait
	turn       []*share          // those with waiters; the first is served next
	filling    list              // fillers that hold memory
	swept      time.Time
}

// share is what one account holds and waits for.
type share struct {
	bounded bool      // the share of nobody in particular is not: readers have it
	active  bool      // counted
	held    int64     // of the common part
	waiting []*waiter // in the order they came
}

type waiter struct {
	n       int64
	who     *holder
	share   *share
	ready   chan struct{}
	granted bool
	got     grant
}

// grant is memory that was given, to be released once.
type grant struct {
	b        *Budget
	share    *share
	n        int64
	reserved bool    // from the reserve
	who      *holder // that has it; nil: nobody in particular
}

// NewBudget makes a budget of limit bytes, of which reserve (at most half) are kept for one filler at a time.
func NewBudget(limit, reserve int64, wait time.Duration) *Budget {
	reserve = min(reserve, limit/2)
	b := &Budget{wait: wait, free: limit - reserve, reserve: reserve, reserveAll: reserve, limit: limit, last: lastPart, shares: map[string]*share{}}
	b.shares[""] = &share{}
	return b
}

// Used is how many bytes are out; more than the limit only by force.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit - b.free - b.reserve
}

// acquire takes n bytes for who (nil: for nobody in particular). It waits at most the budget's wait, then errs.SlowDown.
func (b *Budget) acquire(ctx context.Context, who *holder, n int64) (grant, error) {
	b.mu.Lock()
	sh := b.shareOf(who)
	if b.mine(who, n) || len(sh.waiting) == 0 && !b.contended() {
		if g, ok := b.grant(who, sh, n); ok {
			b.mu.Unlock()
			return g, nil
		}
	}
	w := &waiter{n: n, who: who, share: sh, ready: make(chan struct{})}
	if len(sh.waiting) == 0 {
		b.turn = append(b.turn, sh)
	}
	sh.waiting = append(sh.waiting, w)
	b.count(sh)
	if who != nil {
		who.waits = true
	}
	b.mu.Unlock()

	if err := b.await(ctx, w); err != nil && !b.leave(w) {
		return grant{}, err
	}
	return w.got, nil
}

// await waits for a grant. A write that waits a while drops the replicas whose lag holds memory, and whoever waits looks now and
// then for uploads that hold memory and stand still.
func (b *Budget) await(ctx context.Context, w *waiter) error {
	const op = "payload.Budget"
	end := time.NewTimer(b.wait)
	defer end.Stop()
	relief := time.NewTimer(stragglerWait)
	defer relief.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-w.ready:
			return nil
		case <-ctx.Done():
			return errs.Wrap(op, ctx.Err())
		case <-end.C:
			return errs.E(op, errs.SlowDown, "no memory for the body within %v", b.wait)
		case now := <-sweep.C:
			b.sweep(now)
		case <-relief.C:
			if w.who != nil && w.who.w != nil {
				w.who.w.relieve()
			}
		}
	}
}

// shareOf finds the share of an account. The caller holds mu.
func (b *Budget) shareOf(who *holder) *share {
	account := ""
	if who != nil {
		account = who.account
	}
	sh := b.shares[account]
	if sh == nil {
		sh = &share{bounded: true}
		b.shares[account] = sh
	}
	return sh
}

// contended says that somebody waits for memory that all may have, not only for what its own account holds. The caller holds mu.
func (b *Budget) contended() bool {
	for _, sh := range b.turn {
		if b.within(sh, sh.waiting[0].n) {
			return true
		}
	}
	return false
}

// within says that n more bytes are within an account's share. The caller holds mu.
func (b *Budget) within(sh *share, n int64) bool {
	if !sh.bounded {
		return true
	}
	common, parts := b.limit-b.reserveAll, b.active+1
	if !sh.active {
		parts++
	}
	equal := common / int64(min(parts, equalPart))
	return sh.held == 0 || sh.held+n <= equal || b.free-n >= common/b.last
}

// count keeps active. The caller holds mu.
func (b *Budget) count(sh *share) {
	if now := sh.bounded && (sh.held > 0 || len(sh.waiting) > 0); now != sh.active {
		sh.active = now
		if now {
			b.active++
		} else {
			b.active--
		}
	}
}

// mine says that the reserve's owner asks for what the reserve has: it never queues.
func (b *Budget) mine(who *holder, n int64) bool {
	return who != nil && b.owner == who && b.reserve >= n
}

// grant takes n bytes if there are any for who. The caller holds mu.
func (b *Budget) grant(who *holder, sh *share, n int64) (grant, bool) {
	g := grant{b: b, share: sh, n: n, who: who}
	switch {
	case b.mine(who, n):
		g.reserved = true
	case b.free >= n && b.within(sh, n):
		b.free -= n
		sh.held += n
		b.count(sh)
	case who != nil && b.owner == nil && b.reserve == b.reserveAll && b.reserve >= n:
		b.owner = who // only of the whole reserve: then it never waits again
		g.reserved = true
	default:
		return g, false
	}
	if g.reserved {
		b.reserve -= n
	}
	if who != nil {
		who.held += n
		who.waits = false
		b.filling.add(who)
	}
	return g, true
}

// leave takes a waiter out of the queue; true if it had been granted in the same moment.
func (b *Budget) leave(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.granted {
		return true
	}
	if w.who != nil {
		w.who.waits = false
	}
	for i, q := range w.share.waiting {
		if q == w {
			w.share.waiting = append(w.share.waiting[:i], w.share.waiting[i+1:]...)
			break
		}
	}
	b.count(w.share)
	if len(w.share.waiting) == 0 {
		for i, sh := range b.turn {
			if sh == w.share {
				b.turn = append(b.turn[:i], b.turn[i+1:]...)
				break
			}
		}
	}
	b.pump()
	return false
}

// try takes n bytes if they are free and nobody waits.
func (b *Budget) try(who *holder, n int64) (grant, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sh := b.shareOf(who)
	if len(b.turn) > 0 || b.free < n || !b.within(sh, n) {
		return grant{}, false
	}
	return b.grant(who, sh, n)
}

// force takes n bytes even if they are not there: for the rare second buffer of a read whose replica hangs.
func (b *Budget) force(n int64) grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	sh := b.shares[""]
	b.free -= n
	sh.held += n
	return grant{b: b, share: sh, n: n}
}

// release gives the bytes back.
func (g grant) release() {
	b := g.b
	b.mu.Lock()
	if g.who != nil {
		g.who.held -= g.n
	}
	if g.reserved {
		b.reserve += g.n
	} else {
		b.free += g.n
		g.share.held -= g.n
		b.count(g.share)
	}
	b.pump()
	b.mu.Unlock()
}

// part keeps n bytes of a grant and gives the rest back.
func (g grant) part(n int64) grant {
	rest := g
	rest.n = g.n - n
	rest.release()
	g.n = n
	return g
}

// filled ends the filling of a blob, or a reader: its claim to the reserve, which gives it no more, and its being watched. What it holds comes
// back by release.
func (b *Budget) filled(who *holder) {
	b.mu.Lock()
	b.filling.remove(who)
	if b.owner == who {
		b.owner = nil
		b.pump()
	}
	b.mu.Unlock()
}

// pump serves the accounts that wait, one grant each in turn, until memory is short for the next. An account that holds its share
// is passed over. The caller holds mu.
func (b *Budget) pump() {
	for i := 0; i < len(b.turn); {
		sh := b.turn[i]
		w := sh.waiting[0]
		got, ok := b.grant(w.who, sh, w.n)
		switch {
		case ok:
			w.granted, w.got = true, got
			close(w.ready)
			sh.waiting[0] = nil
			sh.waiting = sh.waiting[1:]
			b.turn = append(b.turn[:i], b.turn[i+1:]...)
			if len(sh.waiting) > 0 {
				b.turn = append(b.turn, sh)
			}
			b.count(sh)
			i = 0
		case b.within(sh, w.n):
			return
		default:
			i++
		}
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

package payload

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// While somebody waits for memory, the client of an upload or an answer that holds some has to bring or take bytes: at least stallBytes in
// stallAfter. Slow clients are legal, but not at the cost of others.
const (
	stallAfter = 5 * time.Second
	stallBytes = 64 << 10
	sweepEvery = time.Second
	sweepLate  = 3 * sweepEvery // after which nobody looked in between
)

// holder is who holds memory of a Budget until a client has brought or taken bytes: a blob that is being filled, or a reader.
type holder struct {
	w         *Write // of a blob; nil: a reader
	memory    *Budget
	account   string       // who pays; "": nobody in particular
	interrupt func()       // ends the wait for the client; nil: it is left alone
	got       atomic.Int64 // bytes that the client brought or took
	unsent    func() int64 // bytes counted in got that are on their way to the client yet; nil: none
	away      atomic.Bool  // it does not wait for its client now
	watched                // guarded by the Budget's mu
}

// watched is what a Budget knows of a holder.
type watched struct {
	prev, next *holder // in the Budget's list
	in         *list
	held       int64 // bytes of memory
	waits      bool  // for memory, so that it can't bring bytes
	seen       int64 // bytes brought or taken, when the clock began
	since      time.Time
	told       bool // to end
}

// list is holders, oldest first.
type list struct{ first, last *holder }

func (l *list) add(b *holder) {
	if b.in != nil {
		return
	}
	b.in, b.prev, b.next = l, l.last, nil
	if l.last == nil {
		l.first = b
	} else {
		l.last.next = b
	}
	l.last = b
}

func (l *list) remove(b *holder) {
	if b.in != l {
		return
	}
	if b.prev == nil {
		l.first = b.next
	} else {
		b.prev.next = b.next
	}
	if b.next == nil {
		l.last = b.prev
	} else {
		b.next.prev = b.prev
	}
	b.in, b.prev, b.next = nil, nil, nil
}

// sweep ends as many of those that stand still as hold what is waited for, those of the accounts that hold most first.
func (b *Budget) sweep(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.swept) < sweepEvery/2 {
		return // another waiter did
	}
	unwatched := now.Sub(b.swept) > sweepLate
	b.swept = now
	var wanted int64
	for _, sh := range b.turn {
		for _, w := range sh.waiting {
			wanted += w.n
		}
	}
	idle := b.stalled(now, unwatched)
	slices.SortStableFunc(idle, func(x, y *holder) int { return cmp.Compare(b.shareOf(y).held, b.shareOf(x).held) })
	for _, who := range idle {
		if wanted <= 0 {
			return
		}
		// Under mu, so that it is being filled still: later its connection may serve another request.
		who.interrupt()
		if !who.told {
			who.told = true
			b.stalls.Add(1)
		}
		wanted -= who.held
	}
}

// stalled gives those whose clients brought or took too little for too long while others waited; what passed unwatched counts for nobody: no one
// waited, or this process stood still itself. The caller holds mu.
func (b *Budget) stalled(now time.Time, unwatched bool) (idle []*holder) {
	for who := b.filling.first; who != nil; who = who.next {
		got := who.got.Load()
		if who.unsent != nil && !who.away.Load() {
			got -= who.unsent()
		}
		switch {
		case unwatched || who.since.IsZero() || who.waits || who.away.Load() || got-who.seen >= stallBytes:
			who.seen, who.since = got, now
		case now.Sub(who.since) >= stallAfter && who.interrupt != nil:
			idle = append(idle, who)
		}
	}
	return idle
}

// ended says that a holder was told to end.
func (b *Budget) ended(who *holder) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return who.told
}

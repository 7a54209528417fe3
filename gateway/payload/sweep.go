package payload

import (
	"cmp"
	"slices"
	"time"
)

// While somebody waits for memory, an upload that holds some has to bring bytes: at least stallBytes in stallAfter. Slow uploads
// are legal, but not at the cost of others.
const (
	stallAfter = 5 * time.Second
	stallBytes = 64 << 10
	sweepEvery = time.Second
)

// watched is what a Budget knows of a blob that is being filled. The Budget's mu guards it.
type watched struct {
	prev, next *blob // in the Budget's list
	in         *list
	held       int64 // bytes of memory
	waits      bool  // for memory, so that it can't bring bytes
	seen       int64 // bytes brought, when the clock began
	since      time.Time
	told       bool // to end
}

// list is the blobs that are being filled, oldest first.
type list struct{ first, last *blob }

func (l *list) add(b *blob) {
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

func (l *list) remove(b *blob) {
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

// sweep ends as many uploads that stand still as hold what is waited for, those of the accounts that hold most first.
func (b *Budget) sweep(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.swept) < sweepEvery/2 {
		return // another waiter did
	}
	b.swept = now
	var wanted int64
	for _, sh := range b.turn {
		for _, w := range sh.waiting {
			wanted += w.n
		}
	}
	idle := b.stalled(now)
	slices.SortStableFunc(idle, func(x, y *blob) int { return cmp.Compare(b.shareOf(y).held, b.shareOf(x).held) })
	for _, who := range idle {
		if wanted <= 0 {
			return
		}
		// Under mu, so that it is being filled still: later its connection may serve another request.
		who.w.interrupt()
		if !who.told {
			who.told = true
			b.stalls.Add(1)
		}
		wanted -= who.held
	}
}

// stalled gives the blobs whose clients brought too little for too long while others waited. The caller holds mu.
func (b *Budget) stalled(now time.Time) (idle []*blob) {
	for who := b.filling.first; who != nil; who = who.next {
		got := who.got.Load()
		switch {
		case who.since.IsZero() || who.waits || got-who.seen >= stallBytes:
			who.seen, who.since = got, now
		case now.Sub(who.since) >= stallAfter && who.w != nil && who.w.interrupt != nil:
			idle = append(idle, who)
		}
	}
	return idle
}

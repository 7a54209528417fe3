package store

import (
	"context"
	"runtime"
	"sync"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// log is an append-only sequence of segments of one kind, written by one goroutine, the committer: it takes all that has gathered,
// writes it at once, syncs once, and wakes everyone. There is no linger: while it syncs, the next group gathers.
type log struct {
	st     *Store
	kind   segment.Kind
	layout record.Layout
	size   int // of a group's buffer

	mu      sync.Mutex
	open    *group        // gathers
	rest    *group        // the other buffer, while it is not being written
	room    chan struct{} // closed when open is replaced
	idle    bool          // the committer waits for wake
	closing bool
	spare   *segment.File // made ahead
	making  bool          // a spare is being made
	parking *parking      // the committer is asked to rest

	wake    chan struct{}
	stopped chan struct{}

	// Of the committer.
	active    *seg
	pending   []record.End    // seals that the next segment must begin with
	unsynced  []object.BlobID // blobs in the index that are not on disk yet (Interval, Never)
	uncertain bool            // the last group is on disk but nothing says so
	lastSync  time.Time
	began     time.Time // of the active segment
}

func newLog(st *Store, kind segment.Kind, size int) *log {
	l := &log{
		st: st, kind: kind, layout: record.Layout{Align: kind.Align()}, size: size,
		room: make(chan struct{}), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	return l
}

// need says what an appended record waits for.
type need uint8

const (
	lazy    need = iota // nothing: it goes with the next group, or after a while
	written             // to be written
	synced              // to be on disk
)

// append puts a record into the gathering group and returns the group. It waits while the group is full.
func (l *log) append(ctx context.Context, h record.Header, sums []uint32, data [][]byte, n need) (*group, error) {
	size := l.layout.Size(int(h.Length))
	l.mu.Lock()
	for {
		if l.closing {
			l.mu.Unlock()
			return nil, errClosed
		}
		if l.open == nil {
			l.open = newGroup(l.size)
		}
		if l.open.used+size <= len(l.open.buf) {
			break
		}
		l.open.ripe = true
		l.wakeUp()
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		l.mu.Lock()
	}
	g := l.open
	at := g.reserve(l.layout, h, sums)
	g.sync = g.sync || n == synced
	g.ripe = g.ripe || n != lazy
	if g.ripe || g.used == size {
		l.wakeUp()
	}
	l.mu.Unlock()
	g.fill(l.layout, at, data)
	return g, nil
}

var errClosed = errs.E("store", errs.Unavailable, "the volume is closed")

// wakeUp is called with the lock held.
func (l *log) wakeUp() {
	if l.idle {
		l.idle = false
		select {
		case l.wake <- struct{}{}:
		default: // one from before is still there and does as well
		}
	}
}

// wait waits for the group; an ended context leaves the record where it is.
func (g *group) wait(ctx context.Context) error {
	select {
	case <-g.done:
		return g.err
	default:
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the committer.
func (l *log) run() {
	defer close(l.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	expired := false
	for {
		g, p, wait, closing := l.take(expired)
		expired = false
		if p != nil {
			l.hold(p)
			continue
		}
		if g != nil {
			l.commit(g)
			l.giveBack(g)
			l.wantSpare()
			runtime.Gosched() // who was woken may join the next group; without it they split into two halves that wait for each other
			continue
		}
		if closing {
			l.finish()
			return
		}
		if wait <= 0 {
			<-l.wake
			continue
		}
		timer.Reset(wait)
		select {
		case <-l.wake:
		case <-timer.C:
			expired = true
		}
	}
}

// take returns a group to commit, or who asks the committer to rest, or how long to wait for one (0: until woken). expired says that the last wait ended by itself.
func (l *log) take(expired bool) (g *group, p *parking, wait time.Duration, closing bool) {
	if expired {
		l.tick()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if expired && l.idle {
		l.idle = false
	}
	if p := l.parking; p != nil {
		l.parking = nil
		return nil, p, 0, false
	}
	if o := l.open; o != nil && o.used > 0 && (o.ripe || l.closing || expired) {
		l.open, l.rest = l.rest, nil
		close(l.room)
		l.room = make(chan struct{})
		return o, nil, 0, false
	}
	if l.closing {
		return nil, nil, 0, true
	}
	l.idle = true
	return nil, nil, l.nextTick(), false
}

// giveBack keeps the buffers of g for another group. The group itself stays with those who wait for it.
func (l *log) giveBack(g *group) {
	n := &group{buf: g.buf, entries: g.entries[:0], sums: g.sums[:0], done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = n
	} else {
		l.rest = n
	}
}

// nextTick is when the resting log has something to do: write hints, sync, certify.
func (l *log) nextTick() time.Duration {
	o := &l.st.o
	switch {
	case l.open != nil && l.open.used > 0:
		return o.LazyFlush
	case l.active == nil:
		return 0
	case o.Fsync == Interval && l.active.Pos() > l.active.Synced():
		return max(time.Nanosecond, o.FsyncInterval-time.Since(l.lastSync))
	case (l.uncertain || l.active.Pos() > l.active.Synced()) && o.Certify > 0 && o.Fsync != Never:
		return o.Certify
	}
	return 0
}

// tick does what nextTick waited for, but for writing hints, which take does.
func (l *log) tick() {
	l.mu.Lock()
	hints := l.open != nil && l.open.used > 0
	l.mu.Unlock()
	if !hints && l.active != nil && (l.uncertain || l.active.Pos() > l.active.Synced()) {
		l.certify(0)
	}
}

// finish ends the log: what it wrote is certified and nothing follows.
func (l *log) finish() {
	if l.active != nil {
		l.certify(record.Clean)
	}
}

// close stops the committer after it has written what gathered.
func (l *log) close() {
	l.mu.Lock()
	l.closing = true
	l.wakeUp()
	l.mu.Unlock()
	<-l.stopped
}

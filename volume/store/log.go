package store

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// log is an append-only sequence of segments of one kind. Whoever has the baton commits: takes all that has gathered, writes it at once,
// syncs once, and wakes everyone. That is a goroutine of the log's own, the committer, who does also what is due by the clock; or a lone
// writer for itself. (Among several, the first one to come would sync alone and split the group; measured, groups of 16 writers had 9
// records instead of 13.) There is no linger: while one group is synced, the next gathers.
type log struct {
	st     *Store
	kind   segment.Kind
	layout record.Layout
	size   int // of a batch's buffer

	mu      sync.Mutex
	taken   bool          // somebody has the baton
	open    *batch        // gathers
	crowded bool          // the last group was of several writers
	rest    *batch        // the other one, while it is not being written
	room    chan struct{} // closed when open is replaced; nil if nobody waits for that
	closing bool
	spare   *segment.File // made ahead
	making  chan struct{} // a spare is being made, until this is closed; nil: none is
	parking *parking      // the committer is asked to rest
	awaited *group        // the committer rests until all of its writers run again, or enough have come back; nil: it does not
	want    int           // records in open that are enough
	alarm   time.Time     // when the committer will look; zero: when it is woken

	hurry   atomic.Bool // the spare that is being made is needed now
	wake    chan struct{}
	stopped chan struct{}

	// Of who has the baton.
	active    *seg
	pending   []record.End    // seals that the next segment must begin with
	unsynced  []object.BlobID // blobs in the index that are not on disk yet (Interval, Never)
	news      news
	uncertain bool // the last group is on disk but nothing says so
	lastWrite time.Time
	lastSync  time.Time
	began     time.Time // of the active segment
}

func newLog(st *Store, kind segment.Kind, size int) *log {
	return &log{
		st: st, kind: kind, layout: record.Layout{Align: kind.Align()}, size: size,
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
}

// need says what an appended record waits for.
type need uint8

const (
	lazy    need = iota // nothing: it goes with the next group, or after a while
	written             // to be written
	synced              // to be on disk
)

var errClosed = errs.E("store", errs.Unavailable, "the volume is closed")

// append puts a record into the gathering batch and returns its group. It waits while the batch is full.
func (l *log) append(ctx context.Context, it item) (*group, error) {
	b, at, err := l.reserve(ctx, &it)
	if err != nil {
		return nil, err
	}
	g := b.group()
	if b.ripe || len(b.entries) == 1 {
		l.wakeUp()
	}
	l.mu.Unlock()
	b.fill(l.layout, at, &it)
	return g, nil
}

// put is append and wait; it sees to the landing of a blob. A lone writer commits itself, which saves two changes of threads; meanwhile
// it does not look at the context. What was lent to the group is not in use any more when put returns.
func (l *log) put(ctx context.Context, it item) (durable bool, err error) {
	it.lend = l.kind == segment.Large
	b, at, err := l.reserve(ctx, &it)
	if err != nil {
		if it.h.Type == record.Blob {
			l.st.flights.land(it.h.ID)
		}
		return false, err
	}
	if !l.taken && !l.crowded && l.parking == nil {
		l.taken = true
		l.mu.Unlock()
		b.fill(l.layout, at, &it)
		return l.lead()
	}
	g := b.group()
	b.writers++
	g.asleep.Add(1)
	defer l.awake(g)
	if !l.gathered() {
		l.wakeUp()
	}
	l.mu.Unlock()
	b.fill(l.layout, at, &it)
	err = g.wait(ctx)
	if err != nil && it.lend && !l.takeBack(b, g, at) {
		err = g.wait(context.Background())
	}
	if err != nil {
		return false, err
	}
	return g.durable, nil
}

// awake notes that a writer of the group runs again. The last one wakes a committer that rests until then.
func (l *log) awake(g *group) {
	if g.asleep.Add(-1) > 0 {
		return
	}
	l.mu.Lock()
	if l.awaited == g {
		wake(l.wake)
	}
	l.mu.Unlock()
}

// gathered wakes a committer that rests when as many have come as it waits for, or no more can; false if it does not rest. It is called
// with the lock.
func (l *log) gathered() bool {
	if l.awaited == nil {
		return false
	}
	if len(l.open.entries) >= l.want || l.room != nil {
		wake(l.wake)
	}
	return true
}

// takeBack copies what was lent, so that its owner may go; false if it is too late for that: the batch is being written.
func (l *log) takeBack(b *batch, g *group, at int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != b || b.waiters != g {
		return false
	}
	b.keep(l.layout, at)
	return true
}

// reserve finds a place for a record and returns with the lock held, unless it fails.
func (l *log) reserve(ctx context.Context, it *item) (b *batch, at int, err error) {
	size := l.layout.Size(int(it.h.Length))
	l.mu.Lock()
	for {
		if l.closing {
			l.mu.Unlock()
			return nil, 0, errClosed
		}
		if l.open == nil {
			l.open = newBatch(l.size, l.st.o.lendMin)
		}
		if l.open.used+size <= len(l.open.buf) {
			break
		}
		if err := l.waitRoom(ctx); err != nil {
			return nil, 0, err
		}
	}
	b = l.open
	if b.used == 0 && it.need == lazy {
		b.began = time.Now()
	}
	at = b.reserve(l.layout, it)
	b.sync = b.sync || it.need == synced
	b.ripe = b.ripe || it.need != lazy
	return b, at, nil
}

// waitRoom waits until the full batch is taken. It is called, and returns unless it fails, with the lock held.
func (l *log) waitRoom(ctx context.Context) error {
	l.open.ripe = true
	if l.room == nil {
		l.room = make(chan struct{})
	}
	room := l.room
	if !l.gathered() {
		l.wakeUp()
	}
	l.mu.Unlock()
	select {
	case <-room:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	return nil
}

// wakeUp lets the committer look for work, unless someone has the baton: who gives it back sees to that. It is called with the lock.
func (l *log) wakeUp() {
	if !l.taken {
		wake(l.wake)
	}
}

// lead commits the gathering batch for a writer that took the baton, and gives it back.
func (l *log) lead() (durable bool, err error) {
	l.mu.Lock()
	b := l.takeOpen()
	l.mu.Unlock()
	durable, err = l.commit(b)
	l.wantSpare()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.giveBack(b)
	l.taken = false
	if o := l.open; l.parking != nil || l.closing || (o != nil && o.ripe) {
		wake(l.wake)
	} else if due := l.due(); !due.IsZero() && (l.alarm.IsZero() || due.Before(l.alarm)) {
		wake(l.wake)
	}
	return durable, err
}

// takeOpen takes the gathering batch; it is called with the lock, by who has the baton.
func (l *log) takeOpen() *batch {
	b := l.open
	l.open, l.rest = l.rest, nil
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	return b
}

// giveBack keeps the buffers of a committed batch for another group. It is called with the lock.
func (l *log) giveBack(b *batch) {
	l.crowded = len(b.entries) > 1
	b.reset()
	if l.open == nil {
		l.open = b
	} else {
		l.rest = b
	}
}

// run is the committer.
func (l *log) run() {
	defer close(l.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		switch j := l.take(); {
		case j.park != nil:
			l.hold(j.park)
			l.release()
		case j.batch != nil:
			l.commit(j.batch)
			l.wantSpare()
			l.gather(j.batch)
			l.release()
		case j.tick:
			l.certify(0)
			l.release()
		case j.closing:
			l.finish()
			return
		case j.alarm.IsZero():
			<-l.wake
		default:
			timer.Reset(time.Until(j.alarm))
			select {
			case <-l.wake:
			case <-timer.C:
			}
		}
	}
}

// job is what the committer has to do. It has the baton but for the last.
type job struct {
	park    *parking
	batch   *batch
	tick    bool // sync, certify
	closing bool
	alarm   time.Time // nothing until then, or, if zero, until it is woken
}

// take finds out what is to be done.
func (l *log) take() (j job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alarm = time.Time{}
	if l.taken {
		return j
	}
	l.taken = true
	if j.park = l.parking; j.park != nil {
		l.parking = nil
		return j
	}
	o, due := l.open, l.due()
	now := !due.IsZero() && !time.Now().Before(due)
	switch {
	case o != nil && o.used > 0 && (o.ripe || l.closing || now):
		j.batch = l.takeOpen()
	case l.closing:
		j.closing = true
	case now:
		j.tick = true
	default:
		l.taken = false
		l.alarm, j.alarm = due, due
	}
	return j
}

// release gives the baton back; the committer looks for more.
func (l *log) release() {
	l.mu.Lock()
	l.taken = false
	l.mu.Unlock()
}

// gather gives a committed batch back and lets those come again who were woken with it: without it they would split into two halves that
// wait for each other. First it rests, so that all cores serve them, until each has run or as many are here again; then it looks whether
// more are on their way. It waits for nobody who does not run.
func (l *log) gather(b *batch) {
	woken, g := b.writers, b.waiters
	l.mu.Lock()
	l.giveBack(b)
	want, seen := len(l.open.entries)+woken, 0
	l.want = want
	for g != nil && g.asleep.Load() > 0 && !l.enough(want) {
		l.awaited = g
		l.mu.Unlock()
		<-l.wake
		l.mu.Lock()
	}
	l.awaited = nil
	l.mu.Unlock()
	for idle := 0; idle < gatherIdle; idle++ {
		l.mu.Lock()
		have, enough := len(l.open.entries), l.enough(want)
		l.mu.Unlock()
		if enough {
			return
		}
		if have > seen {
			seen, idle = have, 0
		}
		runtime.Gosched()
	}
}

// enough says that so many records have gathered, or that no more fit. It is called with the lock.
func (l *log) enough(want int) bool { return len(l.open.entries) >= want || l.room != nil || l.closing }

// gatherIdle is how often the committer looks in vain: where others wait to run, each look lets all of them run; where they run on another
// core and nobody waits here, all of it takes four microseconds, in which a writer that was woken last comes again.
const gatherIdle = 16

// due is when the log has something to do by the clock: write hints, sync, certify; zero: never. It is called with the lock while nobody else
// has the baton.
func (l *log) due() time.Time {
	o := &l.st.o
	switch {
	case l.open != nil && l.open.used > 0:
		return l.open.began.Add(o.LazyFlush)
	case l.active == nil:
	case o.Fsync == Interval && l.active.Pos() > l.active.Synced():
		return l.lastSync.Add(o.FsyncInterval)
	case (l.uncertain || l.active.Pos() > l.active.Synced()) && o.Certify > 0 && o.Fsync != Never:
		return l.lastWrite.Add(o.Certify)
	}
	return time.Time{}
}

// finish ends the log: what it wrote is certified, unless that was done, and nothing follows.
func (l *log) finish() {
	if l.active != nil && (l.uncertain || l.active.Synced() < l.active.Pos()) {
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

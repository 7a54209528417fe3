package store

import (
	"context"
	"sync"
	"time"

	"minikv/internal/errs"
	"minikv/volume/segment"
)

// janitor watches free space, removes dead segments and writes the index down; beside it run compaction and the scrub, which may take
// their time and hold none of its locks meanwhile.
type janitor struct {
	st     *Store
	wake   chan struct{} // of the janitor
	dead   chan struct{} // of the compactor
	bad    chan struct{} // of who builds a damaged index again
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup // background work

	mu      sync.Mutex // guards below
	stopped bool
	tasks   sync.WaitGroup // of callers: compaction, scrub

	rebuilding  sync.Mutex // held, before tidy, while the index is built again; guards below
	rebuildNext time.Time  // when that may be tried again, after a failure

	tidy     sync.Mutex // one at a time; guards below
	removals int64
	closed   bool

	space   sync.Mutex // guards the ballast
	ballast bool       // it is there
}

func (j *janitor) init(st *Store) {
	j.st, j.wake, j.dead, j.bad = st, make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	j.ctx, j.cancel = context.WithCancel(context.Background())
}

func (j *janitor) wakeUp() { wake(j.wake) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (j *janitor) start() {
	j.st.loadScrub()
	j.st.loadLost()
	j.done.Go(func() { j.st.helpSums(j.ctx) })
	if j.st.o.ScrubRate > 0 {
		j.done.Go(func() { j.st.scrubForever(j.ctx) })
	}
	if j.st.o.Tidy < 0 {
		return
	}
	if base := j.st.index.Base(); base != nil {
		generation := j.st.last.generation
		j.done.Go(func() {
			if err := j.st.fetchFilter(j.ctx, base, generation); err != nil && j.ctx.Err() == nil {
				j.st.o.Logf("the filter of the index: %v", err)
			}
		})
	}
	j.forever("tidying", j.wake, j.st.tidy)
	j.forever("building the index again", j.bad, j.st.rebuildIndex)
	if j.st.o.CompactDead > 0 {
		j.forever("compaction", j.dead, func(ctx context.Context) error {
			some, err := j.st.compactOne(ctx, j.st.o.CompactDead)
			if some {
				wake(j.dead)
			}
			return err
		})
	}
}

// forever does something in the background, now and then and when woken, until the volume is closed.
func (j *janitor) forever(name string, woken <-chan struct{}, do func(context.Context) error) {
	j.done.Go(func() {
		t := time.NewTicker(j.st.o.Tidy)
		defer t.Stop()
		said := ""
		for {
			select {
			case <-j.ctx.Done():
				return
			case <-t.C:
			case <-woken:
			}
			err := do(j.ctx)
			if j.ctx.Err() != nil {
				return
			}
			if err == nil {
				said = ""
			} else if now := err.Error(); now != said { // once, not every second
				said = now
				j.st.o.Logf("%s: %v", name, err)
			}
		}
	})
}

// task lets a caller do something that takes long: its context ends when the volume is closed, which waits for leave.
func (j *janitor) task(ctx context.Context) (inner context.Context, leave func(), err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stopped {
		return nil, nil, errClosed
	}
	j.tasks.Add(1)
	inner, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(j.ctx, func() { cancel(errClosed) })
	return inner, func() {
		stop()
		cancel(nil)
		j.tasks.Done()
	}, nil
}

func (j *janitor) stop() {
	j.mu.Lock()
	j.stopped = true
	j.mu.Unlock()
	j.cancel()
	j.done.Wait()
	j.tasks.Wait()
	j.tidy.Lock()
	defer j.tidy.Unlock()
	j.closed = true
}

// Tidy builds a damaged index again, looks at free space, makes the ballast again if there is room, removes segments without a living blob,
// compacts one that is mostly dead unless that is being done already, and writes the index down when much is newer than its file. All of it
// is done now and then in the background.
func (st *Store) Tidy(ctx context.Context) error {
	inner, leave, err := st.janitor.task(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := st.rebuildIndex(inner); err != nil {
		return err
	}
	if err := st.tidy(inner); err != nil {
		return err
	}
	if st.o.CompactDead <= 0 || !st.compaction.tryTake() {
		return nil
	}
	some, err := st.compactNext(inner, st.o.CompactDead, segment.NumberMax, nil)
	st.compaction.give()
	if err != nil {
		return err
	}
	if some {
		wake(st.janitor.dead)
	}
	return st.tidy(inner)
}

// tidy is Tidy without compaction and the index: it waits for nothing that takes long.
func (st *Store) tidy(ctx context.Context) error {
	j := &st.janitor
	j.tidy.Lock()
	defer j.tidy.Unlock()
	if j.closed {
		return errClosed
	}
	if err := j.checkSpace(); err != nil {
		return err
	}
	for _, s := range *st.segments.Load() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := st.removeIfDead(ctx, s); err != nil {
			return errs.Wrap("store.Tidy", err)
		}
	}
	if st.wantCheckpoint() {
		if err := st.checkpoint(); err != nil {
			return err
		}
	}
	return j.checkSpace()
}

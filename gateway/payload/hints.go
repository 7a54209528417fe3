package payload

import (
	"context"
	"sync"
	"time"

	"minikv/internal/object"
)

// Bounds of hints. More than hintsMax waiting are dropped: a lost hint leaves a blob prepared, which is kept and served.
const (
	hintsMax    = 1 << 16
	hintsLinger = 20 * time.Millisecond
	hintsBatch  = 4096 // ids in one call
)

// hinter tells volumes, lazily and in batches, what became of their blobs. One goroutine, ended by close.
type hinter struct {
	volume  func(uint32) (Volume, bool)
	timeout time.Duration
	wake    chan struct{}
	quit    chan struct{}
	done    chan struct{}

	mu      sync.Mutex
	waiting int
	queues  map[uint32]*hintQueue
}

// hintQueue is what one volume is to be told.
type hintQueue struct {
	commits, aborts []object.BlobID
}

func newHinter(volume func(uint32) (Volume, bool), timeout time.Duration) *hinter {
	h := &hinter{
		volume: volume, timeout: timeout, queues: map[uint32]*hintQueue{},
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go h.run()
	return h
}

// add queues a hint, or drops it.
func (h *hinter) add(volume uint32, id object.BlobID, abort bool) {
	h.mu.Lock()
	if h.waiting >= hintsMax {
		h.mu.Unlock()
		return
	}
	q := h.queues[volume]
	if q == nil {
		q = &hintQueue{}
		h.queues[volume] = q
	}
	if abort {
		q.aborts = append(q.aborts, id)
	} else {
		q.commits = append(q.commits, id)
	}
	h.waiting++
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hinter) run() {
	defer close(h.done)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-h.wake:
		case <-h.quit:
			h.flush()
			return
		}
		t.Reset(hintsLinger)
		select {
		case <-t.C:
		case <-h.quit:
		}
		h.flush()
	}
}

// flush sends all that waits, to the volumes side by side, and returns when each has answered or timed out.
func (h *hinter) flush() {
	h.mu.Lock()
	queues := h.queues
	h.queues, h.waiting = make(map[uint32]*hintQueue, len(queues)), 0
	h.mu.Unlock()
	var wg sync.WaitGroup
	for number, q := range queues {
		if v, ok := h.volume(number); ok {
			wg.Go(func() { h.send(v, q) })
		}
	}
	wg.Wait()
}

// send is best effort: errors are dropped like hints.
func (h *hinter) send(v Volume, q *hintQueue) {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	for ids := q.commits; len(ids) > 0; {
		n := min(len(ids), hintsBatch)
		_ = v.Commit(ctx, ids[:n]...)
		ids = ids[n:]
	}
	for ids := q.aborts; len(ids) > 0; {
		n := min(len(ids), hintsBatch)
		_ = v.Abort(ctx, ids[:n]...)
		ids = ids[n:]
	}
}

// close sends what waits and ends the goroutine.
func (h *hinter) close() {
	close(h.quit)
	<-h.done
}

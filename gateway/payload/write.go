package payload

import (
	"context"
	"io"
	"sync"
	"time"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
)

// WriteOptions say what is to be written.
type WriteOptions struct {
	Size    int64  // in bytes; -1: unknown
	SizeMax uint64 // more is errs.EntityTooLarge; 0: no bound
	Digests digest.Options
	// Account is who pays for the memory: each may hold its share. "": nobody in particular.
	Account string
	// Interrupt makes a read of the body that waits, or the next one, fail soon. It is called when the body has stood still for
	// stallAfter while others wait for its memory. It must not block. nil: such a body is left alone.
	Interrupt func()
}

// Write is one body on its volumes: a run. Between Store.Write and Commit or Abort its blobs are prepared, and no more.
type Write struct {
	Sums digest.Sums // of the whole body

	s         *Store
	t         table // as the write began
	base      object.RunBase
	blobBytes int
	size      uint64
	scratch   [1]byte // to read the end of the body
	account   string
	interrupt func()

	ctx    context.Context // of calls to volumes
	cancel context.CancelFunc
	slots  chan struct{}  // blobs in flight
	places sync.WaitGroup // blobs that look for a quorum

	mu          sync.Mutex
	lanes       []*lane
	attempts    []*attempt // the latest of each blob, by its place in the body
	counter     uint32     // the next to try
	epoch       uint64     // the cluster's as the write began: its first and lowest
	outstanding int        // prepares that have not returned
	idle        chan struct{}
	err         error // the first that ends the write
	end         ending
}

// ending is what became of a write.
type ending uint8

const (
	undecided ending = iota
	committed
	aborted
)

// lane is a write's way to one volume.
type lane struct {
	number  uint32
	volume  Volume
	ctx     context.Context
	cancel  context.CancelFunc
	bad     error // dropped, and why
	lag     int64 // bytes behind the quorum
	pending int
}

// Write cuts r into blobs and prepares each on a write quorum (P1). Errors of r come back wrapped. errs.Unavailable: no quorum;
// errs.StorageFull: for want of space; errs.SlowDown: no memory; errs.Invalid: not opt.Size bytes. On an error nothing needs to
// be aborted any more. Otherwise the caller calls Commit, or Abort, or neither when it does not know (P3).
func (s *Store) Write(ctx context.Context, r io.Reader, opt WriteOptions) (*Write, error) {
	const op = "payload.Write"
	t, err := tableOf(s.place.Layout())
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	w := &Write{
		s: s, t: t, base: s.bases.next(poolNumber), epoch: t.epoch(), blobBytes: int(t.pool.BlobSize),
		ctx: ctx, cancel: func() {}, account: opt.Account, interrupt: opt.Interrupt,
	}
	if t.several() {
		w.ctx, w.cancel = context.WithCancel(ctx)
		defer w.cancel() // of those still late: they are not listed, and they hold memory
	}
	h := digest.NewHasher(opt.Digests)
	defer h.Release()
	err = w.stream(ctx, &filler{r: r, h: h, size: opt.Size, sizeMax: opt.SizeMax})
	w.places.Wait()
	if err == nil {
		err = w.failure()
	}
	if err != nil {
		w.cancel()
		w.Abort()
		return nil, errs.Wrap(op, err)
	}
	w.linger(ctx)
	w.Sums = h.Sums()
	return w, nil
}

// stream fills blobs one after the other and sends each on its way. What is still to be hashed of one is hashed meanwhile.
func (w *Write) stream(ctx context.Context, f *filler) error {
	var before *blob
	for index := 0; !f.ended; index++ {
		b, err := w.fill(ctx, f)
		if err == nil && b.size > 0 {
			err = w.failure()
		}
		last := err != nil || b.size == 0
		if last {
			b.unref()
		} else {
			b.index, b.before, b.settled = index, before, make(chan struct{})
			before = b
			err = w.send(ctx, b, f.ended && index == 0)
		}
		f.h.Wait()
		b.unref()
		if last || err != nil {
			return err
		}
	}
	return nil
}

// send starts a blob: the only one of a body here, others beside the filling of the next, when there is a slot.
func (w *Write) send(ctx context.Context, b *blob, only bool) error {
	w.size += uint64(b.size)
	if only {
		w.start(ctx, b, false)
		return nil
	}
	if w.slots == nil {
		w.slots = make(chan struct{}, blobsInFlight)
	}
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		b.unref()
		return ctx.Err()
	}
	w.start(ctx, b, true)
	return nil
}

// start picks the blob's first counter, in the order of the body, and places it, here or beside the filling of the next.
func (w *Write) start(ctx context.Context, b *blob, beside bool) {
	t, err := tableOf(w.s.place.Layout()) // newer than w.t in a long upload; the cluster's epoch stays the first
	var a *attempt
	if err == nil {
		a, err = w.choose(t, b)
	}
	switch {
	case err != nil:
		w.fail(err)
		close(b.settled)
		b.unref()
	case !beside:
		w.place(ctx, a)
	default:
		w.places.Go(func() {
			w.place(ctx, a)
			<-w.slots
		})
	}
}

// failure is the error that ended the write, if one did.
func (w *Write) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Write) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
}

// linger gives the last replicas a moment after the quorum, so that a healthy cluster makes no missing rows.
func (w *Write) linger(ctx context.Context) {
	w.mu.Lock()
	worth := false
	for _, l := range w.lanes {
		worth = worth || l.pending > 0 && !w.s.suspected(l.number)
	}
	if !worth {
		w.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	w.idle = idle
	w.mu.Unlock()
	t := time.NewTimer(w.s.stragglers)
	defer t.Stop()
	select {
	case <-idle:
		return
	case <-ctx.Done():
		return
	case <-t.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		if l.pending > 0 {
			w.s.suspect(l.number)
		}
	}
}

// Size is the body's length in bytes.
func (w *Write) Size() uint64 { return w.size }

// Commit tells the volumes, lazily, that the run is referenced.
func (w *Write) Commit() { w.decide(committed) }

// Abort drops the blobs, lazily. Only if no proposal carries them, or surely none took or takes effect (P3).
func (w *Write) Abort() { w.decide(aborted) }

func (w *Write) decide(e ending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.end != undecided {
		return
	}
	w.end = e
	for _, a := range w.attempts {
		if a != nil {
			a.hintAll()
		}
	}
}

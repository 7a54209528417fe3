package payload

import (
	"context"
	"io"

	"minikv/internal/errs"
)

// Reader is a range of a body, verified before it is given (P4). Not for concurrent use. Close it.
//
// It reads by pieces of at most 1 MiB, and while one piece is given the next is on its way. When many readers share the memory the
// pieces become smaller.
type Reader struct {
	s     *Store
	ctx   context.Context
	plan  plan
	left  uint64 // bytes still to be given
	limit int    // of a piece, in bytes
	class int    // of its chunk

	head, ahead *flight // what is given now, and what is on its way
	off         int     // of head, given already
	err         error   // sticky
}

// crowded is how full the memory of reads is, in quarters, when each reader gets one small buffer only.
const crowded = 3

// flight is a piece on its way or here.
type flight struct {
	p    piece
	c    *chunk
	err  error
	done chan struct{} // nil: it is here
}

// NewReader makes a reader of the first n bytes that the slices give, and reads the first piece. ctx bounds all of its reads.
// errs.BlobMissing: no replica has the first bytes, the version may be gone. errs.Unavailable, errs.Corrupt, errs.SlowDown.
func (s *Store) NewReader(ctx context.Context, slices Slices, n uint64) (*Reader, error) {
	r := &Reader{s: s, ctx: ctx, plan: plan{next: slices, left: n}, left: n}
	if n == 0 {
		return r, nil
	}
	r.class = r.startClass()
	r.limit = chunkSizes[r.class]
	c, err := r.firstChunk()
	if err != nil {
		return nil, errs.Wrap("payload.NewReader", err)
	}
	f := r.start(c, true)
	if f.err != nil {
		f.c.release()
		return nil, errs.Wrap("payload.NewReader", f.err)
	}
	r.head = f
	return r, nil
}

// startClass is the size of the buffers: as small as the range allows, and smaller when memory is short.
func (r *Reader) startClass() int {
	class := len(chunkSizes) - 1
	switch p := r.s.reads.pressure(); {
	case p >= crowded:
		class = 1
	case p >= 2:
		class = 2
	}
	if r.left < uint64(chunkSizes[class]) {
		class = classFor(int(r.left))
	}
	return class
}

func (r *Reader) firstChunk() (*chunk, error) {
	paid, err := r.s.reads.acquire(r.ctx, nil, int64(r.limit))
	if err != nil {
		return nil, err
	}
	return newChunk(r.class, paid), nil
}

// start plans the next piece and reads it into c, here and now or beside the caller.
func (r *Reader) start(c *chunk, now bool) *flight {
	f := &flight{c: c}
	if f.p, f.err = r.plan.piece(r.ctx, r.limit); f.err != nil {
		return f
	}
	if now {
		f.c, f.err = r.s.fetch(r.ctx, f.p, f.c)
		return f
	}
	f.done = make(chan struct{})
	r.s.wg.Go(func() {
		f.c, f.err = r.s.fetch(r.ctx, f.p, f.c)
		close(f.done)
	})
	return f
}

// Len is how many bytes are still to come.
func (r *Reader) Len() uint64 { return r.left }

// prepare makes head a piece with bytes to give, and sends the next on its way if there is a second buffer. Only while left > 0.
func (r *Reader) prepare() error {
	if r.err != nil {
		return r.err
	}
	if r.head != nil && r.off == r.head.p.n {
		r.turn()
	}
	if r.ahead == nil && r.plan.left > 0 && r.s.reads.pressure() < crowded {
		if paid, ok := r.s.reads.try(nil, int64(r.limit)); ok {
			r.ahead = r.start(newChunk(r.class, paid), false)
		}
	}
	if f := r.head; f.done != nil {
		<-f.done
		f.done = nil
	}
	if r.head.err != nil {
		r.err = r.failed(r.head.err)
	}
	return r.err
}

// turn replaces the used-up head by what is ahead, using its buffer for the next piece.
func (r *Reader) turn() {
	c := r.head.c
	r.off = 0
	switch {
	case r.ahead == nil:
		r.head = r.start(c, true)
		return
	case r.plan.left > 0:
		r.head, r.ahead = r.ahead, r.start(c, false)
		return
	}
	c.release()
	r.head, r.ahead = r.ahead, nil
}

// failed names an error in the middle of a body: a missing blob is no news of the object any more, but a failure.
func (r *Reader) failed(err error) error {
	if errs.Is(err, errs.BlobMissing) {
		return errs.WrapKind("payload.Reader", errs.Unavailable, err)
	}
	return errs.Wrap("payload.Reader", err)
}

// WriteTo writes all the bytes that are still to come, in pieces of at most 1 MiB, or fails: fewer than Len bytes never come
// without an error. It implements io.WriterTo and uses no buffer besides the reader's own.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.left > 0 {
		if err := r.prepare(); err != nil {
			return total, err
		}
		n, err := w.Write(r.head.c.buf[r.off:r.head.p.n])
		if n < 0 || n > r.head.p.n-r.off {
			return total, io.ErrShortWrite
		}
		total += int64(n)
		r.given(n)
		if err == nil && r.off < r.head.p.n {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (r *Reader) given(n int) {
	r.off += n
	r.left -= uint64(n)
}

// Read implements io.Reader; io.EOF comes only after all the bytes.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if err := r.prepare(); err != nil {
		return 0, err
	}
	n := copy(p, r.head.c.buf[r.off:r.head.p.n])
	r.given(n)
	return n, nil
}

// Close gives the buffers back; one that a replica still fills is given back when it has answered. It does not fail.
func (r *Reader) Close() error {
	for _, f := range [2]*flight{r.head, r.ahead} {
		switch {
		case f == nil:
		case f.done == nil:
			f.c.release()
		default:
			r.s.wg.Go(func() {
				<-f.done
				f.c.release()
			})
		}
	}
	r.head, r.ahead = nil, nil
	if r.err == nil {
		r.err = errs.E("payload.Reader", errs.Canceled, "the reader is closed")
	}
	return nil
}

package payload

import (
	"context"
	"fmt"
	"io"

	"minikv/internal/errs"
)

// Reader is a range of a body, verified before it is given (P4). Not for concurrent use. Close it.
//
// It reads by pieces of at most 1 MiB, and while one piece is given the next is on its way; the next three, of different replicas, where there
// are several volumes, once the first piece is given. When many readers share the memory there is one ahead again, then pieces become smaller,
// and then there is only one; when there is room again, they grow.
type Reader struct {
	holder
	s    *Store
	ctx  context.Context
	plan plan
	left uint64 // bytes still to be given

	head  *flight   // what is given now
	ahead []*flight // what is on its way after it
	off   int       // of head, given already
	wide  bool      // several volumes: they can read at the same time
	err   error     // sticky
}

// crowded is how full the memory of reads is, in quarters, when each reader gets one small buffer only.
const crowded = 3

// aheadMax is how many pieces are on their way at most, from several volumes.
const aheadMax = 3

// flight is a piece on its way or here.
type flight struct {
	p    piece
	c    *chunk
	err  error
	done chan struct{} // nil: it is here
}

// ReadOptions say for whom is read.
type ReadOptions struct {
	// Account is who pays for the memory: each may hold its share. "": nobody in particular.
	Account string
	// Interrupt makes a write in WriteTo that waits, or the next one, fail soon. It is called when fewer than stallBytes were taken in
	// stallAfter while others wait for memory. It must not block. nil: such a reader is left alone.
	Interrupt func()
	// Unsent tells how many bytes wait in the system's buffer for the client to take them: a write that fits there is not taken yet, and one
	// that waits may only wait for half of megabytes to drain. It must not block. nil: nothing is known.
	Unsent func() int64
}

// NewReader makes a reader of the first n bytes that the slices give, and reads the first piece. ctx bounds all of its reads.
// errs.BlobMissing: no replica has the first bytes, the version may be gone. errs.Unavailable, errs.Corrupt, errs.SlowDown.
func (s *Store) NewReader(ctx context.Context, slices Slices, n uint64, opt ReadOptions) (*Reader, error) {
	r := &Reader{s: s, ctx: ctx, plan: plan{next: slices, left: n}, left: n}
	r.memory, r.account, r.interrupt, r.unsent = s.reads, opt.Account, opt.Interrupt, opt.Unsent
	r.away.Store(true)
	if n == 0 {
		return r, nil
	}
	r.wide = len(s.place.Layout().GetVolumes()) > 1
	class := r.wantClass()
	paid, err := r.acquireOr(ctx, s.brief, n <= chunkSmall, int64(chunkSizes[class]))
	if err != nil {
		return nil, errs.Wrap("payload.NewReader", err)
	}
	f := r.start(newChunk(class, paid), true)
	if f.err != nil {
		f.c.release()
		r.memory.filled(&r.holder)
		return nil, errs.Wrap("payload.NewReader", f.err)
	}
	r.head = f
	return r, nil
}

// wantClass is the size of the next buffer: as small as what is left allows, and smaller when memory is short.
func (r *Reader) wantClass() int {
	class := len(chunkSizes) - 1
	switch p := r.memory.pressure(); {
	case p >= crowded:
		class = 1
	case p >= 2:
		class = 2
	}
	if r.plan.left < uint64(chunkSizes[class]) {
		class = classFor(int(r.plan.left))
	}
	return class
}

// start plans the next piece and reads it into c, here and now or beside the caller.
func (r *Reader) start(c *chunk, now bool) *flight {
	f := &flight{c: c}
	if f.p, f.err = r.plan.piece(r.ctx, len(c.buf)); f.err != nil {
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
	for r.plan.left > 0 && len(r.ahead) < r.depth() {
		class := r.wantClass()
		paid, ok := r.memory.try(&r.holder, int64(chunkSizes[class]))
		if !ok {
			break
		}
		r.ahead = append(r.ahead, r.start(newChunk(class, paid), false))
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

// depth is how many pieces may be on their way beside the one that is given. A client that hangs up after the first has cost little.
func (r *Reader) depth() int {
	switch p := r.memory.pressure(); {
	case p >= crowded:
		return 0
	case p > 0 || !r.wide || r.got.Load() == 0:
		return 1
	}
	return aheadMax
}

// turn replaces the used-up head by what is ahead, using its buffer for the next piece if it still is of the right size.
func (r *Reader) turn() {
	c, want := r.head.c, r.wantClass()
	r.off = 0
	if len(r.ahead) == 0 {
		r.head = r.start(r.fit(c, want), true)
		return
	}
	r.head = r.ahead[0]
	r.ahead = append(r.ahead[:0], r.ahead[1:]...)
	if r.plan.left > 0 && int(c.class) == want && len(r.ahead) < r.depth() {
		r.ahead = append(r.ahead, r.start(c, false))
		return
	}
	c.release()
}

// fit makes the only buffer smaller, or larger if there is memory for it.
func (r *Reader) fit(c *chunk, want int) *chunk {
	switch {
	case want < int(c.class):
		return c.smaller(want)
	case want > int(c.class):
		if paid, ok := r.memory.try(&r.holder, int64(chunkSizes[want])); ok {
			c.release()
			return newChunk(want, paid)
		}
	}
	return c
}

// failed names an error in the middle of a body: a missing blob is no news of the object any more, but a failure.
func (r *Reader) failed(err error) error {
	if errs.Is(err, errs.BlobMissing) {
		return errs.WrapKind("payload.Reader", errs.Unavailable, err)
	}
	return errs.Wrap("payload.Reader", err)
}

// WriteTo writes all the bytes that are still to come, in pieces of at most 1 MiB, of 64 KiB when memory is in use, or fails: fewer than Len bytes never come
// without an error. It implements io.WriterTo and uses no buffer besides the reader's own.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.left > 0 {
		if err := r.prepare(); err != nil {
			return total, err
		}
		piece := r.head.c.buf[r.off:r.head.p.n]
		if len(piece) > stallBytes && r.memory.pressure() > 0 { // so that a client that takes little is seen to take it
			piece = piece[:stallBytes]
		}
		r.away.Store(false)
		n, err := w.Write(piece)
		r.away.Store(true)
		if n < 0 || n > len(piece) {
			return total, io.ErrShortWrite
		}
		total += int64(n)
		r.given(n)
		if err == nil && n < len(piece) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, r.interrupted(err)
		}
	}
	return total, nil
}

// interrupted names the cause of a write that failed because its client took too little.
func (r *Reader) interrupted(err error) error {
	if !r.memory.ended(&r.holder) {
		return err
	}
	return errs.WrapKind("payload.Reader", errs.Timeout, fmt.Errorf("the client took fewer than %d bytes in %v while others waited for memory: %w", stallBytes, stallAfter, err))
}

func (r *Reader) given(n int) {
	r.got.Add(int64(n))
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
	r.memory.filled(&r.holder)
	for _, f := range append(r.ahead, r.head) {
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

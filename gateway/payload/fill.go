package payload

import (
	"context"
	"io"

	"minikv/internal/digest"
	"minikv/internal/errs"
)

// readBytesMax is how much is read at once and then hashed while it is hot.
const readBytesMax = 256 << 10

// emptyReadsMax is how many reads in a row may give nothing.
const emptyReadsMax = 100

// blob is a piece of a body in memory. Its chunks live until the last of refs is gone.
type blob struct {
	holder
	index  int // place in the body
	size   int
	data   [][]byte
	chunks []*chunk

	before  *blob         // the one before it in the body; nil: none, or settled
	settled chan struct{} // closed when its counter is final, or the write has failed

	refs int // guarded by w.mu: the hashing, the placing, and each prepare that has not returned

	oneData  [1][]byte // room for small bodies
	oneChunk [1]*chunk
}

// unref gives the chunks back when nobody uses them.
func (b *blob) unref() {
	b.w.mu.Lock()
	b.refs--
	last := b.refs == 0
	b.w.mu.Unlock()
	if last {
		b.release()
	}
}

func (b *blob) release() {
	for _, c := range b.chunks {
		c.release()
	}
	b.chunks, b.data = nil, nil
}

// filler reads a body and hashes it on the way.
type filler struct {
	r     io.Reader
	h     *digest.Hasher
	size  int64 // -1: unknown
	got   uint64
	ended bool

	sizeMax uint64 // 0: none
}

// fill reads the next blob, taking memory as bytes come. An empty blob means that the body has ended. The blob is returned with
// an error too, to be unref'd, and once more when f.h has hashed it.
func (w *Write) fill(ctx context.Context, f *filler) (*blob, error) {
	b := &blob{refs: 2}
	b.w, b.memory, b.account, b.interrupt = w, w.s.writes, w.account, w.interrupt
	b.data, b.chunks = b.oneData[:0], b.oneChunk[:0]
	defer func() { b.memory.filled(&b.holder) }()
	if err := f.tooLarge(uint64(max(f.size, 0))); err != nil {
		return b, err
	}
	for b.size < w.blobBytes && !f.ended {
		rem := w.blobBytes - b.size
		if f.size >= 0 {
			rem = int(min(int64(rem), f.size-int64(f.got)))
		}
		if rem == 0 {
			return b, f.expectEnd(w.scratch[:])
		}
		class := fillClass(f.got, rem)
		paid, err := w.s.acquire(ctx, &b.holder, f.small(), int64(chunkSizes[class]))
		if err != nil {
			return b, err
		}
		c := newChunk(class, paid)
		b.chunks = append(b.chunks, c)
		n, err := f.read(ctx, b, c.buf[:min(len(c.buf), rem)])
		if n > 0 {
			b.data = append(b.data, c.buf[:n])
			b.size += n
		}
		if err == nil {
			err = f.tooLarge(f.got)
		}
		if err != nil {
			return b, err
		}
	}
	if f.size >= 0 && !f.ended && int64(f.got) == f.size {
		return b, f.expectEnd(w.scratch[:])
	}
	return b, nil
}

// hash takes what came into a chunk of so many bytes and was not hashed yet, or leaves it until more has come. Large chunks are hashed beside the
// reading: MD5 takes longer than all else that one core does for a body.
func (f *filler) hash(chunk int, came []byte, last bool) (took int) {
	switch {
	case len(came) == 0:
	case chunk < besideMin:
		f.h.Write(came)
	case last || len(came) >= pieceMin:
		f.h.Feed(came)
	default:
		return 0
	}
	return len(came)
}

// From chunks of besideMin bytes on, hashing begins when pieceMin have come.
const (
	besideMin = chunkMiddle
	pieceMin  = 2 * digest.FeedBytesMin
)

// read fills p unless the body ends, hashing what came; the last of it maybe until the hasher's Wait.
func (f *filler) read(ctx context.Context, b *blob, p []byte) (n int, err error) {
	hashed := 0
	defer func() { f.hash(len(p), p[hashed:n], true) }()
	for empty := 0; n < len(p); {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := f.r.Read(p[n:min(len(p), n+readBytesMax)])
		if m > 0 {
			n += m
			hashed += f.hash(len(p), p[hashed:n], false)
			f.got += uint64(m)
			b.got.Add(int64(m))
			empty = 0
		}
		switch {
		case err == io.EOF:
			return n, f.end()
		case err != nil:
			return n, err
		case m == 0:
			if empty++; empty == emptyReadsMax {
				return n, io.ErrNoProgress
			}
		}
	}
	return n, nil
}

// small says that the body is known to fit one small buffer.
func (f *filler) small() bool { return f.size >= 0 && f.size <= chunkSmall }

func (f *filler) tooLarge(n uint64) error {
	if f.sizeMax == 0 || n <= f.sizeMax {
		return nil
	}
	return errs.E("payload.Write", errs.EntityTooLarge, "the body has more than %d bytes", f.sizeMax)
}

func (f *filler) end() error {
	f.ended = true
	if f.size >= 0 && int64(f.got) != f.size {
		return errs.E("payload.Write", errs.Invalid, "the body ended after %d of %d bytes", f.got, f.size)
	}
	return nil
}

// expectEnd reads the end of a body that has given all its bytes: only then are trailers and signatures known to be good.
func (f *filler) expectEnd(scratch []byte) error {
	for range emptyReadsMax {
		n, err := f.r.Read(scratch)
		switch {
		case n > 0:
			return errs.E("payload.Write", errs.Invalid, "the body has more than %d bytes", f.size)
		case err == io.EOF:
			return f.end()
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

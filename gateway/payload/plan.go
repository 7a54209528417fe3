package payload

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Slices gives the slices of a body, one after the other, the first beginning at the first wanted byte. nil: there are no more.
type Slices func(ctx context.Context) (*metapb.Slice, error)

// blockBytes is the unit that volumes verify.
const blockBytes = 64 << 10

// OneSlice is the n bytes from off on of a whole run.
func OneSlice(run *metapb.Run, off, n uint64) Slices {
	s := &metapb.Slice{Run: run, Offset: off, Length: n}
	return func(context.Context) (*metapb.Slice, error) {
		was := s
		s = nil
		return was, nil
	}
}

// piece is what one positional read asks for.
type piece struct {
	id  object.BlobID
	off int64
	n   int
}

// plan cuts a body's slices into pieces. Nothing in it is larger than 64 bits: bodies reach 2^46 bytes.
type plan struct {
	next Slices
	left uint64 // bytes still to be planned

	run     *metapb.Run
	base    object.RunBase
	off     uint64 // within run
	length  uint64 // of the slice, still to be planned
	at      int    // range of the current blob
	skipped uint64 // blobs in the ranges before it
}

// piece plans the next read of at most limit bytes. Pieces do not cross blobs, and when they hold whole blocks they end at
// multiples of limit within a blob, so that no block is verified twice. Only while left > 0.
func (p *plan) piece(ctx context.Context, limit int) (piece, error) {
	for p.length == 0 {
		if err := p.slice(ctx); err != nil {
			return piece{}, err
		}
	}
	blobBytes := uint64(p.run.BlobSize)
	index, within := p.off/blobBytes, p.off%blobBytes
	counter, err := p.counter(index)
	if err != nil {
		return piece{}, err
	}
	n := min(uint64(limit), blobBytes-within, p.length, p.left)
	if limit >= blockBytes {
		n = min(n, uint64(limit)-within%uint64(limit))
	}
	p.off, p.length, p.left = p.off+n, p.length-n, p.left-n
	return piece{id: p.base.Blob(counter), off: int64(within), n: int(n)}, nil
}

// slice goes on to the next slice, checking what the arithmetic relies on.
func (p *plan) slice(ctx context.Context) error {
	const op = "payload.plan"
	s, err := p.next(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	r := s.GetRun()
	switch {
	case s == nil:
		return errs.E(op, errs.Corrupt, "the body's parts end %d bytes early", p.left)
	case r == nil || len(r.Base) != object.BlobIDLen || r.BlobSize == 0:
		return errs.E(op, errs.Corrupt, "a part of the body names no run")
	case s.Length > r.Length || s.Offset > r.Length-s.Length:
		return errs.E(op, errs.Corrupt, "a part of the body reaches past its run")
	}
	p.run, p.base, p.off, p.length = r, object.RunBase(r.Base), s.Offset, s.Length
	p.at, p.skipped = 0, 0
	return nil
}

// counter is that of the run's blob number index; indexes only rise within a slice.
func (p *plan) counter(index uint64) (uint32, error) {
	for p.at < len(p.run.Ranges) {
		r := p.run.Ranges[p.at]
		if index-p.skipped < uint64(r.Count) {
			return r.First + uint32(index-p.skipped), nil
		}
		p.skipped += uint64(r.Count)
		p.at++
	}
	return 0, errs.E("payload.plan", errs.Corrupt, "run %v has no blob %d", p.base, index)
}

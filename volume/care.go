package volume

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/store"
)

// Source is a volume that blobs are got from.
type Source interface {
	// ReadAt fills dst from the blob, verified; less than all of dst only at the blob's end.
	ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error)
}

// fetchesMax is how many blobs one Fetch copies at a time; they share the syncs of the log.
const fetchesMax = 4

// whole buffers hold the largest blob that was met.
var wholes = sync.Pool{New: func() any { return new([]byte) }}

func whole(n int64) *[]byte {
	b := wholes.Get().(*[]byte)
	if int64(cap(*b)) < n {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	return b
}

// Fetch gets the blobs from other volumes, unless what is here of them is good. A bad record here is superseded by the good bytes. The
// blobs are prepared, not committed: the collector learns that they are alive, or drops them if they no longer are.
func (s *Server) Fetch(ctx context.Context, wants []object.Want, source func(number uint32) (Source, error)) []object.Fetched {
	out := make([]object.Fetched, len(wants))
	var g errgroup.Group
	g.SetLimit(fetchesMax)
	for i := range wants {
		g.Go(func() error {
			out[i] = s.fetch(ctx, &wants[i], source)
			return nil
		})
	}
	_ = g.Wait()
	return out
}

func (s *Server) fetch(ctx context.Context, w *object.Want, source func(number uint32) (Source, error)) (f object.Fetched) {
	const op = "volume.Fetch"
	if w.Length < 1 || w.Length > int64(s.blobMax()) {
		return object.Fetched{Own: true, Err: errs.E(op, errs.Invalid, "a blob of %d bytes", w.Length)}
	}
	buf := whole(w.Length)
	defer wholes.Put(buf)
	var v object.Verdict
	var err error
	s.WhileLanded(w.ID, func() { v, err = s.verdict(ctx, w.ID, *buf) })
	switch {
	case v == object.Good:
		return object.Fetched{Outcome: object.FetchHad}
	case err != nil:
		return object.Fetched{Own: true, Err: errs.Wrap(op, err)}
	}
	f.Err = errs.E(op, errs.BlobMissing, "blob %s has no source", w.ID)
	for _, number := range w.From {
		err := s.read(ctx, w.ID, *buf, number, source)
		if err == nil {
			return s.replace(ctx, w, *buf, f)
		}
		f.Err = errs.Wrap(op, err)
		if errs.Is(err, errs.BlobMissing) || errs.Is(err, errs.Corrupt) {
			f.Lacking = append(f.Lacking, number)
		} else {
			f.Away = append(f.Away, number)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return f
}

// read fills buf with the whole blob of another volume.
func (s *Server) read(ctx context.Context, id object.BlobID, buf []byte, number uint32, source func(uint32) (Source, error)) error {
	from, err := source(number)
	if err != nil {
		return err
	}
	n, err := from.ReadAt(ctx, id, buf, 0)
	if err == nil && n != len(buf) {
		err = errs.E("", errs.Corrupt, "volume %d has %d of the %d bytes of blob %s", number, n, len(buf), id)
	}
	return err
}

// replace stores what was read.
func (s *Server) replace(ctx context.Context, w *object.Want, data []byte, f object.Fetched) object.Fetched {
	durable, err := s.Prepare(ctx, w.ID, w.Epochs, [][]byte{data})
	if err == nil && !durable && s.cfg.Store.Fsync == store.Always {
		err = errs.E("volume.Fetch", errs.Unavailable, "blob %s was not synced", w.ID)
	}
	if err != nil {
		f.Own, f.Err = true, err
		return f
	}
	f.Outcome, f.Err = object.FetchCopied, nil
	return f
}

func (s *Server) blobMax() int {
	if s.cfg.Store.BlobMax > 0 {
		return s.cfg.Store.BlobMax
	}
	return blobMaxDefault
}

const blobMaxDefault = 8 << 20 // store.Options.BlobMax

// verdict reads the whole blob into buf, which is as long as it should be. An error says that no verdict is possible.
func (s *Server) verdict(ctx context.Context, id object.BlobID, buf []byte) (object.Verdict, error) {
	length, _, err := s.Held(id)
	if err == nil && length != int64(len(buf)) {
		return object.OtherLength, nil
	}
	if err == nil {
		_, err = s.ReadAt(ctx, id, buf, 0)
	}
	switch {
	case err == nil:
		return object.Good, nil
	case errs.Is(err, errs.BlobMissing):
		return object.Missing, nil
	case errs.Is(err, errs.Corrupt):
		return object.Damaged, nil
	}
	return 0, err
}

// Check tells what this volume has of the blobs. Bad ones that a deep check finds are listed by Repairs. Errors, for the whole: an
// ended context, a closed volume, an index that cannot be read.
func (s *Server) Check(ctx context.Context, c object.Check) (object.Checked, error) {
	const op = "volume.Check"
	out := object.Checked{Verdicts: make([]object.Verdict, len(c.IDs))}
	if len(c.Lengths) != len(c.IDs) {
		return out, errs.E(op, errs.Invalid, "%d lengths of %d blobs", len(c.Lengths), len(c.IDs))
	}
	algorithm := digest.Algorithm(c.Algorithm)
	if c.Deep && algorithm.Valid() {
		out.Sums = make([][]byte, len(c.IDs))
	}
	for i, id := range c.IDs {
		var err error
		if c.Deep {
			out.Verdicts[i], err = s.checkDeep(ctx, id, c.Lengths[i], algorithm, out.Sums, i)
		} else {
			out.Verdicts[i], err = s.glance(id, int64(c.Lengths[i]))
		}
		if err == nil && i%1024 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return out, errs.Wrap(op, err)
		}
	}
	return out, nil
}

// glance is a verdict from memory.
func (s *Server) glance(id object.BlobID, want int64) (object.Verdict, error) {
	length, bad, err := s.Held(id)
	switch {
	case errs.Is(err, errs.BlobMissing):
		return object.Missing, nil
	case err != nil:
		return 0, err
	case length != want:
		return object.OtherLength, nil
	case bad:
		return object.Damaged, nil
	}
	return object.Good, nil
}

func (s *Server) checkDeep(ctx context.Context, id object.BlobID, length uint32, a digest.Algorithm, sums [][]byte, i int) (object.Verdict, error) {
	if int64(length) > int64(s.blobMax()) {
		return object.OtherLength, nil
	}
	buf := whole(int64(length))
	defer wholes.Put(buf)
	v, err := s.verdict(ctx, id, *buf)
	if v == object.Good && sums != nil {
		sum := digest.Of(a, *buf)
		sums[i] = sum.Bytes()
	}
	return v, err
}

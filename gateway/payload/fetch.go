package payload

import (
	"context"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// fetch reads a piece, verified, into c or into another chunk; c belongs to fetch, and the chunk given back to the caller, also
// with an error. Every replica is asked before it fails; if all say that they do not have it, the table may be old, so it is
// refreshed once. errs.Corrupt: every replica answered, and at least one has it damaged. errs.BlobMissing: every replica answered
// that it has no such blob. errs.Unavailable: some did not answer.
func (s *Store) fetch(ctx context.Context, p piece, c *chunk) (*chunk, error) {
	c, err := s.fetchOnce(ctx, p, c)
	if err == nil || ctx.Err() != nil {
		return c, err
	}
	if rerr := s.place.RefreshLayout(ctx); rerr != nil {
		return c, errs.WrapKind("payload.fetch", errs.Unavailable, err)
	}
	return s.fetchOnce(ctx, p, c)
}

// fetchOnce asks the replicas of the table as it is, one after the other, and side by side when one is slow.
func (s *Store) fetchOnce(ctx context.Context, p piece, c *chunk) (*chunk, error) {
	t, err := tableOf(s.place.Layout())
	if err != nil {
		return c, err
	}
	candidates := s.order(readers(make([]uint32, 0, 4), t.shard(p.id)), p)
	if len(candidates) == 1 {
		err := s.readFrom(ctx, candidates[0], p, c.buf[:p.n])
		var v verdicts
		v.add(err)
		return c, v.error(p.id, err)
	}
	return s.race(ctx, p, c, candidates)
}

// order begins at a replica that depends on the blob and on where in it the piece is, so that load spreads, a blob's pieces are read from all of
// its replicas at the same time, and each keeps its own in memory. Suspects are last.
func (s *Store) order(volumes []uint32, p piece) []uint32 {
	if len(volumes) < 2 {
		return volumes
	}
	out := make([]uint32, 0, len(volumes))
	var late []uint32
	first := int((p.id.Hash()>>32 + uint64(p.off)/chunkLarge) % uint64(len(volumes)))
	for i := range volumes {
		v := volumes[(first+i)%len(volumes)]
		if s.suspected(v) {
			late = append(late, v)
			continue
		}
		out = append(out, v)
	}
	return append(out, late...)
}

// readFrom reads exactly len(dst) bytes from one volume.
func (s *Store) readFrom(ctx context.Context, number uint32, p piece, dst []byte) error {
	v, ok := s.place.Volume(number)
	if !ok {
		return errs.E("payload.fetch", errs.Unavailable, "volume %d is not reachable", number)
	}
	vctx, cancel := context.WithTimeout(ctx, s.opt.VolumeTimeout)
	n, err := v.ReadAt(vctx, p.id, dst, p.off)
	cancel()
	if err == nil && n != len(dst) {
		err = errs.E("payload.fetch", errs.Corrupt, "volume %d gave %d of %d bytes", number, n, len(dst))
	}
	if err != nil && ctx.Err() == nil {
		s.report(number, p.id, err)
	}
	return err
}

// answer is one replica's in a race.
type answer struct {
	c   *chunk
	err error
}

// race asks the next replica as soon as one fails or is slow, each with a chunk of its own; the first good answer wins.
func (s *Store) race(ctx context.Context, p piece, c *chunk, candidates []uint32) (*chunk, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the losers
	answers := make(chan answer, len(candidates))
	running, last := 0, uint32(0)
	ask := func(c *chunk) {
		number := candidates[0]
		last, candidates = number, candidates[1:]
		running++
		s.wg.Go(func() {
			err := s.readFrom(ctx, number, p, c.buf[:p.n])
			answers <- answer{c, err}
		})
	}
	ask(c)
	slow := time.NewTimer(hedgeAfter)
	defer slow.Stop()
	var v verdicts
	for {
		select {
		case a := <-answers:
			running--
			if a.err == nil {
				s.discard(answers, running)
				return a.c, nil
			}
			v.add(a.err)
			if len(candidates) > 0 && ctx.Err() == nil {
				ask(a.c)
				slow.Reset(hedgeAfter)
			} else if running > 0 {
				a.c.release()
			} else {
				return a.c, v.error(p.id, a.err)
			}
		case <-slow.C:
			s.suspect(last)
			if len(candidates) > 0 {
				ask(s.spare(int(c.class)))
				slow.Reset(hedgeAfter)
			}
		}
	}
}

// spare is a chunk past the budget, for a read whose replica hangs.
func (s *Store) spare(class int) *chunk {
	return newChunk(class, s.reads.force(int64(chunkSizes[class])))
}

// discard releases the chunks of the losers when they answer.
func (s *Store) discard(answers <-chan answer, running int) {
	if running == 0 {
		return
	}
	s.wg.Go(func() {
		for range running {
			a := <-answers
			a.c.release()
		}
	})
}

// verdicts sums up why no replica could serve a blob.
type verdicts struct {
	corrupt, missing, unknown int
}

func (v *verdicts) add(err error) {
	switch {
	case err == nil:
	case errs.Is(err, errs.Corrupt):
		v.corrupt++
	case errs.Is(err, errs.BlobMissing):
		v.missing++
	default:
		v.unknown++
	}
}

func (v *verdicts) error(id object.BlobID, last error) error {
	const op = "payload.fetch"
	switch {
	case last == nil:
		return nil
	case v.unknown > 0:
		return errs.WrapKind(op, errs.Unavailable, last)
	case v.corrupt > 0:
		return errs.WrapKind(op, errs.Corrupt, last)
	}
	return errs.E(op, errs.BlobMissing, "no replica has blob %v", id)
}

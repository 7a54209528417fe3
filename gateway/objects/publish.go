package objects

import (
	"bytes"
	"context"

	"minikv/gateway/payload"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// staleShardTriesMax bounds how often one decision is proposed again because a shard moved.
const staleShardTriesMax = 3

// write prepares a body's blobs and lets the body be checked; an error leaves nothing behind.
func (o *Objects) write(ctx context.Context, body Body, set digest.Set) (*payload.Write, error) {
	r := body.Reader
	if r == nil {
		r = bytes.NewReader(nil)
	}
	w, err := o.store.Write(ctx, r, payload.WriteOptions{
		Size: body.Size, SizeMax: object.PartBytesMax, Digests: digest.Options{MD5: true, Checksums: set},
		Account: body.Account, Interrupt: body.Interrupt,
	})
	if err != nil {
		return nil, err
	}
	if body.Check != nil {
		if err := body.Check(digestsOf(&w.Sums, body.Want)); err != nil {
			w.Abort()
			return nil, err
		}
	}
	return w, nil
}

// publish proposes the decision that makes the writes visible (O1), again after a shard moved, and tells the volumes what became
// of their blobs, if that is certain (O2).
func (o *Objects) publish(ctx context.Context, op string, sc Scope, writes []*payload.Write,
	build func(*metapb.BucketRef, []*metapb.Written) *metapb.Command) (*metapb.Result, error) {
	for try := 0; ; try++ {
		written := make([]*metapb.Written, len(writes))
		for i, w := range writes {
			var err error
			if written[i], err = followed(ctx, w); err != nil {
				abort(writes) // all earlier proposals were refused
				return nil, errs.Wrap(op, err)
			}
		}
		res, refused, err := o.decide(ctx, op, sc, func(b *metapb.BucketRef) *metapb.Command { return build(b, written) })
		if err == nil {
			for _, w := range writes {
				w.Commit()
			}
			return res, nil
		}
		if errs.Is(err, errs.StaleShardEpoch) && try < staleShardTriesMax {
			if rerr := o.meta.RefreshLayout(ctx); rerr == nil {
				continue
			}
		}
		if errs.Is(err, errs.StaleEpoch) {
			_ = o.meta.RefreshLayout(ctx) // for the client's retry
		}
		if refused {
			abort(writes)
		}
		return res, err
	}
}

// followed is Written, once the blobs were brought to where their shards have moved, if they have.
func followed(ctx context.Context, w *payload.Write) (*metapb.Written, error) {
	written, err := w.Written()
	if !errs.Is(err, errs.Unavailable) {
		return written, err
	}
	if err := w.Follow(ctx); err != nil {
		return nil, err
	}
	return w.Written()
}

func abort(writes []*payload.Write) {
	for _, w := range writes {
		if w != nil {
			w.Abort()
		}
	}
}

package payload

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// followsMax is how many writes bring blobs to where their shards have moved at a time; each holds one blob.
const followsMax = 4

// Follow prepares blobs on the replicas that their shards have now, where those that confirmed them are no quorum any more: the shard
// moved between the prepare and the decision, and the body has left the memory. The bytes come from a replica that has them, verified.
// Afterwards Written says anew who has what. errs.Unavailable: a blob could not be read, or no quorum took it.
func (w *Write) Follow(ctx context.Context) error {
	const op = "payload.Follow"
	select {
	case w.s.follows <- struct{}{}:
		defer func() { <-w.s.follows }()
	case <-ctx.Done():
		return errs.Wrap(op, ctx.Err())
	}
	for i := range w.attempts {
		for stale := 0; ; {
			t, err := tableOf(w.s.place.Layout())
			if err == nil {
				err = w.follow(ctx, t, w.attempts[i])
			}
			if err == nil {
				break
			}
			if stale++; !errs.Is(err, errs.StaleShardEpoch) || stale > staleTriesMax {
				return errs.WrapKind(op, errs.Unavailable, err)
			}
			if err := w.s.place.RefreshLayout(ctx); err != nil {
				return errs.WrapKind(op, errs.Unavailable, err)
			}
		}
	}
	return nil
}

// follow is Follow of one blob.
func (w *Write) follow(ctx context.Context, t table, a *attempt) error {
	row := t.shard(a.id)
	has := func(v uint32) bool { return contains(a.confirmed, v) }
	w.mu.Lock()
	done := t.written(row, has)
	from := readers(append([]uint32(nil), a.confirmed...), row)
	w.mu.Unlock()
	if done {
		return nil
	}
	size := a.b.size
	grant := w.s.reads.force(int64(size))
	defer grant.release()
	buf := make([]byte, size)
	if err := w.reread(ctx, a.id, buf, from); err != nil {
		return err
	}
	worst := errs.E("", errs.Unavailable, "too few replicas of shard %d are reachable", row.Shard)
	for _, number := range writers(nil, row) {
		w.mu.Lock()
		had := has(number)
		w.mu.Unlock()
		if had {
			continue
		}
		if err := w.bring(ctx, t, a, row.Epoch, number, buf); err != nil {
			worst = err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.written(row, has) {
		return worst
	}
	return nil
}

// reread fills buf with a blob from the first volume that can give all of it.
func (w *Write) reread(ctx context.Context, id object.BlobID, buf []byte, from []uint32) error {
	var err error
	for _, number := range from {
		if err = w.s.readFrom(ctx, number, piece{id: id, n: len(buf)}, buf); err == nil {
			return nil
		}
	}
	return err
}

// bring prepares a blob on one volume and books its confirmation.
func (w *Write) bring(ctx context.Context, t table, a *attempt, epoch uint64, number uint32, data []byte) error {
	v, ok := w.s.place.Volume(number)
	if !ok {
		return errs.E("", errs.Unavailable, "volume %d is not reachable", number)
	}
	ctx, cancel := context.WithTimeout(ctx, w.s.opt.VolumeTimeout)
	durable, err := v.Prepare(ctx, a.id, object.Epochs{Cluster: a.epoch, Shard: epoch}, [][]byte{data})
	cancel()
	if err == nil && t.durable && !durable {
		err = errs.E("", errs.Unavailable, "volume %d did not sync", number)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		a.confirmed = append(a.confirmed, number)
		a.hint(number)
	case !errs.Is(err, errs.StaleShardEpoch) && !errs.Is(err, errs.StaleEpoch):
		a.doubtful = append(a.doubtful, number)
	}
	return err
}

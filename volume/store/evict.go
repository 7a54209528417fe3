package store

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/index"
)

// Evict forgets blobs that a move has brought to other volumes; it returns how many were here. Their bytes go with their segments.
// Unlike Delete it says nothing on disk: after a crash they may be here again and are evicted anew, and unlike deleted ones they
// may be prepared again when the shard moves back.
func (st *Store) Evict(ctx context.Context, ids ...object.BlobID) (int, error) {
	const op = "store.Evict"
	n := 0
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return n, errs.Wrap(op, err)
		}
		var was index.Entry
		alive := false
		_, err := st.index.Update(id, func(e *index.Entry) {
			if was, alive = *e, e.State() < index.Dropped; alive {
				e.SetState(index.Evicted)
			}
		})
		if err != nil {
			st.indexError(err)
			return n, errs.Wrap(op, err)
		}
		if alive {
			n++
			st.account((*st.segments.Load())[was.Segment], was.Length(), -1)
		}
	}
	return n, nil
}

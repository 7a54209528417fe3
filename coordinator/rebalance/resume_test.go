package rebalance

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// TestWhatAJoiningVolumeHasIsRead: a blob that it lists, of an earlier try or an earlier membership, and that has a flipped byte there, is
// copied anew before the flip (B1).
func TestWhatAJoiningVolumeHasIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3, 4)
		ids := putMany(w, 100)
		for i, id := range ids {
			w.volumes[4].blobs[id] = i%2 == 0
			w.volumes[4].bad[id] = i%4 == 0
		}
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		lead(w, 10*time.Second)
		n, _ := holding(w.layout(), 4)
		require.Equal(t, 4, n)
		require.Equal(t, 75, w.copies)
		require.Equal(t, 25, w.had)
		w.whole(ids...)
	})
}

// TestListsAreReadAsTheyAreNeeded: whatever the shard holds, at most a page of each member's list waits to be copied (B6).
func TestListsAreReadAsTheyAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 4)
		w.unread = map[uint32]int{1: 0, 2: 0, 3: 0}
		l := w.layout()
		for range 2 * listPage {
			w.prepared(l, members) // undecided: copied as well
		}
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		m := lead(w, 10*time.Second)
		require.Equal(t, []uint32{2, 3, 4}, w.layout().Shards[0].Members)
		require.Equal(t, 2*listPage, w.copies)
		require.LessOrEqual(t, w.ahead, listPage+batchBlobs)
		require.EqualValues(t, 2*listPage*testBlob, m.Progress().CopiedBytes)
	})
}

// TestAMoveGoesOn after the last batch when it failed, or was refused at the end, and not from the beginning; unless a joining volume has
// started meanwhile, or the move is another one.
func TestAMoveGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 5)
		putMany(w, 20*batchBlobs)
		batches, started := 0, time.Time{}
		w.volumes[4].fetch = func() error {
			if batches++; batches%4 == 0 {
				return errs.E("fake", errs.Unavailable, "not now")
			}
			return nil
		}
		w.refuse = func(c *metapb.Command) error {
			if c.GetFlipShard() != nil {
				return errs.E("fake", errs.NotProposed, "not yet")
			}
			return nil
		}
		m := New(w, w, Config{Up: w.up, Started: func(v uint32) (time.Time, bool) { return started, v == 4 && !started.IsZero() }})
		run := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			m.Run(ctx)
		}
		w.volumes[5].down = true
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		run(time.Minute)
		require.Equal(t, 20*batchBlobs, w.copies)
		require.Zero(t, w.had, "no batch twice, and nothing after the last")
		require.EqualValues(t, 20*batchBlobs*testBlob, m.failed[0].at.bytes)

		started = time.Now()
		w.refuse, w.volumes[4].fetch = nil, nil
		for id := range w.volumes[4].blobs { // what it had not synced is gone
			delete(w.volumes[4].blobs, id)
			break
		}
		run(10 * time.Second)
		require.Equal(t, []uint32{2, 3, 4}, w.layout().Shards[0].Members)
		require.Equal(t, 20*batchBlobs+1, w.copies)
		require.Equal(t, 20*batchBlobs-1, w.had)
		require.Empty(t, m.failed)
	})
}

// TestAnEarlierMovesPlaceIsNotTaken: a move that was given up says nothing of the next, which may be to another volume.
func TestAnEarlierMovesPlaceIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 5)
		ids := putMany(w, 3*batchBlobs)
		batches := 0
		fail := func(v uint32) func() error {
			return func() error {
				if batches++; batches > 1 {
					w.volumes[v].down = true
					return errs.E("fake", errs.Unavailable, "it died")
				}
				return nil
			}
		}
		w.volumes[4].fetch, w.volumes[5].fetch = fail(4), fail(5)
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		m := New(w, w, Config{Up: w.up})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		m.Run(ctx)
		for _, v := range []uint32{4, 5} {
			w.volumes[v].down, w.volumes[v].fetch = false, nil
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		m.Run(ctx)
		require.NotContains(t, w.layout().Shards[0].Members, uint32(1))
		w.whole(ids...)
	})
}

// TestThePlaceIsAnEstimate of what is left, until all lists have ended.
func TestThePlaceIsAnEstimate(t *testing.T) {
	p := position{}
	require.Zero(t, p.total())
	for n := range 1000 {
		var id object.BlobID
		id[3], id[4] = byte(n>>8), byte(n)
		p = position{after: id, bytes: 1 << 40}
		require.GreaterOrEqual(t, p.total(), p.bytes)
		p.whole = true
		require.Equal(t, p.bytes, p.total())
	}
}

package rebalance

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// lead runs a mover as a leader's term does, for a while.
func lead(w *world, d time.Duration) *Mover {
	w.t.Helper()
	m := New(w, w, Config{Up: w.up})
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	m.Run(ctx)
	return m
}

// holding counts the shards that a volume is a member of, and those that move.
func holding(l *metapb.Layout, v uint32) (shards, moving int) {
	for _, row := range l.Shards {
		for _, m := range row.Members {
			if m == v {
				shards++
			}
		}
		if len(row.Joining) > 0 {
			moving++
		}
	}
	return shards, moving
}

func putMany(w *world, n int) (ids []object.BlobID) {
	for i := range n {
		ids = append(ids, w.put(fmt.Sprint("key", w.runs, "-", i)))
	}
	return ids
}

// TestSpreadAndDrain: new volumes get nothing until they are asked for, then their share; a drained one gives everything away; dead
// runs and old orphans are not copied, undecided ones are.
func TestSpreadAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, 3, 5)
		ids := putMany(w, 200)
		undecided, undecidedID := w.prepared(w.layout(), members)
		lead(w, 5*time.Second)
		n, _ := holding(w.layout(), 4)
		require.Zero(t, n)
		w.set(&metapb.SetRebalance{Running: proto.Bool(true)})
		m := lead(w, time.Minute)
		require.False(t, w.layout().Rebalance.Running, "it ends by itself")
		for v := uint32(1); v <= 5; v++ {
			n, moving := holding(w.layout(), v)
			require.NotZero(t, n)
			require.Zero(t, moving)
		}
		p := m.Progress()
		require.EqualValues(t, 100, p.Percent)
		require.EqualValues(t, w.copies*testBlob, p.CopiedBytes)
		w.whole(append(ids, undecidedID)...)
		r := w.publish("late", undecided)
		if r.Failed { // its shard has moved: the gateway asks again with what it has
			require.Equal(t, errs.StaleShardEpoch, errs.Kind(r.Kind))
		}
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		lead(w, time.Minute)
		n, _ = holding(w.layout(), 1)
		require.Zero(t, n)
		w.whole(ids...)
		w.state(1, meta.VolumeDraining, meta.VolumeRemoved)
		lead(w, 5*time.Second)
		for _, row := range w.layout().Shards {
			require.NotContains(t, row.Leaving, uint32(1), "released at once")
		}
	})
}

// TestALostVolumeIsReplaced from the others, what only some of them have included; missing rows of the lost one go with it.
func TestALostVolumeIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8, 3, 4)
		ids := putMany(w, 50)
		for i := range 20 {
			ids = append(ids, w.put(fmt.Sprint("only two", i), uint32(1+i%3)))
		}
		w.volumes[3].down = true
		w.state(3, meta.VolumeIn, meta.VolumeOut)
		lead(w, 30*time.Second)
		n, moving := holding(w.layout(), 3)
		require.NotZero(t, n, "what the staying members lack holds the flips up")
		require.NotZero(t, moving)
		var rows []*metapb.MissingRow // repair brings what those that stay lack
		for _, x := range w.missing() {
			if x.Volume != 3 {
				w.volumes[x.Volume].blobs[object.BlobID(x.Blob)] = true
				rows = append(rows, x)
			}
		}
		w.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: rows}}})
		lead(w, 30*time.Second)
		n, _ = holding(w.layout(), 3)
		require.Zero(t, n)
		require.Empty(t, w.missing())
		w.whole(ids...)
	})
}

// TestALeaderGoesOn with the moves of another, which died at any point: before the copy, in it, at the flip.
func TestALeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, dies := range []string{"copy", "flip"} {
			w := newWorld(t, 8, 3, 4)
			ids := putMany(w, 300)
			w.state(2, meta.VolumeIn, meta.VolumeDraining)
			left := 2
			fail := func() error {
				if left--; left < 0 {
					return errs.E("fake", errs.NotLeader, "the leader died")
				}
				return nil
			}
			if dies == "copy" {
				w.volumes[4].fetch = fail
			} else {
				w.refuse = func(c *metapb.Command) error {
					if c.GetFlipShard() != nil {
						return fail()
					}
					return nil
				}
			}
			lead(w, 10*time.Second)
			n, moving := holding(w.layout(), 2)
			require.NotZero(t, n)
			require.NotZero(t, moving, "moves are in the rows")
			w.volumes[4].fetch, w.refuse = nil, nil
			lead(w, 30*time.Second)
			n, moving = holding(w.layout(), 2)
			require.Zero(t, n)
			require.Zero(t, moving)
			w.whole(ids...)
		}
	})
}

// TestAVolumeDiesInAMove: a move to it is given up and goes elsewhere; a member that dies is done without as long as N-W+1 answer.
func TestAVolumeDiesInAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8, 3, 5)
		ids := putMany(w, 100)
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		w.volumes[4].fetch = func() error { w.volumes[4].down = true; return errs.E("fake", errs.Unavailable, "it died") }
		w.volumes[2].down = true
		lead(w, time.Minute)
		l := w.layout()
		n, moving := holding(l, 4)
		require.Zero(t, n+moving)
		n, _ = holding(l, 1)
		require.Zero(t, n, "all went to volume 5")
		w.whole(ids...)

		w.volumes[3].down = true // now only one member of each shard answers: not enough to know of every blob
		w.state(5, meta.VolumeIn, meta.VolumeDraining)
		w.volumes[4].down, w.volumes[4].fetch = false, nil
		lead(w, 30*time.Second)
		n, _ = holding(w.layout(), 5)
		require.Equal(t, 8, n)
		w.volumes[3].down = false
		lead(w, 30*time.Second)
		n, _ = holding(w.layout(), 5)
		require.Zero(t, n)
		w.whole(ids...)
	})
}

// TestPauseAndLimit: while paused nothing is copied and no move begins or ends by copying; the limit holds.
func TestPauseAndLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8, 3, 4)
		ids := putMany(w, 400)
		w.set(&metapb.SetRebalance{BytesPerSecond: proto.Uint64(10 * testBlob)})
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		lead(w, 20*time.Second)
		require.Greater(t, w.copies, 100)
		// Each of 8 moves may be a batch ahead: bytes are counted before they are copied.
		require.LessOrEqual(t, w.copies, 20*10+2*batchBlobs)
		w.set(&metapb.SetRebalance{Paused: proto.Bool(true)})
		before, l := w.copies, w.layout()
		m := lead(w, 20*time.Second)
		require.Equal(t, before, w.copies)
		require.True(t, m.Progress().Paused)
		require.True(t, proto.Equal(l, w.layout()), "nothing moved")
		w.set(&metapb.SetRebalance{Paused: proto.Bool(false), BytesPerSecond: proto.Uint64(0)})
		lead(w, 30*time.Second)
		n, _ := holding(w.layout(), 1)
		require.Zero(t, n)
		w.whole(ids...)
	})
}

// TestWritesDuringAMove: what is decided meanwhile and does not reach the joining volume holds the flip up; what was prepared before
// the move is decided by the new rows only.
func TestWritesDuringAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 4)
		ids := putMany(w, 10)
		before, _ := w.prepared(w.layout(), members)
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		w.refuse = func(c *metapb.Command) error {
			if c.GetFlipShard() != nil {
				return errs.E("fake", errs.NotProposed, "not yet")
			}
			return nil
		}
		lead(w, 3*time.Second)
		require.Equal(t, []uint32{4}, w.layout().Shards[0].Joining)
		require.Equal(t, errs.StaleShardEpoch, errs.Kind(w.publish("before", before).Kind))
		ids = append(ids, w.put("meanwhile"))
		require.Len(t, w.missing(), 1)
		w.refuse = nil
		lead(w, 10*time.Second)
		require.Equal(t, []uint32{4}, w.layout().Shards[0].Joining, "volume 4 lacks a blob by its row")
		require.True(t, w.volumes[4].blobs[ids[len(ids)-1]], "although it has been copied")
		w.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: w.missing()}}})
		lead(w, 10*time.Second)
		require.Equal(t, []uint32{2, 3, 4}, w.layout().Shards[0].Members)
		w.whole(ids...)
	})
}

// TestBlobsThatCannotBeCopied: one that is alive keeps its shard from moving; a dead one, and one that nobody may ever publish, do not.
func TestBlobsThatCannotBeCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 4)
		kept := w.put("kept")
		gone := w.put("gone")
		w.do(&metapb.Command{Op: &metapb.Command_DeleteObjects{DeleteObjects: &metapb.DeleteObjects{Bucket: w.bucket, Keys: []*metapb.DeleteKey{{Key: "gone"}}}}})
		_, undecided := w.prepared(w.layout(), members)
		_, coming := w.prepared(w.layout(), members)
		for v := uint32(1); v <= 3; v++ {
			w.volumes[v].bad[kept], w.volumes[v].bad[undecided] = true, true
		}
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		lead(w, 10*time.Second)
		require.Equal(t, []uint32{1, 2, 3}, w.layout().Shards[0].Members)
		w.volumes[2].bad[kept] = false
		lead(w, 10*time.Second)
		require.Equal(t, []uint32{2, 3, 4}, w.layout().Shards[0].Members)
		require.True(t, w.volumes[4].blobs[kept])
		require.True(t, w.volumes[4].blobs[coming], "its decision may be on its way")
		require.False(t, w.volumes[4].blobs[gone])
	})
}

// TestRelease waits for the horizon.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 4)
		putMany(w, 3)
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		lead(w, 5*time.Second)
		require.Equal(t, []uint32{1}, w.layout().Shards[0].Leaving)
		for range 3 {
			w.do(&metapb.Command{Op: &metapb.Command_TickEpoch{TickEpoch: &metapb.TickEpoch{From: w.layout().Cluster.Epoch, HorizonLag: 1}}})
		}
		lead(w, 5*time.Second)
		require.Empty(t, w.layout().Shards[0].Leaving)
	})
}

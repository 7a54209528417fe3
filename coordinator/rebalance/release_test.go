package rebalance

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// after is a world in which something happens once a command of some kind was applied.
type after struct {
	*world
	do func(c *metapb.Command)
}

func (a *after) Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	r, err := a.world.Propose(ctx, c)
	a.do(c)
	return r, err
}

// TestRowsOfAVolumeThatHasJustJoinedStay: they say what it lacks of what was decided since, and hold its flip up; only those of volumes
// that are no replicas are cleared.
func TestRowsOfAVolumeThatHasJustJoinedStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 5)
		joined := func(v uint32) uint64 {
			return w.do(&metapb.Command{Op: &metapb.Command_JoinShard{JoinShard: &metapb.JoinShard{
				Epoch: w.layout().Shards[0].Epoch, Joining: []uint32{v}, Leaving: []uint32{1},
			}}}).GetShard().Epoch
		}
		cancel := func(epoch uint64) {
			w.do(&metapb.Command{Op: &metapb.Command_CancelJoin{CancelJoin: &metapb.CancelJoin{Epoch: epoch}}})
		}
		e := joined(5)
		w.put("a stranger's row")
		cancel(e)
		require.Len(t, w.missing(), 1)
		w.state(5, meta.VolumeIn, meta.VolumeOut)
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		w.refuse = func(c *metapb.Command) error {
			if c.GetFlipShard() != nil {
				return errs.E("fake", errs.NotProposed, "not yet")
			}
			return nil
		}
		var late object.BlobID
		a := &after{world: w, do: func(c *metapb.Command) {
			if slices.Contains(c.GetJoinShard().GetJoining(), 4) {
				late = w.put("decided since the join")
			}
		}}
		ctx, end := context.WithTimeout(t.Context(), 3*time.Second)
		defer end()
		New(a, w, Config{Up: w.up}).Run(ctx)
		require.Equal(t, []uint32{4}, w.layout().Shards[0].Joining)
		rows := w.missing()
		require.Len(t, rows, 1)
		require.EqualValues(t, 4, rows[0].Volume)
		require.Equal(t, late[:], rows[0].Blob)
	})
}

// TestCopiesAreAsYoungAsTheirWrites: else the horizon passes the copy of an undecided blob before it passes the write.
func TestCopiesAreAsYoungAsTheirWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 4)
		w.prepared(w.layout(), members)
		w.listed = 7 // the epoch ticked after the mover had read it
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		lead(w, 5*time.Second)
		require.Len(t, w.wanted, 1)
		require.EqualValues(t, 7, w.wanted[0].Epochs.Cluster)
	})
}

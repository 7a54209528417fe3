package payload

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// TestWritesFollowMoves: a write whose shards have moved away from the volumes that confirmed it is brought to those of now, from
// volumes that have left, and is a quorum of them.
func TestWritesFollowMoves(t *testing.T) {
	for _, rf := range []int{1, 3} {
		c := newCluster(2*rf, rf, 1, 64<<10)
		l := c.Layout()
		l.Shards[0].Members = nil
		for v := range rf {
			l.Shards[0].Members = append(l.Shards[0].Members, uint32(v+1))
		}
		s := newStore(t, c, Options{})
		body := bytes.Repeat([]byte("moved"), 40_000)
		w, err := s.Write(t.Context(), bytes.NewReader(body), WriteOptions{Size: int64(len(body))})
		require.NoError(t, err)
		require.NoError(t, w.Follow(t.Context())) // nothing has moved

		moved := proto.CloneOf(l)
		row := moved.Shards[0]
		row.Epoch, row.Leaving, row.Members = 3, row.Members, nil
		for v := range rf {
			row.Members = append(row.Members, uint32(rf+v+1))
		}
		c.layout.Store(moved)
		_, err = w.Written()
		require.Equal(t, errs.Unavailable, errs.KindOf(err))
		// The first look is at a table between the two, which the new volumes refuse.
		between := proto.CloneOf(moved)
		between.Shards[0].Epoch = 2
		c.layout.Store(between)
		c.onRefresh = func() { c.layout.Store(moved) }
		for v := range rf {
			c.fakes[uint32(rf+v+1)].prepare = func(_ context.Context, _ object.BlobID, ep object.Epochs) error {
				if ep.Shard != 3 || ep.Cluster != l.Cluster.Epoch {
					return errs.E("fake", errs.StaleShardEpoch, "%v", ep)
				}
				return nil
			}
		}
		if rf == 3 {
			c.fakes[1].read = func(context.Context, object.BlobID, []byte) (bool, int, error) {
				return true, 0, errs.E("fake", errs.Corrupt, "injected")
			}
			c.fakes[4].prepare = failing(errs.Timeout)
		}
		require.NoError(t, w.Follow(t.Context()))
		written, err := w.Written()
		require.NoError(t, err)
		for _, x := range written.Shards {
			if x.Epoch != 3 {
				t.Fatalf("%v", x)
			}
			for _, conf := range x.Confirmations {
				for _, v := range conf.Volumes {
					for _, n := range conf.Counters {
						if len(c.fakes[v].blobs[w.Base().Blob(n)]) == 0 || v <= uint32(rf) {
							t.Fatalf("volume %d does not have blob %d", v, n)
						}
					}
				}
			}
		}
	}
}

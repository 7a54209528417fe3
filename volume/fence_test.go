package volume

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// TestFence: older prepares are refused at once, and the fence is up when those that ran have ended.
func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards = 4
		f := &fences{}
		id := object.NewRunBase(0, [12]byte{1}).Blob(3)
		shard := id.Shard(shards)
		end, err := f.begin(id, 7)
		require.NoError(t, err)
		end() // before the number of shards is known, nothing is counted

		all, err := f.size(shards)
		require.NoError(t, err)
		_, err = f.size(8)
		require.Equal(t, errs.Conflict, errs.KindOf(err))
		x := all[shard]
		end1, err := f.begin(id, 1)
		require.NoError(t, err)
		end2, err := f.begin(id, 1)
		require.NoError(t, err)
		up := make(chan error, 1)
		go func() { up <- x.raise(t.Context(), 2) }()
		synctest.Wait()
		_, err = f.begin(id, 1)
		require.Equal(t, errs.StaleShardEpoch, errs.KindOf(err))
		end3, err := f.begin(id, 2)
		require.NoError(t, err, "those of the new epoch are not held up")
		end1()
		synctest.Wait()
		require.Empty(t, up)
		done, err := x.still(2, func() error { return nil })
		require.False(t, done)
		require.NoError(t, err)
		end2()
		require.NoError(t, <-up)
		end3()
		require.NoError(t, x.raise(t.Context(), 2), "again")
		require.Equal(t, errs.StaleShardEpoch, errs.KindOf(x.raise(t.Context(), 1)))
		done, _ = x.still(1, func() error { return nil })
		require.False(t, done, "a later epoch is known")
		done, _ = x.still(2, func() error { return nil })
		require.True(t, done)

		end4, err := f.begin(id, 5) // a gateway knew first
		require.NoError(t, err)
		require.Equal(t, errs.StaleShardEpoch, errs.KindOf(x.raise(t.Context(), 3)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, x.raise(ctx, 6), context.DeadlineExceeded)
		end4()
		other := object.NewRunBase(0, [12]byte{2})
		for n := range uint32(100) {
			if b := other.Blob(n); b.Shard(shards) != shard {
				_, err := f.begin(b, 1)
				require.NoError(t, err, "other shards")
				return
			}
		}
		t.Fatal("no blob in another shard")
	})
}

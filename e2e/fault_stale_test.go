package e2e

import (
	"context"
	"flag"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

var staleRounds = flag.Int("stale.rounds", 1, "how often a leader is frozen, overtaken and thawed")

const staleReaders, staleWriters = 48, 16

// TestAThawedLeaderServesNothingOld: a leader stands still while another one is elected and writes. Requests wait at it when it goes
// on, before it can have noticed; each is answered with what is there now, or not at all (I2, I14).
func TestAThawedLeaderServesNothingOld(t *testing.T) {
	t.Parallel() // most of it is waiting
	r := newFaultRun(t, harness.Plan{Nodes: 3})
	key := "key"
	require.NoError(t, r.store(t.Context(), key, content{1, 100}))
	for range *staleRounds {
		leader := r.f.Leader()
		var readers []*s3.Client
		for range staleReaders {
			c := leader.AWS()
			harness.Eventually(t, 2*time.Minute, "a connection is there", func() error {
				_, err := r.readOnce(c, key)
				return err
			})
			readers = append(readers, c)
		}
		before := r.possible(key)[0]
		busy := r.busy(leader)
		leader.Freeze()
		r.mu.Lock()
		r.silent[r.clients[leader]] = time.Now()
		r.mu.Unlock()
		require.NoError(t, r.store(t.Context(), key, content{before.seed + 1, 100}))
		now := r.possible(key)[0].bytes()
		var asked sync.WaitGroup
		var mu sync.Mutex
		answered, old := 0, 0
		for _, c := range readers {
			asked.Go(func() {
				got, err := r.readOnce(c, key)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					return
				}
				answered++
				if string(got) != string(now) {
					old++
				}
			})
		}
		waitFor(t.Context(), 100*time.Millisecond) // the requests are on their way
		leader.Thaw()
		asked.Wait()
		busy()
		t.Logf("%s: %d of %d were answered", leader.Name, answered, staleReaders)
		require.Zero(t, old, "old answers")
	}
}

// busy keeps a node writing, so that its Raft is amid an append when it freezes and is not the first to go on.
func (r *faultRun) busy(n *harness.Node) (end func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var writers, began sync.WaitGroup
	for range staleWriters {
		began.Add(1)
		writers.Go(func() {
			c, first := n.AWS(), began.Done
			for ctx.Err() == nil {
				attempt, done := context.WithTimeout(ctx, faultAnswered)
				_ = putKey(attempt, c, restBucket, "busy", []byte("busy"))
				done()
				if first != nil {
					first()
					first = nil
				}
			}
		})
	}
	began.Wait()
	return func() {
		cancel()
		writers.Wait()
	}
}

func (r *faultRun) readOnce(c *s3.Client, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), faultAnswered)
	defer cancel()
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
	if err != nil {
		if st, _ := status(err); st == http.StatusNotFound {
			r.t.Error("the key is gone")
		}
		return nil, err
	}
	defer func() { _ = out.Body.Close() }()
	return io.ReadAll(out.Body)
}

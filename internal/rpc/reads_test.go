package rpc

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func bucketQuery(name string) *metapb.Query {
	return &metapb.Query{Q: &metapb.Query_GetBucket{GetBucket: &metapb.GetBucketQuery{Name: name}}}
}

// readers is a coordinator whose reads wait for the gate, and its client.
type readers struct {
	t    *testing.T
	m    *memCoordinator
	c    *CoordinatorClient
	gate chan struct{}
	mu   sync.Mutex
	some int // calls of ReadSome
}

func newReaders(t *testing.T) *readers {
	r := &readers{t: t, m: &memCoordinator{}, gate: make(chan struct{})}
	r.m.read = func(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		name := q.GetGetBucket().Name
		if name == "none" {
			return nil, errs.E("test", errs.NoSuchBucket, "none")
		}
		return &metapb.Answer{A: &metapb.Answer_Bucket{Bucket: &metapb.BucketRow{Name: name}}}, nil
	}
	addr := serve(t, ServerConfig{Security: node(t, nil, "c1", coordinator)}, func(s *Server) { RegisterCoordinator(s, r.m.local()) })
	pool := newPool(t, node(t, nil, "g1", gateway))
	pool.Observe = func(_, method string, _ time.Duration, _ error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if method == methodReadSome {
			r.some++
		}
	}
	r.c = NewCoordinatorClient(pool, CoordinatorConfig{AttemptMax: time.Minute}, addr)
	return r
}

func (r *readers) waiting(n int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.c.reads.mu.Lock()
		defer r.c.reads.mu.Unlock()
		return len(r.c.reads.queue) == n
	}, time.Minute, time.Millisecond)
}

// TestReadsShareCalls, each with its own answer; the one that fails fails alone.
func TestReadsShareCalls(t *testing.T) {
	for _, bad := range []int{-1, 17} {
		r := newReaders(t)
		var wg sync.WaitGroup
		read := func(i int) {
			name := fmt.Sprint(i)
			if i == bad {
				name = "none"
			}
			a, err := r.c.Read(context.Background(), bucketQuery(name))
			switch {
			case i == bad && !errs.Is(err, errs.NoSuchBucket), i != bad && (err != nil || a.GetBucket().GetName() != name):
				t.Errorf("%d: %v, %v", i, a, err)
			}
		}
		for i := range turnsMax {
			wg.Go(func() { read(i) })
		}
		require.Eventually(t, func() bool { return r.m.calls.Load() >= turnsMax }, time.Minute, time.Millisecond)
		for i := turnsMax; i < 30; i++ {
			wg.Go(func() { read(i) })
		}
		r.waiting(30 - turnsMax)
		close(r.gate)
		wg.Wait()
		require.Positive(t, r.some)
		require.Zero(t, r.c.reads.calls)
	}
}

// TestWaitingForASharedReadEnds with the context.
func TestWaitingForASharedReadEnds(t *testing.T) {
	r := newReaders(t)
	var wg sync.WaitGroup
	for range turnsMax {
		wg.Go(func() { _, _ = r.c.Read(context.Background(), bucketQuery("b")) })
	}
	require.Eventually(t, func() bool { return r.m.calls.Load() >= turnsMax }, time.Minute, time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := r.c.Read(ctx, bucketQuery("b"))
		done <- err
	}()
	r.waiting(1)
	cancel()
	require.Equal(t, errs.Canceled, errs.KindOf(<-done))
	r.waiting(0)
	close(r.gate)
	wg.Wait()
	require.Zero(t, r.c.reads.calls)
}

// TestSharedReadsFindTheNextLeader: a shared call that fails tells who does not lead any more, as one alone does.
func TestSharedReadsFindTheNextLeader(t *testing.T) {
	trio := newTrio(t)
	c := NewCoordinatorClient(newPool(t, node(t, nil, "g1", gateway)), CoordinatorConfig{AttemptMax: time.Minute}, trio.addrs[:]...)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for w := range 16 {
		wg.Go(func() {
			for i := range 60 {
				if w == 0 && i%10 == 0 {
					trio.terms[(i/10)%3].Add(10)
					trio.leads.Store(int64((i / 10) % 3))
				}
				for {
					_, err := c.Read(ctx, bucketQuery("b"))
					if err == nil {
						break
					}
					if ctx.Err() != nil {
						t.Errorf("no leader was found: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	hist "minikv/e2e/history"
)

var (
	linearizableHistories = flag.Int("linearizable.histories", 3, "how many histories are recorded and checked")
	linearizableDuration  = flag.Duration("linearizable.duration", 3*time.Second, "how long each history is")
	linearizableSeed      = flag.Uint64("linearizable.seed", 0, "seed of the first history; 0: a random one")
)

const (
	linearizableClients = 6
	linearizableKeys    = 5
	// unknownMax writes without an answer are as many as a history of real processes seldom has, and can surely be checked in time.
	unknownMax = 16
	// linearizableAcknowledged operations are the fewest of a history that says anything.
	linearizableAcknowledged = 100
	// linearizablePause keeps a history at a length that can be checked within the time.
	linearizablePause = 4 * time.Millisecond
)

// TestLinearizable: concurrent reads, writes, conditional writes, deletes, copies, listings and batches while the server is killed
// with SIGKILL and started again; what the clients saw could have come from one atomic store (I2 to I5).
func TestLinearizable(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	seed := *linearizableSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for i := range *linearizableHistories {
		weights := hist.Weights{}
		if i%2 == 1 {
			weights = hist.PerKey
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) { oneHistory(t, n, seed+uint64(i), weights) })
	}
}

// oneHistory uses keys of its own, so that none is there at first.
func oneHistory(t *testing.T, n *harness.Node, seed uint64, weights hist.Weights) {
	w := hist.Workload{
		Seed: seed, Weights: weights, Prefix: fmt.Sprintf("linearizable/%x/", seed), SizeMax: 300_000, Pause: linearizablePause,
		UnknownMax: unknownMax,
	}
	var keys []string
	for i := range linearizableKeys {
		keys = append(keys, fmt.Sprintf("%sk%d", w.Prefix, i))
	}
	r := hist.NewRecorder(keys, nil)
	var stores []hist.Store
	for range linearizableClients {
		stores = append(stores, &s3Store{s3: n.AWS(), http: n.HTTPClient(), rest: n.REST, bucket: restBucket, surprise: t.Errorf})
	}
	ctx, cancel := lasting(t.Context(), *linearizableDuration, func() bool { return r.History().Acknowledged() > linearizableAcknowledged })
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, r, stores)
	}()
	kills := killNowAndThen(ctx, n)
	<-done
	w.Settle(t.Context(), r, stores[0])
	h := r.History()
	require.Greater(t, h.Acknowledged(), linearizableAcknowledged, "too little happened: %v", h.Stats())
	start := time.Now()
	err := hist.Check(h, 4*time.Minute) // on a busy machine
	require.NoError(t, err, "seed %d", seed)
	t.Logf("seed %d: %d operations, %d acknowledged, %d kills, checked in %v; done, absent, precondition, refused after unknown: %v",
		seed, len(h.Entries), h.Acknowledged(), kills, time.Since(start).Round(time.Millisecond), h.Stats())
}

// killNowAndThen restarts the server a few times until ctx ends; it is running then.
func killNowAndThen(ctx context.Context, n *harness.Node) (kills int) {
	for {
		timer := time.NewTimer(*linearizableDuration/8 + rand.N(*linearizableDuration/4))
		select {
		case <-timer.C:
			n.Restart()
			kills++
		case <-ctx.Done():
			timer.Stop()
			return kills
		}
	}
}

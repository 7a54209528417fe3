package e2e

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

var casDuration = flag.Duration("cas.duration", 5*time.Second, "how long writers compare and swap")

const casWriters, casWins = 50, 20

// generations is who replaced what, as far as anyone was told or saw.
type generations struct {
	mu       sync.Mutex
	replaced map[string]string // by the ETag of an attempt: the one that it was to replace
	done     map[string]bool   // ETags that were acknowledged, or read
	wins     int
}

func (g *generations) tried(etag, old string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.replaced[etag] = old
}

func (g *generations) seen(etag string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done[etag] = true
}

func (g *generations) won(etag string) {
	g.seen(etag)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wins++
}

// enough says that there were generations to judge by.
func (g *generations) enough() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wins > casWins
}

// twice names generations that two attempts replaced, whether or not their writers were told.
func (g *generations) twice() (all []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	by := map[string]string{}
	for etag := range g.done {
		old, ok := g.replaced[etag]
		if !ok {
			continue // the first
		}
		if other := by[old]; other != "" {
			all = append(all, fmt.Sprintf("both %s and %s replaced %s", other, etag, old))
		}
		by[old] = etag
	}
	return all
}

// TestClusterCAS: fifty writers on three gateways each try to write the next generation if the present one is still there, while the
// leader is killed again and again; each generation is replaced by exactly one attempt.
func TestClusterCAS(t *testing.T) {
	t.Parallel() // most of it is waiting
	f := harness.StartFleet(t, harness.Plan{Coordinators: 3, Volumes: 3, Gateways: 3})
	gateways := f.Gateways()
	bucket, key := gateways[0].Bucket(t), "generation"
	require.NoError(t, putKey(t.Context(), gateways[0].AWS(harness.Retries), bucket, key, []byte("0")))
	g := &generations{replaced: map[string]string{}, done: map[string]bool{}}
	var kills atomic.Int64
	ctx, cancel := lasting(t.Context(), *casDuration, func() bool { return g.enough() && kills.Load() > 0 })
	defer cancel()
	var wg sync.WaitGroup
	for w := range casWriters {
		client := gateways[w%len(gateways)].AWS()
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				swap(t.Context(), client, g, bucket, key, fmt.Sprintf("%d/%d", w, i))
			}
		})
	}
	for ctx.Err() == nil {
		waitFor(ctx, time.Second)
		if leader, err := f.FindLeader(); err == nil && ctx.Err() == nil {
			leader.Restart()
			kills.Add(1)
		}
	}
	wg.Wait()
	require.Empty(t, g.twice())
	require.Greater(t, g.wins, casWins)
	require.NotZero(t, kills.Load())
	t.Logf("%d generations were acknowledged, %d kills", g.wins, kills.Load())
}

// swap reads the generation and replaces it by another, once.
func swap(ctx context.Context, c *s3.Client, g *generations, bucket, key, body string) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return
	}
	old := aws.ToString(head.ETag)
	g.seen(old)
	etag := *etagOf(body)
	g.tried(etag, old)
	_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, IfMatch: &old, Body: strings.NewReader(body)})
	if err == nil {
		g.won(etag)
	}
}

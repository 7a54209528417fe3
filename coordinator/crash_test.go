package coordinator_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"minikv/coordinator"
	"minikv/internal/metaclient"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

var crashClones = flag.Int("crash-clones", 120, "power cuts per crash test")

// cut is a disk as a power cut left it, and how many keys had been acknowledged before.
type cut struct {
	fs    *vfs.Mem
	acked int
	seed  uint64
}

// cutter cuts the power of clones at random operations of a run.
type cutter struct {
	mem   *vfs.Mem
	every int // mean operations between cuts

	mu    sync.Mutex
	acked int
	cuts  []cut
	rng   *rand.Rand
}

func (c *cutter) after(op vfs.Op, _ error) {
	if !op.Kind.Changes() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rng.IntN(c.every) != 0 {
		return
	}
	seed := c.rng.Uint64()
	s := vfs.Survivals[seed%uint64(len(vfs.Survivals))]
	s.Seed = seed
	c.cuts = append(c.cuts, cut{c.mem.CrashClone(s), c.acked, seed})
}

func crashConfig(t testing.TB, fs vfs.FS) coordinator.Config {
	cfg := testConfig(t, fs, "/coordinator")
	cfg.Raft.SegmentBytes = 16 << 10
	cfg.Raft.SnapshotEveryBytes = 24 << 10
	cfg.Raft.LogCacheBytes = 8 << 10
	cfg.Raft.ElectionTimeout = 5 * time.Millisecond
	cfg.KV.MemTableBytes = 64 << 10
	return cfg
}

// TestPowerCuts cuts the power under the Raft log, the snapshots and Pebble together, at many moments: whatever was acknowledged
// before is there after reopening, new commands are taken, and a second cut loses nothing either. Run more with -crash-clones.
func TestPowerCuts(t *testing.T) {
	mem := vfs.NewMem()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &cutter{mem: mem, every: 12, rng: rand.New(rand.NewPCG(seed, 0))}
	work(t, c, crashConfig(t, vfs.NewInject(mem, vfs.Hooks{After: c.after})))
	pick := c.cuts
	if len(pick) > *crashClones {
		c.rng.Shuffle(len(pick), func(i, j int) { pick[i], pick[j] = pick[j], pick[i] })
		pick = pick[:*crashClones]
	}
	if len(pick) < *crashClones/2 {
		t.Fatalf("only %d cuts", len(pick))
	}
	t.Logf("%d cuts", len(pick))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, x := range pick {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := checkCut(t, x); err != nil {
				t.Errorf("cut with seed %d after %d acknowledged keys: %v", x.seed, x.acked, err)
			}
		})
		if t.Failed() {
			break
		}
	}
	wg.Wait()
}

// work stores keys until enough cuts were made, closing and reopening now and then.
func work(t *testing.T, c *cutter, cfg coordinator.Config) {
	total := 0
	for round := 0; len(c.cuts) < *crashClones+*crashClones/4 && round < 200; round++ {
		co := open(t, cfg)
		m := connect(t, co)
		b := createBucketOnce(t, m)
		for range 60 {
			must(t, put(t.Context(), m, b, fmt.Sprintf("key-%06d", total)))
			total++
			c.mu.Lock()
			c.acked = total
			c.mu.Unlock()
		}
		must(t, m.Close())
		must(t, co.Close())
	}
}

func checkCut(t *testing.T, x cut) error {
	fs := x.fs
	for life := range 2 {
		if err := checkLife(t, fs, x.acked, life); err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		fs = fs.CrashClone(vfs.Survival{Percent: 50, Torn: true, Seed: x.seed})
	}
	return nil
}

func checkLife(t *testing.T, fs vfs.FS, acked, life int) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	co, err := coordinator.Open(ctx, crashConfig(t, fs))
	if err != nil {
		return err
	}
	defer co.Close()
	if err := co.WaitReady(ctx); err != nil {
		return err
	}
	m, err := metaclient.New(ctx, co, metaclient.Config{})
	if err != nil {
		return err
	}
	defer m.Close()
	if acked == 0 {
		return nil
	}
	have, err := listed(ctx, m)
	if err != nil {
		return err
	}
	for i := range acked {
		if !have[fmt.Sprintf("key-%06d", i)] {
			return fmt.Errorf("key %d is gone", i)
		}
	}
	for l := range life {
		if !have[fmt.Sprintf("life-%d", l)] {
			return fmt.Errorf("the key of life %d is gone", l)
		}
	}
	return put(ctx, m, createBucketOnce(t, m), fmt.Sprintf("life-%d", life))
}

// listed is every key of the bucket.
func listed(ctx context.Context, m *metaclient.Client) (map[string]bool, error) {
	have, after := map[string]bool{}, ""
	for {
		a, err := m.Read(ctx, &metapb.Query{Q: &metapb.Query_ListObjects{ListObjects: &metapb.ListObjectsQuery{
			Bucket: "bucket", After: after, Limit: 1000,
		}}})
		if err != nil {
			return nil, err
		}
		for _, e := range a.GetListObjects().Entries {
			have[e.Key], after = true, e.Key
		}
		if !a.GetListObjects().Truncated {
			return have, nil
		}
	}
}

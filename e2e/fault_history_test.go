package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	hist "minikv/e2e/history"
)

var (
	faultHistories = flag.Int("fault.histories", 2, "how many histories of a cluster under faults are recorded and checked")
	faultClusters  = flag.Int("fault.clusters", 1, "how many clusters record histories at the same time")
	faultDuration  = flag.Duration("fault.duration", 4*time.Second, "how long each history is")
	faultMachines  = flag.Bool("fault.machines", false, "in histories wall clocks jump and disks are slow, too: with the binary of the fault suite")
	faultSeed      = flag.Uint64("fault.seed", 0, "seed of the first history; 0: a random one")
)

// TestClusterLinearizable: clients of three gateways read, write, compare and swap, delete, copy, list and send batches while nodes
// are killed, frozen and cut off, one way or both, and with -fault.machines their clocks jump and their disks are slow; what they saw could have come from one atomic store (I2 to I5, I13, I14).
func TestClusterLinearizable(t *testing.T) {
	t.Parallel() // most of it is waiting
	seed := *faultSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	clusters := min(*faultClusters, *faultHistories)
	for c := range clusters {
		t.Run(fmt.Sprint("cluster", c), func(t *testing.T) {
			t.Parallel()
			f := harness.StartFleet(t, harness.Plan{Nodes: 3, Args: faultArgs, Faults: *faultMachines})
			for i := c; i < *faultHistories; i += clusters {
				weights := hist.Weights{}
				if i/clusters%2 == 1 {
					weights = hist.PerKey
				}
				t.Run(fmt.Sprint(i), func(t *testing.T) { clusterHistory(t, f, seed+uint64(i), weights) })
			}
		})
	}
}

// clusterAttempt is how long a client waits; afterwards its operation may have happened.
const clusterAttempt = 3 * time.Second

// faultAcknowledged operations are the fewest of a history that says anything.
const faultAcknowledged = 20

func clusterHistory(t *testing.T, f *harness.Fleet, seed uint64, weights hist.Weights) {
	awaitService(t, f)
	w := hist.Workload{
		Seed: seed, Weights: weights, Prefix: fmt.Sprintf("cluster/%x/", seed), SizeMax: 300_000, Pause: linearizablePause,
		Timeout: clusterAttempt, UnknownMax: unknownMax,
	}
	var keys []string
	for i := range linearizableKeys {
		keys = append(keys, fmt.Sprintf("%sk%d", w.Prefix, i))
	}
	r := hist.NewRecorder(keys, nil)
	var stores []hist.Store
	gateways := f.Gateways()
	for i := range linearizableClients {
		n := gateways[i%len(gateways)]
		stores = append(stores, &s3Store{s3: n.AWS(), http: n.HTTPClient(), rest: n.REST, bucket: restBucket, clocks: *faultMachines, surprise: t.Errorf})
	}
	ctx, cancel := lasting(t.Context(), *faultDuration, func() bool { return r.History().Acknowledged() > faultAcknowledged })
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, r, stores)
	}()
	faults := newNemesis(t, f, seed).run(ctx)
	<-done
	awaitService(t, f)
	w.Settle(t.Context(), r, stores[0])
	h := r.History()
	require.Greater(t, h.Acknowledged(), faultAcknowledged, "too little happened: %v", h.Stats())
	require.NotZero(t, faults)
	began := time.Now()
	require.NoError(t, hist.Check(h, 0), "seed %d", seed)
	t.Logf("seed %d: %d operations, %d acknowledged, %d faults, checked in %v; done, absent, precondition, refused after unknown: %v",
		seed, len(h.Entries), h.Acknowledged(), faults, time.Since(began).Round(time.Millisecond), h.Stats())
}

// awaitService waits until every gateway answers.
func awaitService(t *testing.T, f *harness.Fleet) {
	t.Helper()
	for _, g := range f.Gateways() {
		g.WaitReady()
		harness.Eventually(t, 2*time.Minute, g.Name+" serves", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), clusterAttempt)
			defer cancel()
			return putKey(ctx, g.AWS(), restBucket, "service", []byte(g.Name))
		})
	}
}

// nemesis brings one fault after the other.
type nemesis struct {
	t   *testing.T
	f   *harness.Fleet
	rng *rand.Rand
}

func newNemesis(t *testing.T, f *harness.Fleet, seed uint64) *nemesis {
	return &nemesis{t, f, rand.New(rand.NewPCG(seed, 1))}
}

// Lengths are around the election timeout of 1 s, those of a freeze around what another leader needs to be elected and to write:
// who wakes up may think that nothing has happened.
const (
	faultLengthMin, faultLengthMax   = 200 * time.Millisecond, 2500 * time.Millisecond
	freezeLengthMin, freezeLengthMax = 1500 * time.Millisecond, 4 * time.Second
	calmLengthMin, calmLengthMax     = 300 * time.Millisecond, 2 * time.Second
)

// run returns when ctx has ended, with all faults undone. Processes that it killed are running, and ready perhaps later.
func (n *nemesis) run(ctx context.Context) (faults int) {
	for ctx.Err() == nil {
		waitFor(ctx, n.between(calmLengthMin, calmLengthMax))
		if ctx.Err() != nil {
			break
		}
		name, undo := n.fault()
		length := n.between(faultLengthMin, faultLengthMax)
		if strings.HasPrefix(name, "freeze") {
			length = n.between(freezeLengthMin, freezeLengthMax)
		}
		waitFor(ctx, length)
		undo()
		n.t.Logf("%s for %v", name, length.Round(time.Millisecond))
		faults++
	}
	return faults
}

func (n *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.rng.Int64N(int64(most-least)))
}

// victim is the leader as often as not.
func (n *nemesis) victim() *harness.Node {
	if n.rng.IntN(2) == 0 {
		if l, err := n.f.FindLeader(); err == nil {
			return l
		}
	}
	all := n.f.Coordinators()
	return all[n.rng.IntN(len(all))]
}

// other is a node beside x.
func (n *nemesis) other(x *harness.Node) *harness.Node {
	all := n.f.Coordinators()
	for {
		if y := all[n.rng.IntN(len(all))]; y != x {
			return y
		}
	}
}

// fault begins one and tells how to undo it.
func (n *nemesis) fault() (name string, undo func()) {
	x := n.victim()
	y := n.other(x)
	launch := func(all ...*harness.Node) func() {
		return func() {
			for _, x := range all {
				if err := x.Launch(); err != nil {
					n.t.Errorf("start %s: %v", x.Name, err)
				}
			}
		}
	}
	kinds := 10
	if *faultMachines {
		kinds = 14
	}
	switch n.rng.IntN(kinds) {
	case 0, 1:
		x.Kill()
		return "kill " + x.Name, launch(x)
	case 2:
		all := n.f.Coordinators()
		for _, x := range all {
			x.Kill()
		}
		return "kill all", launch(all...)
	case 3, 4:
		x.Freeze()
		return "freeze " + x.Name, x.Thaw
	case 5, 6:
		n.f.Isolate(x.Name)
		return "isolate " + x.Name, n.f.Net.Heal
	case 7:
		n.f.Net.Set(x.Name, y.Name, harness.Fault{Cut: true})
		return "cut " + x.Name + " -> " + y.Name, n.f.Net.Heal
	case 8:
		n.f.Net.Between(x.Name, y.Name, harness.Fault{Cut: true})
		return "cut " + x.Name + " " + y.Name, n.f.Net.Heal
	case 9:
		for _, name := range n.f.Names() {
			if name != x.Name {
				n.f.Net.Set(name, x.Name, harness.Fault{Cut: true})
			}
		}
		return x.Name + " hears no one", n.f.Net.Heal
	}
	return n.machine(x)
}

// machine is a fault of a clock or a disk.
func (n *nemesis) machine(x *harness.Node) (name string, undo func()) {
	jumps := []time.Duration{72 * time.Hour, -72 * time.Hour, 20 * time.Minute, -20 * time.Minute, 5 * time.Minute}
	switch jump := jumps[n.rng.IntN(len(jumps))]; n.rng.IntN(4) {
	case 0, 1:
		x.SetClock(jump)
		return fmt.Sprintf("clock of %s by %v", x.Name, jump), func() { x.SetClock(0) }
	case 2:
		all := n.f.Coordinators()
		set := func(d time.Duration) {
			for _, x := range all {
				x.SetClock(d)
			}
		}
		set(jump)
		return fmt.Sprintf("all clocks by %v", jump), func() { set(0) }
	}
	x.SetDisk("/", "sync", 50*time.Millisecond, 500*time.Millisecond)
	return "slow disk of " + x.Name, func() { x.SetDisk("", "", 0, 0) }
}

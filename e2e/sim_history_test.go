package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	hist "minikv/e2e/history"
)

var (
	simHistories = flag.Int("sim.histories", 10, "how many histories of a cluster in one process are recorded and checked")
	simSeed      = flag.Uint64("sim.seed", 0, "seed of the first history; 0: a random one")
)

const (
	simPerCluster = 10 // histories of one cluster
	simClients    = 6
	simKeys       = 4
	simOps        = 10 // of a client in one history
	simAttempts   = 20

	simPatience   = 2 * time.Second // of a client
	simUnknownMax = 8               // writes without an answer in one history
)

const (
	simCalmMax  = 400 * time.Millisecond
	simFaultMax = 2500 * time.Millisecond
)

// TestSimulated: many short histories of coordinators, volumes and gateways in one process, whose messages are late or lost and
// which crash and come back on what their disks kept. Time is simulated, so that elections cost none (I1 to I5, I7, I13).
func TestSimulated(t *testing.T) {
	t.Parallel() // on one core
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for n := 0; n < *simHistories; n += simPerCluster {
		t.Run(fmt.Sprintf("seed-%d", seed+uint64(n)), func(t *testing.T) {
			var recorded []*hist.History
			synctest.Test(t, func(t *testing.T) { recorded = simCluster(t, seed+uint64(n), min(simPerCluster, *simHistories-n)) })
			for i, h := range recorded { // where time is real: a check is bounded by it
				require.NoError(t, hist.Check(h, 0), "history %d", i)
			}
		})
	}
}

func simCluster(t *testing.T, seed uint64, histories int) (recorded []*hist.History) {
	s := openSim(t, seed)
	defer s.close()
	var gates []*simGate
	for i := range simNodes {
		g, err := openGate(s, simName("g", i))
		require.NoError(t, err)
		defer g.close()
		gates = append(gates, g)
	}
	began, acknowledged, faults := time.Now(), 0, 0
	for i := range histories {
		h, f := simHistory(t, s, gates, seed+uint64(i))
		recorded = append(recorded, h)
		acknowledged, faults = acknowledged+h.Acknowledged(), faults+f
	}
	t.Logf("%d histories: %d operations acknowledged, %d faults, %v simulated", histories, acknowledged, faults, time.Since(began).Round(time.Second))
	return recorded
}

func simHistory(t *testing.T, s *sim, gates []*simGate, seed uint64) (h *hist.History, faults int) {
	w := hist.Workload{
		Seed: seed, Prefix: fmt.Sprintf("%x/", seed), SizeMax: 150_000, Ops: simOps, Pause: 200 * time.Millisecond, Timeout: simPatience,
		UnknownMax: simUnknownMax,
	}
	if seed%2 == 1 {
		w.Weights = hist.PerKey
	}
	var keys []string
	for i := range simKeys {
		keys = append(keys, fmt.Sprintf("%sk%d", w.Prefix, i))
	}
	r := hist.NewRecorder(keys, nil)
	var stores []hist.Store
	for i := range simClients {
		stores = append(stores, simStore{gates[i%len(gates)]})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, r, stores)
		cancel()
	}()
	faults = s.faults(ctx)
	<-done
	s.heal()
	for i, key := range keys {
		s.readable(stores[i%len(stores)], key)
	}
	w.Settle(t.Context(), r, stores[0])
	h = r.History()
	require.Greater(t, h.Acknowledged(), simClients, "too little happened: %v", h.Stats())
	return h, faults
}

// readable waits until a key can be read: what metadata points to is there, whatever crashed (I1, I7).
func (s *sim) readable(st hist.Store, key string) {
	var err error
	for range simAttempts {
		ctx, cancel := context.WithTimeout(s.t.Context(), simPatience)
		_, err = st.Get(ctx, key)
		cancel()
		if err == nil || errors.Is(err, hist.ErrAbsent) {
			return
		}
		waitFor(s.t.Context(), simPatience)
	}
	s.t.Errorf("%s can't be read: %v", key, err)
}

// faults brings one after the other until ctx ends.
func (s *sim) faults(ctx context.Context) (n int) {
	for ctx.Err() == nil {
		waitFor(ctx, time.Duration(s.random(int(simCalmMax))))
		if ctx.Err() != nil {
			break
		}
		undo := s.fault()
		n++
		waitFor(ctx, time.Duration(s.random(int(simFaultMax))))
		undo()
	}
	return n
}

func (s *sim) fault() (undo func()) {
	c := s.coords[simName("c", s.random(simNodes))]
	other := simName("c", s.random(simNodes))
	v := s.vols[uint32(1+s.random(simNodes))]
	switch s.random(8) {
	case 0, 1:
		c.crash()
		return c.restart
	case 2:
		v.crash()
		return v.restart
	case 3:
		for _, c := range s.coords {
			c.crash()
		}
		for _, v := range s.vols {
			v.crash()
		}
		return s.restartAll
	case 4:
		s.setLoss(20)
	case 5:
		s.isolate(c.name, true, true)
	case 6:
		s.isolate(c.name, s.random(2) == 0, s.random(2) == 0)
	default:
		s.setCut(c.name, other, true)
		s.setCut(v.name, simName("g", s.random(simNodes)), true)
	}
	return s.heal
}

func (s *sim) restartAll() {
	for _, c := range s.coords {
		if s.lifeOf(c.name)%2 == 1 {
			c.restart()
		}
	}
	for _, v := range s.vols {
		if s.lifeOf(v.name)%2 == 1 {
			v.restart()
		}
	}
}

func (s *sim) heal() {
	s.mu.Lock()
	clear(s.cut)
	s.loss = 0
	s.mu.Unlock()
	s.restartAll()
}

func (s *sim) setLoss(percent int) {
	s.mu.Lock()
	s.loss = percent
	s.mu.Unlock()
}

func (s *sim) setCut(from, to string, on bool) {
	s.mu.Lock()
	s.cut[linkOf{from, to}] = on
	s.mu.Unlock()
}

// isolate cuts a coordinator's messages to all others, theirs to it, or both.
func (s *sim) isolate(name string, out, in bool) {
	for i := range simNodes {
		for _, other := range []string{simName("c", i), simName("v", i), simName("g", i)} {
			if other != name {
				s.setCut(name, other, out)
				s.setCut(other, name, in)
			}
		}
	}
}

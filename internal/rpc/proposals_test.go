package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// proposers is a coordinator whose proposals wait for the gate, and its client.
type proposers struct {
	t    *testing.T
	m    *memCoordinator
	c    *CoordinatorClient
	gate chan struct{}
	fail atomic.Pointer[func(sequence uint64) error]
	some atomic.Int64 // calls of ProposeSome
}

func newProposers(t *testing.T) *proposers {
	p := &proposers{t: t, m: &memCoordinator{}, gate: make(chan struct{})}
	p.m.propose = func(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
		select {
		case <-p.gate:
		case <-ctx.Done():
			return nil, errs.WrapKind("test", errs.IndeterminateResult, ctx.Err())
		}
		if f := p.fail.Load(); f != nil {
			if err := (*f)(c.Sequence); err != nil {
				return nil, err
			}
		}
		return &metapb.Result{Index: c.Sequence}, nil
	}
	addr := serve(t, ServerConfig{Security: node(t, nil, "c1", coordinator)}, func(s *Server) { RegisterCoordinator(s, p.m.local()) })
	pool := newPool(t, node(t, nil, "g1", gateway))
	pool.Observe = func(_, method string, _ time.Duration, _ error) {
		if method == methodPropSome {
			p.some.Add(1)
		}
	}
	p.c = NewCoordinatorClient(pool, CoordinatorConfig{AttemptMax: 20 * time.Second}, addr)
	return p
}

// shared proposes sequences 1 to 30, of which all but the first gather, and gives their ends.
func (p *proposers) shared() map[uint64]error {
	var mu sync.Mutex
	ends := map[uint64]error{}
	var wg sync.WaitGroup
	propose := func(i uint64) {
		r, err := p.c.Propose(context.Background(), &metapb.Command{Session: []byte("s"), Sequence: i})
		if err == nil && r.Index != i {
			p.t.Errorf("command %d got the result of %d", i, r.Index)
		}
		mu.Lock()
		defer mu.Unlock()
		ends[i] = err
	}
	for i := range uint64(turnsMax) {
		wg.Go(func() { propose(i + 1) })
	}
	require.Eventually(p.t, func() bool { return p.m.proposed.Load() == turnsMax }, 10*time.Second, time.Millisecond)
	for i := uint64(turnsMax); i < 30; i++ {
		wg.Go(func() { propose(i + 1) })
	}
	require.Eventually(p.t, func() bool {
		p.c.proposals.mu.Lock()
		defer p.c.proposals.mu.Unlock()
		return len(p.c.proposals.queue) == 30-turnsMax
	}, 10*time.Second, time.Millisecond)
	close(p.gate)
	wg.Wait()
	require.Zero(p.t, p.c.proposals.calls)
	require.Len(p.t, ends, 30)
	return ends
}

// TestProposalsShareCalls, each with its own result.
func TestProposalsShareCalls(t *testing.T) {
	p := newProposers(t)
	for i, err := range p.shared() {
		require.NoError(t, err, "command %d", i)
	}
	require.Positive(t, p.some.Load())
	require.EqualValues(t, 30, p.m.proposed.Load(), "each was proposed once")
}

// TestASharedProposalInDoubt: one command of a call failed and others were decided, so no one may hear that it surely was not.
func TestASharedProposalInDoubt(t *testing.T) {
	p := newProposers(t)
	fail := func(sequence uint64) error {
		if sequence%7 == 0 {
			return errs.E("test", errs.NotProposed, "not this one")
		}
		return nil
	}
	p.fail.Store(&fail)
	doubtful := 0
	for i, err := range p.shared() {
		switch {
		case errs.Is(err, errs.IndeterminateResult):
			doubtful++
		case err != nil && i%7 != 0:
			t.Errorf("command %d: %v", i, err)
		}
	}
	require.GreaterOrEqual(t, doubtful, 20, "all of the shared call")
}

// TestASharedProposalThatSurelyWasNot goes on alone, and ends as one alone does.
func TestASharedProposalThatSurelyWasNot(t *testing.T) {
	p := newProposers(t)
	fail := func(uint64) error { return errs.E("test", errs.StorageFull, "full") }
	p.fail.Store(&fail)
	for i, err := range p.shared() {
		require.Equal(t, errs.StorageFull, errs.KindOf(err), "command %d", i)
	}
}

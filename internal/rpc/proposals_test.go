package rpc

import (
	"context"
	"net"
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
	hang atomic.Bool  // commands that come behind the first break the connection and wait for the end of their context
}

func newProposers(t *testing.T) *proposers {
	p, conns := &proposers{t: t, m: &memCoordinator{}, gate: make(chan struct{})}, &cutter{}
	p.m.propose = func(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
		select {
		case <-p.gate:
		case <-ctx.Done():
			return nil, errs.WrapKind("test", errs.IndeterminateResult, ctx.Err())
		}
		if p.hang.Load() && c.Sequence > turnsMax {
			conns.cut()
			<-ctx.Done()
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
	conns.wrap(pool)
	pool.Observe = func(_, method string, _ time.Duration, _ error) {
		if method == methodPropSome {
			p.some.Add(1)
		}
	}
	p.c = NewCoordinatorClient(pool, CoordinatorConfig{AttemptMax: time.Minute}, addr)
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
	require.Eventually(p.t, func() bool { return p.m.proposed.Load() == turnsMax }, time.Minute, time.Millisecond)
	for i := uint64(turnsMax); i < 30; i++ {
		wg.Go(func() { propose(i + 1) })
	}
	require.Eventually(p.t, func() bool {
		p.c.proposals.mu.Lock()
		defer p.c.proposals.mu.Unlock()
		return len(p.c.proposals.queue) == 30-turnsMax
	}, time.Minute, time.Millisecond)
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

// TestASharedProposalFailsByItself: a command that fails says nothing of those beside it. Were they in doubt with it, deletes would not go on
// beside puts that a full disk refuses, and those would not be refused as such.
func TestASharedProposalFailsByItself(t *testing.T) {
	for kind, told := range toldOf {
		t.Run(kind.String(), func(t *testing.T) {
			p := newProposers(t)
			fail := func(sequence uint64) error {
				if sequence%7 == 0 {
					return errs.E("test", kind, "not this one")
				}
				return nil
			}
			p.fail.Store(&fail)
			for i, err := range p.shared() {
				if i%7 != 0 {
					require.NoError(t, err, "command %d", i)
					continue
				}
				require.Error(t, err, "command %d", i)
				require.Equal(t, told, errs.KindOf(err), "command %d", i)
			}
			require.Positive(t, p.some.Load())
		})
	}
}

// TestWhoLeadsASharedProposalGoesAway: its call goes on, else all the others were in doubt whenever some client hangs up.
func TestWhoLeadsASharedProposalGoesAway(t *testing.T) {
	p := newProposers(t)
	inCall := make(chan struct{}, 64)
	propose := p.m.propose
	p.m.propose = func(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
		inCall <- struct{}{}
		return propose(ctx, c)
	}
	var wg sync.WaitGroup
	ask := func(ctx context.Context, i uint64) {
		r, err := p.c.Propose(ctx, &metapb.Command{Session: []byte("s"), Sequence: i})
		if err != nil || r.Index != i {
			t.Errorf("command %d: %v, %v", i, r, err)
		}
	}
	queued := func(n int) {
		require.Eventually(t, func() bool {
			p.c.proposals.mu.Lock()
			defer p.c.proposals.mu.Unlock()
			return len(p.c.proposals.queue) == n
		}, time.Minute, time.Millisecond)
	}
	first := make(chan struct{})
	wg.Go(func() { defer close(first); ask(context.Background(), 1) })
	<-inCall
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	second := make(chan error, 1)
	go func() {
		_, err := p.c.Propose(ctx, &metapb.Command{Session: []byte("s"), Sequence: 2})
		second <- err
	}()
	queued(1)
	for i := range uint64(10) {
		wg.Go(func() { ask(context.Background(), 3+i) })
	}
	queued(11)
	p.gate <- struct{}{} // the first ends, the second takes the others along
	<-first
	for range 11 {
		<-inCall
	}
	cancel()
	require.Equal(t, errs.IndeterminateResult, errs.KindOf(<-second), "at once")
	close(p.gate)
	wg.Wait()
	require.EqualValues(t, 12, p.m.proposed.Load(), "each was proposed once")
}

// TestASharedProposalInDoubt: the answer of a call is lost, so no one may hear that it surely was not proposed.
func TestASharedProposalInDoubt(t *testing.T) {
	p := newProposers(t)
	p.hang.Store(true)
	doubtful := 0
	for i, err := range p.shared() {
		if i > turnsMax {
			require.Equal(t, errs.IndeterminateResult, errs.KindOf(err), "command %d", i)
			doubtful++
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

// TestABrokenCallMayHaveRun, even if the peer was found to be another one since: that says nothing of a command that was sent before.
func TestABrokenCallMayHaveRun(t *testing.T) {
	m := &memCoordinator{}
	entered := make(chan struct{})
	m.propose = func(ctx context.Context, _ *metapb.Command) (*metapb.Result, error) {
		if m.proposed.Load() > 1 {
			return nil, errs.E("test", errs.NotProposed, "asked again")
		}
		close(entered)
		<-ctx.Done()
		return nil, errs.WrapKind("test", errs.IndeterminateResult, ctx.Err())
	}
	addr := serve(t, ServerConfig{Security: node(t, nil, "c1", coordinator)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
	pool := newPool(t, node(t, nil, "g1", gateway))
	conns, dial := make(chan net.Conn, 1), pool.dial
	pool.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := dial(ctx, addr)
		if err == nil {
			conns <- c
		}
		return c, err
	}
	c := NewCoordinatorClient(pool, CoordinatorConfig{AttemptMax: time.Minute}, addr)
	var wg sync.WaitGroup
	wg.Go(func() {
		<-entered
		peer, err := c.peer(addr)
		if err != nil {
			t.Error(err)
			return
		}
		refused := errs.E("test", errs.AccessDenied, "another cluster's")
		peer.refused.Store(&refused)
		if err := (<-conns).Close(); err != nil {
			t.Error(err)
		}
	})
	_, err := c.Propose(t.Context(), &metapb.Command{Session: []byte("s"), Sequence: 1})
	wg.Wait()
	require.Equal(t, errs.IndeterminateResult, errs.KindOf(err), "%v", err)
}

package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// companions make calls that share one, over whatever is shared.
type companions struct {
	t       *testing.T
	gate    chan struct{}
	running *atomic.Int64 // in the peer
	ran     *atomic.Int64 // ever began there
	queued  func() int
	calls   func() int // on their way by the client
	call    func(ctx context.Context, i int) error
}

// inPeer counts what runs there until the gate opens or the call ends.
func (c *companions) inPeer(ctx context.Context) error {
	c.ran.Add(1)
	c.running.Add(1)
	defer c.running.Add(-1)
	select {
	case <-c.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *companions) eventually(what string, is func() bool) {
	c.t.Helper()
	require.Eventually(c.t, is, time.Minute, time.Millisecond, what)
}

// withCompanions runs a test for each kind of call that is shared. c.call i=0 holds the turn until the gate lets it; those that follow gather.
func withCompanions(t *testing.T, test func(t *testing.T, c *companions)) {
	some := func(t *testing.T) *companions {
		return &companions{t: t, gate: make(chan struct{}), running: new(atomic.Int64), ran: new(atomic.Int64)}
	}
	count := func(mu *sync.Mutex, n func() int) func() int {
		return func() int { mu.Lock(); defer mu.Unlock(); return n() }
	}
	t.Run("prepares", func(t *testing.T) {
		c, p := some(t), newSmallPair(t)
		p.v.before = c.inPeer
		s := &p.c.small
		c.queued, c.calls = count(&s.mu, func() int { return len(s.queue) }), count(&s.mu, func() int { return s.calls })
		c.call = func(ctx context.Context, i int) error {
			_, err := p.c.Prepare(ctx, blobID(byte(i)), object.Epochs{}, cut(randomBytes(100)))
			return err
		}
		test(t, c)
	})
	t.Run("reads", func(t *testing.T) {
		c, r := some(t), newReaders(t)
		r.m.read = func(ctx context.Context, _ *metapb.Query) (*metapb.Answer, error) {
			return &metapb.Answer{}, c.inPeer(ctx)
		}
		s := &r.c.reads
		c.queued, c.calls = count(&s.mu, func() int { return len(s.queue) }), count(&s.mu, func() int { return s.calls })
		c.call = func(ctx context.Context, _ int) error {
			_, err := r.c.Read(ctx, bucketQuery("b"))
			return err
		}
		test(t, c)
	})
	t.Run("proposals", func(t *testing.T) {
		c, p := some(t), newProposers(t)
		p.m.propose = func(ctx context.Context, _ *metapb.Command) (*metapb.Result, error) {
			if err := c.inPeer(ctx); err != nil {
				return nil, errs.WrapKind("test", errs.IndeterminateResult, err)
			}
			return &metapb.Result{Index: 1}, nil
		}
		s := &p.c.proposals
		c.queued, c.calls = count(&s.mu, func() int { return len(s.queue) }), count(&s.mu, func() int { return s.calls })
		c.call = func(ctx context.Context, i int) error {
			_, err := p.c.Propose(ctx, &metapb.Command{Session: []byte("s"), Sequence: uint64(i) + 1})
			return err
		}
		test(t, c)
	})
}

// share has n companions in one call, the first of which leads it. It gives who ends them, and their ends.
func (c *companions) share(n int) (cancels []context.CancelFunc, ends []chan error) {
	c.t.Helper()
	before := make(chan error, 1)
	go func() { before <- c.call(context.Background(), 0) }()
	c.eventually("the first call", func() bool { return c.running.Load() == 1 })
	for i := range n {
		ctx, cancel := context.WithCancel(context.Background())
		end := make(chan error, 1)
		cancels, ends = append(cancels, cancel), append(ends, end)
		go func() { end <- c.call(ctx, i+1) }()
		c.eventually("it gathers", func() bool { return c.queued() == i+1 })
	}
	c.gate <- struct{}{}
	require.NoError(c.t, <-before)
	c.eventually("the shared call", func() bool { return c.running.Load() == int64(n) })
	return cancels, ends
}

// TestOneOfManyGoesAway, the one that leads or another: it does not wait, and the call of the others goes on; nothing is done twice.
func TestOneOfManyGoesAway(t *testing.T) {
	withCompanions(t, func(t *testing.T, c *companions) {
		const n = 10
		for round, who := range []int{0, 4, n - 1} {
			c.ran.Store(0)
			cancels, ends := c.share(n)
			cancels[who]()
			require.ErrorIs(t, <-ends[who], context.Canceled, "while the call is on its way")
			require.EqualValues(t, n, c.running.Load())
			for range n {
				c.gate <- struct{}{}
			}
			for i, end := range ends {
				if i != who {
					require.NoError(t, <-end, "%d, in round %d", i, round)
				}
				cancels[i]()
			}
			require.EqualValues(t, 1+n, c.ran.Load())
			require.Zero(t, c.calls())
		}
	})
}

// TestAllGoAway: what nobody waits for ends, at the peer too.
func TestAllGoAway(t *testing.T) {
	withCompanions(t, func(t *testing.T, c *companions) {
		cancels, ends := c.share(5)
		for i := range cancels {
			require.EqualValues(t, 5, c.running.Load())
			cancels[i]()
			require.ErrorIs(t, <-ends[i], context.Canceled)
		}
		c.eventually("nothing runs", func() bool { return c.running.Load() == 0 && c.calls() == 0 })
	})
}

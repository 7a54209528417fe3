package rpc

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// trio is three coordinators of which the one with number leads, 0 to 2, or none.
type trio struct {
	leads atomic.Int64
	terms [3]atomic.Uint64
	nodes [3]*memCoordinator
	addrs [3]string
	// hints says whether followers name the leader.
	hints bool
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	c := &trio{hints: true}
	for i := range c.nodes {
		m := &memCoordinator{}
		notLeading := func() error {
			if c.leads.Load() != int64(i) {
				return errs.E("test", errs.NotLeader, "%d does not lead", i)
			}
			return nil
		}
		m.propose = func(context.Context, *metapb.Command) (*metapb.Result, error) {
			return &metapb.Result{Index: uint64(i)}, notLeading()
		}
		m.read = func(context.Context, *metapb.Query) (*metapb.Answer, error) {
			return &metapb.Answer{Index: uint64(i)}, notLeading()
		}
		m.status = func() *coordpb.StatusReply {
			return &coordpb.StatusReply{Ready: notLeading() == nil, Term: c.terms[i].Load()}
		}
		m.leader = func() string {
			if l := c.leads.Load(); c.hints && l >= 0 {
				return c.addrs[l]
			}
			return ""
		}
		c.nodes[i] = m
		c.addrs[i] = serve(t, ServerConfig{Security: node(t, nil, "c", coordinator)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
	}
	return c
}

func (c *trio) client(t *testing.T, addrs ...string) *CoordinatorClient {
	t.Helper()
	if addrs == nil {
		addrs = c.addrs[:]
	}
	client := NewCoordinatorClient(newPool(t, node(t, nil, "g1", gateway|volume|coordinator)), CoordinatorConfig{AttemptMax: time.Minute}, addrs...)
	client.find.times = findTimes{time.Minute, time.Minute, time.Minute, time.Minute, time.Minute} // whoever lives answers, on a busy machine too
	return client
}

func TestTheLeaderIsFound(t *testing.T) {
	c := newTrio(t)
	client := c.client(t)
	ctx := context.Background()
	for _, hints := range []bool{true, false} {
		c.hints = hints
		for _, leads := range []int{2, 0, 1, 1, 2} {
			c.leads.Store(int64(leads))
			r, err := client.Propose(ctx, &metapb.Command{})
			require.NoError(t, err)
			require.Equal(t, uint64(leads), r.Index)
			a, err := client.Read(ctx, &metapb.Query{})
			require.NoError(t, err)
			require.Equal(t, uint64(leads), a.Index)
		}
	}
}

func TestNoLeader(t *testing.T) {
	c := newTrio(t)
	c.leads.Store(-1)
	client := c.client(t)
	_, err := client.Propose(context.Background(), &metapb.Command{})
	require.True(t, errs.Is(err, errs.NotLeader), "%v", err)
	_, err = client.Read(context.Background(), &metapb.Query{})
	require.True(t, errs.Is(err, errs.NotLeader), "%v", err)
}

func TestNoOneAnswers(t *testing.T) {
	c := newTrio(t)
	l := listen(t)
	dead := l.Addr().String()
	l.Close()
	for _, addrs := range [][]string{{dead}, {dead, dead}} {
		client := c.client(t, addrs...)
		_, err := client.Propose(context.Background(), &metapb.Command{})
		require.True(t, errs.Is(err, errs.NotProposed), "%v", err)
		_, err = client.Read(context.Background(), &metapb.Query{})
		require.True(t, errs.Is(err, errs.Unavailable), "%v", err)
	}
}

// TestOfTwoLeadersTheNewerIsAsked: an old leader in a minority still thinks that it leads.
func TestOfTwoLeadersTheNewerIsAsked(t *testing.T) {
	answers := make(chan foundStatus, 3)
	answers <- foundStatus{"old", &coordpb.StatusReply{Ready: true, Term: 4}, nil}
	answers <- foundStatus{"other", &coordpb.StatusReply{Term: 5}, nil}
	answers <- foundStatus{"new", &coordpb.StatusReply{Ready: true, Term: 5}, nil}
	leader, _, err := findUsually.pick(answers, make([]string, 3), map[string]uint64{})
	require.NoError(t, err)
	require.Equal(t, "new", leader)
}

// TestAFrozenCoordinatorDelaysLittle: it takes connections, as its kernel does, and never answers.
func TestAFrozenCoordinatorDelaysLittle(t *testing.T) {
	c := newTrio(t)
	c.leads.Store(1)
	frozen := listen(t)
	defer frozen.Close()
	const attempt = time.Second
	took := func(ask func() error) time.Duration {
		began := time.Now()
		err := ask()
		took := time.Since(began)
		if took < attempt { // else the machine may have stalled for as long as that
			require.NoError(t, err)
		}
		return took
	}
	read, proposal := time.Hour, time.Hour
	for i := 0; i < 20 && (read >= 2*time.Second || proposal >= 500*time.Millisecond); i++ { // on a busy machine one of several is quick
		client := c.client(t, frozen.Addr().String(), c.addrs[1], c.addrs[2])
		client.cfg.AttemptMax, client.find.times = attempt, findUsually
		client.find.hint("", frozen.Addr().String()) // it led until a moment ago
		read = min(read, took(func() error { _, err := client.Read(context.Background(), &metapb.Query{}); return err }))
		proposal = min(proposal, took(func() error { _, err := client.Propose(context.Background(), &metapb.Command{}); return err }))
	}
	require.Less(t, read, 2*time.Second)
	require.Less(t, proposal, 500*time.Millisecond)
}

// TestALostAnswerIsIndeterminate: the proposal arrived and the connection broke, or its time is over; it must not be proposed again from here.
func TestALostAnswerIsIndeterminate(t *testing.T) {
	for name, lost := range map[string]struct {
		most time.Duration // of an attempt
		end  func(ctx context.Context, conns *cutter)
	}{
		"broken": {time.Minute, func(ctx context.Context, conns *cutter) { conns.cut(); <-ctx.Done() }},
		"late":   {300 * time.Millisecond, func(ctx context.Context, _ *cutter) { <-ctx.Done() }},
	} {
		t.Run(name, func(t *testing.T) {
			conns := &cutter{}
			m := &memCoordinator{}
			var proposed [50]atomic.Int64 // by command
			m.propose = func(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
				proposed[c.Sequence].Add(1)
				lost.end(ctx, conns)
				return nil, ctx.Err()
			}
			addr := serve(t, ServerConfig{Security: node(t, nil, "c", coordinator)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
			p := newPool(t, node(t, nil, "g1", gateway))
			conns.wrap(p)
			client := NewCoordinatorClient(p, CoordinatorConfig{AttemptMax: lost.most}, addr, addr, addr)
			arrived := false
			for i := 0; i < len(proposed) && !arrived; i++ { // on a busy machine a short attempt may end before it has arrived
				_, err := client.Propose(context.Background(), &metapb.Command{Sequence: uint64(i)})
				require.Error(t, err)
				if arrived = proposed[i].Load() > 0; arrived {
					require.Equal(t, errs.IndeterminateResult, errs.KindOf(err), "%v", err)
				}
			}
			require.True(t, arrived)
			for i := range proposed {
				require.LessOrEqual(t, proposed[i].Load(), int64(1), "command %d", i)
			}
		})
	}
}

// toldOf are the kinds with which a coordinator may answer to a proposal, and those that are told of them: only a few say that nothing was
// proposed.
var toldOf = map[errs.Kind]errs.Kind{
	errs.NotLeader: errs.NotLeader, errs.NotProposed: errs.NotProposed, errs.StorageFull: errs.StorageFull,
	errs.Invalid: errs.Invalid, errs.LimitExceeded: errs.LimitExceeded, errs.Unsupported: errs.Unsupported,
	errs.IndeterminateResult: errs.IndeterminateResult,
	errs.Timeout:             errs.IndeterminateResult, // the handler's deadline is the caller's, and its answer may come first
	errs.Canceled:            errs.IndeterminateResult,
	errs.Unavailable:         errs.IndeterminateResult,
	errs.Other:               errs.IndeterminateResult, // of a handler that panicked
	errs.Conflict:            errs.IndeterminateResult, // no coordinator of ours says so
}

// TestAnAnswerThatLeavesItOpenIsIndeterminate, whatever its kind.
func TestAnAnswerThatLeavesItOpenIsIndeterminate(t *testing.T) {
	for kind, told := range toldOf {
		t.Run(kind.String(), func(t *testing.T) {
			m := &memCoordinator{}
			m.propose = func(context.Context, *metapb.Command) (*metapb.Result, error) { return nil, errs.E("test", kind, "no") }
			addr := serve(t, ServerConfig{Security: node(t, nil, "c", coordinator)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
			client := NewCoordinatorClient(newPool(t, node(t, nil, "g1", gateway)), CoordinatorConfig{AttemptMax: time.Minute}, addr)
			_, err := client.Propose(t.Context(), &metapb.Command{})
			require.Error(t, err)
			require.Equal(t, told, errs.KindOf(err), "%v", err)
		})
	}
}

func TestIdempotentCallsAreRepeatedOnce(t *testing.T) {
	conns := &cutter{}
	v := newMemVolume()
	addr := serve(t, ServerConfig{Security: node(t, nil, "v", volume)}, func(s *Server) { RegisterVolumes(s, v.local()) })
	p := newPool(t, node(t, nil, "g1", gateway))
	conns.wrap(p)
	c, err := NewVolumeClient(p, addr, "", VolumeRef{})
	require.NoError(t, err)
	n := 0
	v.before = func(ctx context.Context) error {
		if n++; n%2 == 1 {
			conns.cut()
			<-ctx.Done()
		}
		return ctx.Err()
	}
	_, err = c.Prepare(context.Background(), blobID(1), object.Epochs{}, [][]byte{{1, 2}})
	require.NoError(t, err)
	dst := make([]byte, 2)
	_, err = c.ReadAt(context.Background(), blobID(1), dst, 0)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2}, dst)
	require.NoError(t, c.Commit(context.Background(), blobID(1)))
	require.Equal(t, 6, n)

	broken := remote{kind: errs.Unavailable}
	require.True(t, worthAnother(context.Background(), methodRead, io.EOF, broken))
	require.False(t, worthAnother(context.Background(), methodPropose, io.EOF, broken))
	require.False(t, worthAnother(context.Background(), methodRead, io.EOF, remote{kind: errs.Unavailable, ran: true}))
}

// TestAPeerThatFailsIsLeftAloneAWhile and is found again when it is back.
func TestAPeerThatFailsIsLeftAloneAWhile(t *testing.T) {
	v := newMemVolume()
	addr := serve(t, ServerConfig{Security: node(t, nil, "v", volume)}, func(s *Server) { RegisterVolumes(s, v.local()) })
	p := newPool(t, node(t, nil, "g1", gateway))
	var back atomic.Bool
	dial := p.dial
	p.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		if !back.Load() {
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, addr)
	}
	c, err := NewVolumeClient(p, addr, "", VolumeRef{})
	require.NoError(t, err)
	now := time.Unix(0, 0)
	c.Peer().circuit.now = func() time.Time { return now }
	for range circuitFailures {
		_, err := c.Stats(context.Background())
		require.True(t, errs.Is(err, errs.Unavailable), "%v", err)
	}
	require.True(t, c.Peer().Open())
	back.Store(true)
	_, err = c.Stats(context.Background())
	require.ErrorContains(t, err, "of late")
	require.Eventually(t, func() bool { // gRPC connects again in its own time
		now = now.Add(circuitMax)
		_, err := c.Stats(context.Background())
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	require.False(t, c.Peer().Open())
}

func TestOtherCallsOfCoordinators(t *testing.T) {
	c := newTrio(t)
	client := c.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	states, err := client.RunStates(ctx, []object.RunBase{{1}, {2}})
	require.NoError(t, err)
	require.Len(t, states.States, 2)
	h, err := client.Heartbeat(ctx, &coordpb.HeartbeatRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 9, h.Epoch)
	j, err := client.Join(ctx, &coordpb.JoinRequest{})
	require.NoError(t, err)
	require.Equal(t, "c", j.Cluster)
	n, err := client.Nodes(ctx)
	require.NoError(t, err)
	require.Equal(t, "g1", n.Nodes[0].Node)
	require.NoError(t, client.Confirm(ctx, c.addrs[1], "incarnation", 4))
	s, err := client.StatusOf(ctx, c.addrs[2])
	require.NoError(t, err)
	require.Equal(t, c.addrs[0], s.LeaderAddress)
}

// TestAPanicEndsTheCallOnly and is told as an internal error.
func TestAPanicEndsTheCallOnly(t *testing.T) {
	m := &memCoordinator{}
	m.read = func(context.Context, *metapb.Query) (*metapb.Answer, error) { panic("oh") }
	addr := serve(t, ServerConfig{Security: node(t, nil, "c", coordinator)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
	client := NewCoordinatorClient(newPool(t, node(t, nil, "g1", gateway)), CoordinatorConfig{AttemptMax: time.Minute}, addr)
	_, err := client.Read(context.Background(), &metapb.Query{})
	require.True(t, errs.Is(err, errs.Other), "%v", err)
	_, err = client.Propose(context.Background(), &metapb.Command{})
	require.NoError(t, err)
}

// TestHandlersHaveDeadlines even if the caller sends none (R2).
func TestHandlersHaveDeadlines(t *testing.T) {
	m := &memCoordinator{}
	var left time.Duration
	m.read = func(ctx context.Context, _ *metapb.Query) (*metapb.Answer, error) {
		d, _ := ctx.Deadline()
		left = time.Until(d)
		return &metapb.Answer{}, nil
	}
	g := newGuarded(t, nil)
	g.co.read = m.read
	conn := stranger{cfg: node(t, nil, "g", gateway), proof: callProof{}}.dial(t, g.addr)
	require.NoError(t, conn.Invoke(context.Background(), methodRead, &metapb.Query{}, &metapb.Answer{}))
	require.Positive(t, left)
	require.LessOrEqual(t, left, rules[methodRead].timeout)
}

// TestStopIsBounded: a handler that runs on is told to end.
func TestStopIsBounded(t *testing.T) {
	entered := make(chan struct{})
	m := &memCoordinator{}
	m.read = func(ctx context.Context, _ *metapb.Query) (*metapb.Answer, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s, err := NewServer(ServerConfig{Security: node(t, nil, "c", coordinator)})
	require.NoError(t, err)
	RegisterCoordinator(s, m.local())
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	client := NewCoordinatorClient(newPool(t, node(t, nil, "g1", gateway)), CoordinatorConfig{AttemptMax: time.Minute}, l.Addr().String())
	read := make(chan error, 1)
	go func() { _, err := client.Read(context.Background(), &metapb.Query{}); read <- err }()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, s.Stop(ctx))
	require.NoError(t, <-done)
	require.Error(t, <-read)
}

// TestMembersAreLearned: a client that knows one coordinator finds the others, and a leader that joined later.
func TestMembersAreLearned(t *testing.T) {
	c := newTrio(t)
	for _, m := range c.nodes {
		status := m.status
		m.status = func() *coordpb.StatusReply {
			s := status()
			for _, a := range c.addrs {
				s.Servers = append(s.Servers, &coordpb.Server{Address: a})
			}
			return s
		}
	}
	client := c.client(t, c.addrs[0], c.addrs[0])
	_, err := client.Read(context.Background(), &metapb.Query{})
	require.NoError(t, err)
	require.Subset(t, client.Addresses(), c.addrs[:])
	client = c.client(t, c.addrs[0], c.addrs[0])
	c.leads.Store(2) // only the hint of a follower tells
	client.find.hint("", c.addrs[0])
	a, err := client.Read(context.Background(), &metapb.Query{})
	require.NoError(t, err)
	require.EqualValues(t, 2, a.Index)
}

// TestLargeAnswers: a page of 1,000 keys may carry kilobytes with each.
func TestLargeAnswers(t *testing.T) {
	m := &memCoordinator{}
	entries := make([]*metapb.ListEntry, 1000)
	for i := range entries {
		entries[i] = &metapb.ListEntry{Key: string(randomKey(1024)), Row: randomBytes(8 << 10)}
	}
	page := &metapb.Answer{A: &metapb.Answer_ListObjects{ListObjects: &metapb.ListObjectsAnswer{Entries: entries}}}
	m.read = func(context.Context, *metapb.Query) (*metapb.Answer, error) { return page, nil }
	addr := serve(t, ServerConfig{Security: node(t, nil, "c", coordinator)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
	client := NewCoordinatorClient(newPool(t, node(t, nil, "g1", gateway)), CoordinatorConfig{AttemptMax: time.Minute}, addr)
	a, err := client.Read(context.Background(), &metapb.Query{})
	require.NoError(t, err)
	require.True(t, proto.Equal(page, a))
}

func randomKey(n int) []byte {
	b := randomBytes(n)
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return b
}

// TestALeaderThatWasNotNamedIsFound: of those that we were told of, one follows and one is gone.
func TestALeaderThatWasNotNamedIsFound(t *testing.T) {
	c := newTrio(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := l.Addr().String()
	require.NoError(t, l.Close())
	client := c.client(t, c.addrs[0], gone)
	for _, leads := range []int{2, 1, 0, 2} {
		c.leads.Store(int64(leads))
		a, err := client.Read(t.Context(), &metapb.Query{})
		require.NoError(t, err)
		require.Equal(t, uint64(leads), a.Index)
	}
}

package raftnet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/rpc"
	"minikv/internal/rpc/secure"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var coordinators = certs.RolesOf(certs.Coordinator)

func security(t *testing.T, ca *certs.CA, name string, roles certs.Roles, secret string) *secure.Config {
	t.Helper()
	s, err := secure.NewSecret([]byte(secret))
	require.NoError(t, err)
	c := &secure.Config{Self: certs.Identity{Node: name, Roles: roles}, Secret: s}
	if ca == nil {
		return c
	}
	dir := t.TempDir()
	require.NoError(t, certs.SaveCA(dir, ca))
	p, err := ca.Issue(certs.Request{Identity: c.Self})
	require.NoError(t, err)
	require.NoError(t, certs.SaveNode(dir, name, p))
	cert, key := certs.NodeFiles(dir, name)
	c.TLS, err = secure.OpenSource(secure.Files{Cert: cert, Key: key, CA: filepath.Join(dir, certs.CACertFile)}, nil)
	require.NoError(t, err)
	return c
}

const secret = "a secret that all nodes know"

func newCA(t *testing.T) *certs.CA {
	t.Helper()
	ca, err := certs.NewCA("", time.Now(), 0)
	require.NoError(t, err)
	return ca
}

func newTransport(t *testing.T, s *secure.Config, incarnation raft.ServerID) *Transport {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr, err := New(l, Config{Security: s, Incarnation: incarnation, Timeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	return tr
}

// answer plays Raft's main loop until the test ends.
func answer(t *testing.T, tr *Transport) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case r := <-tr.Consumer():
				if r.Reader != nil {
					io.Copy(io.Discard, r.Reader)
					r.Respond(&raft.InstallSnapshotResponse{Term: 5, Success: true}, nil)
					continue
				}
				r.Respond(&raft.AppendEntriesResponse{Term: 5, Success: true}, nil)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
}

func bothWays(t *testing.T, run func(t *testing.T, ca *certs.CA)) {
	t.Run("plaintext", func(t *testing.T) { run(t, nil) })
	t.Run("tls", func(t *testing.T) { run(t, newCA(t)) })
}

func TestIncarnationsAreChecked(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *certs.CA) {
		a := newTransport(t, security(t, ca, "c1", coordinators, secret), "incarnation-a")
		b := newTransport(t, security(t, ca, "c2", coordinators, secret), "incarnation-b")
		answer(t, b)
		call := func(id raft.ServerID) error {
			var resp raft.AppendEntriesResponse
			err := a.AppendEntries(id, b.LocalAddr(), &raft.AppendEntriesRequest{Term: 1}, &resp)
			if err == nil {
				require.True(t, resp.Success)
			}
			return err
		}
		require.NoError(t, call("incarnation-b"))
		require.True(t, errs.Is(call("incarnation-of-old"), errs.Conflict), "%v", call("incarnation-of-old"))
		require.NoError(t, call("incarnation-b"), "its pooled connection is still good")
		require.Error(t, a.RequestVote("incarnation-of-old", b.LocalAddr(), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}))
		require.Error(t, a.RequestPreVote("incarnation-of-old", b.LocalAddr(), &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{}))
		require.Error(t, a.TimeoutNow("incarnation-of-old", b.LocalAddr(), &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{}))
		_, err := a.AppendEntriesPipeline("incarnation-of-old", b.LocalAddr())
		require.True(t, errs.Is(err, errs.Conflict), "%v", err)
		require.Error(t, a.InstallSnapshot("incarnation-of-old", b.LocalAddr(), &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, bytes.NewReader(nil)))

		big := make([]byte, 8<<20)
		var resp raft.InstallSnapshotResponse
		require.NoError(t, a.InstallSnapshot("incarnation-b", b.LocalAddr(), &raft.InstallSnapshotRequest{Size: int64(len(big))}, &resp, bytes.NewReader(big)))
		require.True(t, resp.Success)
	})
}

func TestStrangersAreRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *certs.CA) {
		b := newTransport(t, security(t, ca, "c2", coordinators, secret), "b")
		answer(t, b)
		strangers := map[string]*secure.Config{
			"another secret": security(t, ca, "c1", coordinators, "another secret, long enough"),
			"a gateway":      security(t, ca, "g1", certs.RolesOf(certs.Gateway), secret),
			"a volume":       security(t, ca, "v1", certs.RolesOf(certs.Volume), secret),
		}
		if ca != nil {
			strangers["another CA"] = security(t, newCA(t), "c1", coordinators, secret)
			strangers["no TLS"] = security(t, nil, "c1", coordinators, secret)
		}
		for name, s := range strangers {
			a := newTransport(t, s, "a")
			var resp raft.AppendEntriesResponse
			require.Error(t, a.AppendEntries("b", b.LocalAddr(), &raft.AppendEntriesRequest{}, &resp), name)
			require.False(t, resp.Success, name)
		}
	})
}

// TestHeartbeatsGoThroughTheMainLoop: the fast path would race with a change of term.
func TestHeartbeatsGoThroughTheMainLoop(t *testing.T) {
	a := newTransport(t, security(t, nil, "c1", coordinators, secret), "a")
	b := newTransport(t, security(t, nil, "c2", coordinators, secret), "b")
	b.SetHeartbeatHandler(func(r raft.RPC) { r.Respond(nil, fmt.Errorf("the fast path")) })
	answer(t, b)
	heartbeat := &raft.AppendEntriesRequest{Term: 1, RPCHeader: raft.RPCHeader{Addr: []byte("x"), ID: []byte("y")}}
	require.NoError(t, a.AppendEntries("b", b.LocalAddr(), heartbeat, &raft.AppendEntriesResponse{}))
	var _ raft.WithPreVote = a
}

// TestASilentConnectionDelaysNoOne: handshakes run beside each other.
func TestASilentConnectionDelaysNoOne(t *testing.T) {
	b := newTransport(t, security(t, nil, "c2", coordinators, secret), "b")
	answer(t, b)
	took := time.Hour
	for i := 0; i < 5 && took >= handshakeMax-time.Second; i++ { // on a busy machine one of several is quick
		for range handshakesMax / 2 {
			conn, err := net.Dial("tcp", string(b.LocalAddr()))
			require.NoError(t, err)
			defer conn.Close()
		}
		a := newTransport(t, security(t, nil, "c1", coordinators, secret), "a")
		began := time.Now()
		require.NoError(t, a.AppendEntries("b", b.LocalAddr(), &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}))
		took = time.Since(began)
	}
	require.Less(t, took, handshakeMax-time.Second, "as if after one that is silent")
}

func TestPlaintextOffLoopbackIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = New(l, Config{Security: security(t, nil, "c1", coordinators, secret), Incarnation: "a"})
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) Apply(*raft.Log) any                 { c.mu.Lock(); defer c.mu.Unlock(); c.n++; return c.n }
func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return nil, fmt.Errorf("none") }
func (c *counter) Restore(io.ReadCloser) error         { return nil }
func (c *counter) count() int                          { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

// TestThreeNodesElectAndReplicate with Raft itself on top, and survive the loss of their leader.
func TestThreeNodesElectAndReplicate(t *testing.T) {
	ca := newCA(t)
	type member struct {
		tr  *Transport
		r   *raft.Raft
		fsm *counter
	}
	var members []*member
	var conf raft.Configuration
	for i := range 3 {
		id := raft.ServerID(fmt.Sprintf("incarnation-%d", i))
		tr := newTransport(t, security(t, ca, fmt.Sprintf("c%d", i), coordinators, secret), id)
		members = append(members, &member{tr: tr, fsm: &counter{}})
		conf.Servers = append(conf.Servers, raft.Server{ID: id, Address: tr.LocalAddr()})
	}
	for i, m := range members {
		c := raft.DefaultConfig()
		c.LocalID = conf.Servers[i].ID
		c.Logger = hclog.NewNullLogger()
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
		store := raft.NewInmemStore()
		snaps := raft.NewInmemSnapshotStore()
		require.NoError(t, raft.BootstrapCluster(c, store, store, snaps, m.tr, conf))
		r, err := raft.NewRaft(c, m.fsm, store, store, snaps, m.tr)
		require.NoError(t, err)
		m.r = r
		t.Cleanup(func() { require.NoError(t, r.Shutdown().Error()) })
	}
	leader := func() *member {
		var l *member
		require.Eventually(t, func() bool {
			for _, m := range members {
				if m.r.State() == raft.Leader {
					l = m
				}
			}
			return l != nil
		}, time.Minute, 10*time.Millisecond)
		return l
	}
	apply := func() { // on a busy machine the lead may be lost, and what was lost with it may be applied or not
		for end := time.Now().Add(time.Minute); leader().r.Apply([]byte("x"), time.Second).Error() != nil; {
			require.True(t, time.Now().Before(end), "nothing is applied")
		}
	}
	for range 20 {
		apply()
	}
	for _, m := range members {
		require.Eventually(t, func() bool { return m.fsm.count() >= 20 && m.fsm.count() == members[0].fsm.count() }, time.Minute, 5*time.Millisecond)
	}
	l := leader()
	require.NoError(t, l.r.Shutdown().Error())
	require.NoError(t, l.tr.Close())
	require.NotSame(t, l, leader())
	apply()
}

type co struct{ rpc.Coordinator }

func (co) Read(context.Context, *metapb.Query) (*metapb.Answer, error) { return &metapb.Answer{}, nil }

func TestConfirmer(t *testing.T) {
	s, err := rpc.NewServer(rpc.ServerConfig{Security: security(t, nil, "c1", coordinators, secret)})
	require.NoError(t, err)
	rpc.RegisterCoordinator(s, rpc.LocalCoordinator{
		Coordinator: co{}, Status: func() *coordpb.StatusReply { return &coordpb.StatusReply{} },
		Confirm: func(incarnation string, term uint64) error {
			if incarnation != "a" || term != 4 {
				return errs.E("test", errs.NotLeader, "%s %d", incarnation, term)
			}
			return nil
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	p, err := rpc.NewPool(security(t, nil, "c2", coordinators, secret))
	require.NoError(t, err)
	c := Confirmer{
		Client:  rpc.NewCoordinatorClient(p, rpc.CoordinatorConfig{}),
		Address: func(raft.Server) (string, error) { return l.Addr().String(), nil },
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, c.Confirm(ctx, raft.Server{ID: "a"}, 4))
	require.Error(t, c.Confirm(ctx, raft.Server{ID: "a"}, 5))
	require.Error(t, c.Confirm(ctx, raft.Server{ID: "b"}, 4))
	require.NoError(t, p.Close())
	require.NoError(t, s.Stop(ctx))
	require.NoError(t, <-done)
}

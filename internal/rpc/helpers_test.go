package rpc

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/ops"
	"minikv/internal/rpc/secure"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
	"minikv/proto/volumepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCA issues certificates for tests.
type testCA struct {
	dir string
	ca  *certs.CA
}

func newTestCA(t testing.TB) *testCA {
	t.Helper()
	ca, err := certs.NewCA("test", time.Now(), 0)
	require.NoError(t, err)
	c := &testCA{dir: t.TempDir(), ca: ca}
	require.NoError(t, certs.SaveCA(c.dir, ca))
	return c
}

// source makes a node's certificate and opens it; peers are checked against trust's CA.
func (c *testCA) source(t testing.TB, id certs.Identity, trust *testCA) *secure.Source {
	t.Helper()
	pair, err := c.ca.Issue(certs.Request{Identity: id})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, certs.SaveNode(dir, id.Node, pair))
	cert, key := certs.NodeFiles(dir, id.Node)
	s, err := secure.OpenSource(secure.Files{Cert: cert, Key: key, CA: filepath.Join(trust.dir, certs.CACertFile)}, nil)
	require.NoError(t, err)
	return s
}

func secretOf(t testing.TB, text string) secure.Secret {
	t.Helper()
	s, err := secure.NewSecret([]byte(text))
	require.NoError(t, err)
	return s
}

const goodSecret = "a secret that all nodes know"

// node is a node's security, with TLS if ca is set.
func node(t testing.TB, ca *testCA, name string, roles certs.Roles) *secure.Config {
	t.Helper()
	id := certs.Identity{Node: name, Roles: roles}
	c := &secure.Config{Self: id, Secret: secretOf(t, goodSecret)}
	if ca != nil {
		c.TLS = ca.source(t, id, ca)
	}
	return c
}

// serve starts a server with what register adds and gives its address.
func serve(t testing.TB, cfg ServerConfig, register func(*Server)) string {
	t.Helper()
	s, err := NewServer(cfg)
	require.NoError(t, err)
	register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(l) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
		wg.Wait()
	})
	return l.Addr().String()
}

func newPool(t testing.TB, cfg *secure.Config) *Pool {
	t.Helper()
	p, err := NewPool(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// memVolume is a volume in memory.
type memVolume struct {
	mu    sync.Mutex
	blobs map[object.BlobID][]byte
	infos map[object.BlobID]object.BlobInfo
	calls atomic.Int64
	// before runs at the start of each call, if set.
	before func(ctx context.Context) error
	refuse map[object.BlobID]error // prepares of these
}

func newMemVolume() *memVolume {
	return &memVolume{blobs: map[object.BlobID][]byte{}, infos: map[object.BlobID]object.BlobInfo{}}
}

func (v *memVolume) enter(ctx context.Context) error {
	v.calls.Add(1)
	v.mu.Lock()
	before := v.before
	v.mu.Unlock()
	if before != nil {
		return before(ctx)
	}
	return ctx.Err()
}

func (v *memVolume) Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (bool, error) {
	if err := v.enter(ctx); err != nil {
		return false, err
	}
	var all []byte
	for _, b := range data {
		all = append(all, b...)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.refuse[id]; err != nil {
		return false, err
	}
	v.blobs[id] = all
	v.infos[id] = object.BlobInfo{ID: id, Length: int64(len(all)), State: object.BlobPrepared, Epochs: ep}
	return true, nil
}

func (v *memVolume) ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	if err := v.enter(ctx); err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	b, ok := v.blobs[id]
	if !ok {
		return 0, errs.E("mem.ReadAt", errs.BlobMissing, "blob %s is not here", id)
	}
	if off >= int64(len(b)) {
		return 0, nil
	}
	return copy(dst, b[off:]), nil
}

func (v *memVolume) mark(ctx context.Context, s object.BlobState, ids []object.BlobID) error {
	if err := v.enter(ctx); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		in, ok := v.infos[id]
		if !ok {
			return errs.E("mem.mark", errs.BlobMissing, "blob %s is not here", id)
		}
		in.State = s
		v.infos[id] = in
	}
	return nil
}

func (v *memVolume) Commit(ctx context.Context, ids ...object.BlobID) error {
	return v.mark(ctx, object.BlobCommitted, ids)
}

func (v *memVolume) Abort(ctx context.Context, ids ...object.BlobID) error {
	return v.mark(ctx, object.BlobAborted, ids)
}

func (v *memVolume) Delete(ctx context.Context, ids ...object.BlobID) error {
	if err := v.enter(ctx); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		delete(v.blobs, id)
		delete(v.infos, id)
	}
	return nil
}

func (v *memVolume) Stat(id object.BlobID) (object.BlobInfo, error) {
	v.calls.Add(1)
	v.mu.Lock()
	defer v.mu.Unlock()
	in, ok := v.infos[id]
	if !ok {
		return in, errs.E("mem.Stat", errs.BlobMissing, "blob %s is not here", id)
	}
	return in, nil
}

func (v *memVolume) List(object.BlobID, int) ([]object.BlobInfo, error) {
	v.calls.Add(1)
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []object.BlobInfo
	for _, in := range v.infos {
		out = append(out, in)
	}
	return out, nil
}

func (v *memVolume) ListShard(_, _ int, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	return v.List(after, limit)
}

func (v *memVolume) Fence(ctx context.Context, _, _ uint32, _ uint64) error { return v.enter(ctx) }

func (v *memVolume) ListPrepared(after object.BlobID, limit int, below uint64) ([]object.BlobInfo, error) {
	var out []object.BlobInfo
	all, err := v.List(after, limit)
	for _, in := range all {
		if in.State == object.BlobPrepared && in.Epochs.Cluster < below {
			out = append(out, in)
		}
	}
	return out, err
}

// memCoordinator answers as its functions say.
type memCoordinator struct {
	calls    atomic.Int64
	propose  func(ctx context.Context, c *metapb.Command) (*metapb.Result, error)
	read     func(ctx context.Context, q *metapb.Query) (*metapb.Answer, error)
	status   func() *coordpb.StatusReply
	leader   func() string
	proposed atomic.Int64
	operate  func(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error)
}

func (m *memCoordinator) Operate(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	m.calls.Add(1)
	return m.operate(ctx, op, request, sink)
}

func (m *memCoordinator) Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	m.calls.Add(1)
	m.proposed.Add(1)
	if m.propose == nil {
		return &metapb.Result{Index: 7}, nil
	}
	return m.propose(ctx, c)
}

func (m *memCoordinator) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	m.calls.Add(1)
	if m.read == nil {
		return &metapb.Answer{Index: 7}, nil
	}
	return m.read(ctx, q)
}

func (m *memCoordinator) RunStates(_ context.Context, bases []object.RunBase) (*metapb.RunStatesAnswer, error) {
	m.calls.Add(1)
	return &metapb.RunStatesAnswer{States: make([]*metapb.RunState, len(bases)), Horizon: 3}, nil
}

func (m *memCoordinator) Join(context.Context, *coordpb.JoinRequest) (*coordpb.JoinReply, error) {
	m.calls.Add(1)
	return &coordpb.JoinReply{Cluster: "c"}, nil
}

func (m *memCoordinator) Heartbeat(context.Context, *coordpb.HeartbeatRequest) (*coordpb.HeartbeatReply, error) {
	m.calls.Add(1)
	return &coordpb.HeartbeatReply{Epoch: 9}, nil
}

func (m *memCoordinator) Nodes(context.Context) (*coordpb.NodesReply, error) {
	m.calls.Add(1)
	return &coordpb.NodesReply{Nodes: []*coordpb.KnownNode{{Node: "g1"}}}, nil
}

func (m *memCoordinator) Report(_ context.Context, r *coordpb.ReportRequest) (*coordpb.ReportReply, error) {
	m.calls.Add(1)
	return &coordpb.ReportReply{Taken: uint32(len(r.Suspects))}, nil
}

func (m *memCoordinator) local() LocalCoordinator {
	return LocalCoordinator{
		Coordinator: m, Members: m, Reports: m, Admin: m,
		Status: func() *coordpb.StatusReply {
			m.calls.Add(1)
			if m.status == nil {
				return &coordpb.StatusReply{Ready: true, Term: 1}
			}
			return m.status()
		},
		Confirm: func(string, uint64) error { m.calls.Add(1); return nil },
		Leader: func() string {
			if m.leader == nil {
				return ""
			}
			return m.leader()
		},
	}
}

func (v *memVolume) local() LocalVolume {
	return LocalVolume{Volume: v, Care: v, Number: func() uint32 { return 1 }, Incarnation: "aa", Stats: func() *volumepb.StatsReply {
		v.calls.Add(1)
		return &volumepb.StatsReply{Blobs: 5}
	}}
}

// blobID is an id of its own for each n.
func blobID(n byte) object.BlobID { return object.NewRunBase(0, [12]byte{n}).Blob(uint32(n)) }

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func tcpPair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l := listen(t)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	return server, client
}

func insecureCreds() credentials.TransportCredentials { return insecure.NewCredentials() }

// clientTLS is a node's own certificate in a configuration that trusts anyone; nil without a CA.
func clientTLS(t testing.TB, ca *testCA) *tls.Config {
	t.Helper()
	if ca == nil {
		return nil
	}
	pair, err := ca.ca.Issue(certs.Request{Identity: certs.Identity{Node: "x", Roles: certs.AllRoles}})
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"h2"}}
}

// cutter breaks the connections that a pool has made.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) wrap(p *Pool) {
	dial := p.dial
	p.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		if err == nil {
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
		}
		return conn, err
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

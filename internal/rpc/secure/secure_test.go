package secure

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"minikv/internal/certs"
	"minikv/internal/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodSecret = "a secret that all nodes know"

func secretOf(t *testing.T, text string) Secret {
	t.Helper()
	s, err := NewSecret([]byte(text))
	require.NoError(t, err)
	return s
}

type testCA struct {
	*certs.CA
	dir string
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	ca, err := certs.NewCA("", time.Now(), 0)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, certs.SaveCA(dir, ca))
	return &testCA{ca, dir}
}

// files issues a certificate into its own folder.
func (ca *testCA) files(t *testing.T, r certs.Request) Files {
	t.Helper()
	p, err := ca.Issue(r)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, certs.SaveNode(dir, r.Node, p))
	cert, key := certs.NodeFiles(dir, r.Node)
	return Files{Cert: cert, Key: key, CA: filepath.Join(ca.dir, certs.CACertFile)}
}

func (ca *testCA) node(t *testing.T, name string, roles certs.Roles) *Config {
	t.Helper()
	id := certs.Identity{Node: name, Roles: roles}
	c := &Config{Self: id, Secret: secretOf(t, goodSecret)}
	if ca != nil {
		s, err := OpenSource(ca.files(t, certs.Request{Identity: id}), nil)
		require.NoError(t, err)
		c.TLS = s
	}
	return c
}

type end struct {
	conn    net.Conn
	session *Session
	err     error
}

func tcpPair(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// shake lets both ends shake hands over TCP.
func shake(t *testing.T, server, client *Config, p Protocol, a Accept, e Expect) (s, c end) {
	t.Helper()
	sc, cc := tcpPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan end)
	go func() {
		conn, session, err := server.Server(ctx, sc, p, a)
		done <- end{conn, session, err}
	}()
	c.conn, c.session, c.err = client.Client(ctx, cc, p, e)
	return <-done, c
}

func bothWays(t *testing.T, run func(t *testing.T, ca *testCA)) {
	t.Run("plaintext", func(t *testing.T) { run(t, nil) })
	t.Run("tls", func(t *testing.T) { run(t, newTestCA(t)) })
}

func TestHandshake(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		server, client := ca.node(t, "c1", certs.RolesOf(certs.Coordinator)), ca.node(t, "g1", certs.RolesOf(certs.Gateway, certs.Volume))
		for _, p := range []Protocol{GRPC, Raft} {
			s, c := shake(t, server, client, p, Accept{Incarnation: "abc"}, Expect{Target: "abc"})
			require.NoError(t, s.err)
			require.NoError(t, c.err)
			require.Equal(t, client.Self, s.session.Peer)
			require.Equal(t, ca != nil, s.session.TLS)
			require.True(t, c.session.Proved)
			require.Equal(t, p == Raft, s.session.Proved)
			require.True(t, s.session.CheckCall("/a/b", c.session.CallProof("/a/b")))
			require.False(t, s.session.CheckCall("/a/c", c.session.CallProof("/a/b")))
			require.False(t, s.session.CheckCall("/a/b", nil))

			go c.conn.Write([]byte("hi")) // and the connection can be used
			b := make([]byte, 2)
			_, err := io.ReadFull(s.conn, b)
			require.NoError(t, err)
			require.Equal(t, "hi", string(b))
		}
	})
}

func TestProofsAreOfOneConnection(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		n := ca.node(t, "n", certs.AllRoles)
		s1, c1 := shake(t, n, n, GRPC, Accept{}, Expect{})
		s2, c2 := shake(t, n, n, GRPC, Accept{}, Expect{})
		require.True(t, s1.session.CheckCall("/m", c1.session.CallProof("/m")))
		require.False(t, s1.session.CheckCall("/m", c2.session.CallProof("/m")))
		require.False(t, s2.session.CheckCall("/m", c1.session.CallProof("/m")))
	})
}

func TestHandshakeRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		coordinators := certs.RolesOf(certs.Coordinator)
		server, client := ca.node(t, "c1", coordinators), ca.node(t, "c2", coordinators)
		with := func(c *Config, change func(c *Config)) *Config { d := *c; change(&d); return &d }
		other := with(client, func(c *Config) { c.Secret = secretOf(t, "another secret, long enough") })
		renamed := with(client, func(c *Config) { c.Self.Node = "c3" })
		cases := []struct {
			name   string
			client *Config
			accept Accept
			expect Expect
			kind   errs.Kind
			onlyIn string
		}{
			{name: "another secret", client: other, kind: errs.AccessDenied},
			{name: "wrong role", client: ca.node(t, "v1", certs.RolesOf(certs.Volume)), accept: Accept{Roles: coordinators}},
			{name: "another incarnation", client: client, accept: Accept{Incarnation: "new"}, expect: Expect{Target: "old"}, kind: errs.Conflict},
			{name: "no incarnation", client: client, accept: Accept{Incarnation: "new", NeedTarget: true}, kind: errs.Conflict},
			{name: "another name than the certificate's", client: renamed, onlyIn: "tls"},
			{name: "the server has none of the roles", client: client, expect: Expect{Roles: certs.RolesOf(certs.Volume)}, kind: errs.AccessDenied, onlyIn: "tls"},
			{name: "another node", client: client, expect: Expect{Node: "c9"}, kind: errs.AccessDenied, onlyIn: "tls"},
			{name: "no TLS", client: with(client, func(c *Config) { c.TLS = nil }), onlyIn: "tls"},
		}
		if ca != nil {
			stranger := newTestCA(t)
			f := stranger.files(t, certs.Request{Identity: client.Self})
			f.CA = filepath.Join(ca.dir, certs.CACertFile)
			old := ca.files(t, certs.Request{Identity: client.Self, Now: time.Now().Add(-48 * time.Hour), Validity: 24 * time.Hour})
			for name, files := range map[string]Files{"a certificate of another CA": f, "an expired certificate": old} {
				src, err := OpenSource(files, nil)
				require.NoError(t, err)
				cases = append(cases, struct {
					name   string
					client *Config
					accept Accept
					expect Expect
					kind   errs.Kind
					onlyIn string
				}{name: name, client: with(client, func(c *Config) { c.TLS = src }), kind: errs.AccessDenied})
			}
		}
		for _, x := range cases {
			if x.onlyIn == "tls" && ca == nil {
				continue
			}
			t.Run(x.name, func(t *testing.T) {
				s, c := shake(t, server, x.client, Raft, x.accept, x.expect)
				require.Error(t, s.err)
				require.Error(t, c.err)
				require.Nil(t, s.session)
				require.Nil(t, c.session)
				if x.kind != errs.Other {
					require.True(t, errs.Is(c.err, x.kind), "%v", c.err)
				}
			})
		}
		t.Run("the port of another protocol", func(t *testing.T) {
			sc, cc := tcpPair(t)
			done := make(chan error)
			go func() { _, _, err := server.Server(context.Background(), sc, GRPC, Accept{}); done <- err }()
			_, _, err := client.Client(context.Background(), cc, Raft, Expect{})
			require.Error(t, err)
			require.True(t, errs.Is(<-done, errs.AccessDenied))
		})
	})
}

// TestReplay: what a client said once, said again, proves nothing.
func TestReplay(t *testing.T) {
	n := (*testCA)(nil).node(t, "n", certs.AllRoles)
	sc, cc := tcpPair(t)
	var said bytes.Buffer
	go n.Server(context.Background(), sc, Raft, Accept{})
	_, _, err := n.Client(context.Background(), recorder{cc, &said}, Raft, Expect{})
	require.NoError(t, err)

	sc, cc = tcpPair(t)
	done := make(chan error)
	go func() { _, _, err := n.Server(context.Background(), sc, Raft, Accept{}); done <- err }()
	_, err = cc.Write(said.Bytes())
	require.NoError(t, err)
	require.True(t, errs.Is(<-done, errs.AccessDenied))
}

type recorder struct {
	net.Conn
	w io.Writer
}

func (r recorder) Write(b []byte) (int, error) {
	r.w.Write(b)
	return r.Conn.Write(b)
}

// TestSilence: who says nothing holds nothing for longer than the context lasts.
func TestSilence(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		n := ca.node(t, "n", certs.AllRoles)
		for name, run := range map[string]func(ctx context.Context, conn net.Conn) error{
			"server": func(ctx context.Context, conn net.Conn) error {
				_, _, err := n.Server(ctx, conn, GRPC, Accept{})
				return err
			},
			"client": func(ctx context.Context, conn net.Conn) error {
				_, _, err := n.Client(ctx, conn, GRPC, Expect{})
				return err
			},
		} {
			sc, _ := tcpPair(t)
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			require.Error(t, run(ctx, sc), name)
			_, err := sc.Write([]byte{1})
			require.ErrorIs(t, err, net.ErrClosed)
			cancel()
		}
	})
}

func FuzzServerHello(f *testing.F) {
	secret, _ := NewSecret([]byte(goodSecret))
	n := &Config{Self: certs.Identity{Node: "n", Roles: certs.AllRoles}, Secret: secret}
	hello, _ := n.clientHello(GRPC, "t")
	f.Add(hello)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		conn := fakeConn{r: bytes.NewReader(b)}
		_, s, err := n.Server(context.Background(), conn, GRPC, Accept{})
		if err == nil && (s.Proved || s.CheckCall("/m", nil) || certs.CheckNode(s.Peer.Node) != nil || !s.Peer.Roles.Valid()) {
			t.Fatalf("%+v", s)
		}
	})
}

// fakeConn says what r says and swallows what is written.
type fakeConn struct {
	net.Conn
	r io.Reader
}

func (c fakeConn) Read(b []byte) (int, error)    { return c.r.Read(b) }
func (fakeConn) Write(b []byte) (int, error)     { return len(b), nil }
func (fakeConn) Close() error                    { return nil }
func (fakeConn) SetDeadline(time.Time) error     { return nil }
func (fakeConn) SetReadDeadline(time.Time) error { return nil }
func (fakeConn) LocalAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (fakeConn) RemoteAddr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

type farConn struct{ fakeConn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)} }

func TestPlaintextOffLoopbackIsRefused(t *testing.T) {
	n := (*testCA)(nil).node(t, "n", certs.AllRoles)
	hello, err := n.clientHello(GRPC, "")
	require.NoError(t, err)
	far := func() net.Conn { return farConn{fakeConn{r: bytes.NewReader(hello)}} }
	_, _, err = n.Server(context.Background(), far(), GRPC, Accept{})
	require.True(t, errs.Is(err, errs.AccessDenied), "%v", err)
	_, _, err = n.Client(context.Background(), far(), GRPC, Expect{})
	require.True(t, errs.Is(err, errs.AccessDenied), "%v", err)
	n.AllowPlaintext = true
	_, _, err = n.Server(context.Background(), far(), GRPC, Accept{})
	require.NoError(t, err)
}

func TestSecretsStaySecret(t *testing.T) {
	_, err := NewSecret([]byte("short"))
	require.True(t, errs.Is(err, errs.Invalid))
	require.NotContains(t, err.Error(), "short")
	n := (*testCA)(nil).node(t, "n", certs.AllRoles)
	j, err := json.Marshal(n)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprint(n.Secret), fmt.Sprintf("%+v %#v %x %s", n.Secret, n.Secret, n.Secret, n.Secret), fmt.Sprintf("%+v", *n), string(j)} {
		require.NotContains(t, text, goodSecret)
		require.NotContains(t, text, fmt.Sprintf("%x", n.Secret.master))
		require.NotContains(t, text, strings.Trim(fmt.Sprint(n.Secret.master), "[]"))
	}
}

// TestReload: changed files are in force for the next connection; broken ones are not, and are told.
func TestReload(t *testing.T) {
	ca := newTestCA(t)
	id := certs.Identity{Node: "n1", Roles: certs.RolesOf(certs.Volume)}
	files := ca.files(t, certs.Request{Identity: id})
	var told error
	s, err := OpenSource(files, func(err error) { told = err })
	require.NoError(t, err)
	now := time.Now()
	s.now = func() time.Time { return now }
	require.Equal(t, id, s.Identity())

	more := certs.Identity{Node: "n1", Roles: certs.AllRoles}
	p, err := ca.Issue(certs.Request{Identity: more})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files.Cert, p.Cert, 0o600)) // the key does not fit yet
	require.NoError(t, os.Chtimes(files.Cert, now, now.Add(time.Hour)))
	require.Equal(t, id, s.Identity(), "not looked at again so soon")
	now = now.Add(reloadEvery)
	require.Equal(t, id, s.Identity())
	require.Error(t, told)
	told = nil
	require.NoError(t, os.WriteFile(files.Key, p.Key, 0o600))
	now = now.Add(reloadEvery)
	require.Equal(t, more, s.Identity())
	require.NoError(t, told)

	// A certificate of another node is not ours, and that is told once.
	stranger, err := ca.Issue(certs.Request{Identity: certs.Identity{Node: "n9", Roles: certs.AllRoles}})
	require.NoError(t, err)
	for i, f := range []struct {
		name string
		b    []byte
	}{{files.Key, stranger.Key}, {files.Cert, stranger.Cert}} {
		require.NoError(t, os.WriteFile(f.name, f.b, 0o600))
		require.NoError(t, os.Chtimes(f.name, now, now.Add(time.Duration(2+i)*time.Hour)))
	}
	now = now.Add(reloadEvery)
	require.Equal(t, more, s.Identity())
	require.ErrorContains(t, told, "n9")
	told = nil
	now = now.Add(reloadEvery)
	require.Equal(t, more, s.Identity())
	require.NoError(t, told)
	require.NoError(t, os.WriteFile(files.Cert, p.Cert, 0o600))
	require.NoError(t, os.WriteFile(files.Key, p.Key, 0o600))
	now = now.Add(reloadEvery)
	require.Equal(t, more, s.Identity())

	// A new CA shuts out what the old one signed.
	n := &Config{Self: more, Secret: secretOf(t, goodSecret), TLS: s}
	peer := ca.node(t, "n2", certs.AllRoles)
	sv, c := shake(t, n, peer, GRPC, Accept{}, Expect{})
	require.NoError(t, errors.Join(sv.err, c.err))
	other := newTestCA(t)
	b, err := os.ReadFile(filepath.Join(other.dir, certs.CACertFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files.CA, b, 0o600))
	require.NoError(t, os.Chtimes(files.CA, now, now.Add(time.Hour)))
	now = now.Add(reloadEvery)
	sv, _ = shake(t, n, peer, GRPC, Accept{}, Expect{})
	require.True(t, errs.Is(sv.err, errs.AccessDenied), "%v", sv.err)
}

// TestAnImpostorIsNotBelieved: a server that does not know the secret, for protocols in which the client proves nothing yet.
func TestAnImpostorIsNotBelieved(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		server, client := ca.node(t, "s", certs.AllRoles), ca.node(t, "c", certs.AllRoles)
		server.Secret = secretOf(t, "another secret, long enough")
		_, c := shake(t, server, client, GRPC, Accept{}, Expect{})
		require.True(t, errs.Is(c.err, errs.AccessDenied), "%v", c.err)
	})
}

// TestARelayIsNotBelieved: a node with a good certificate but without the secret stands between two that know it, and passes on
// what both say. Their proofs are bound to two different TLS connections.
func TestARelayIsNotBelieved(t *testing.T) {
	ca := newTestCA(t)
	server, client, middle := ca.node(t, "s", certs.AllRoles), ca.node(t, "c", certs.AllRoles), ca.node(t, "m", certs.AllRoles)
	toServer, fromMiddle := tcpPair(t)
	toMiddle, fromClient := tcpPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	var peers [2]certs.Identity
	in := tls.Server(toMiddle, middle.TLS.serverConfig(&peers[0], GRPC, 0))
	out := tls.Client(fromMiddle, middle.TLS.clientConfig(GRPC, Expect{}, &peers[1]))
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(out, in); out.Close() })
	wg.Go(func() { io.Copy(in, out); in.Close() })
	wg.Go(func() {
		server.Server(ctx, toServer, GRPC, Accept{})
		toServer.Close()
	})
	client.Self.Node = "m" // what the server will find in the certificate
	_, _, err := client.Client(ctx, fromClient, GRPC, Expect{})
	require.True(t, errs.Is(err, errs.AccessDenied), "%v", err)
	require.ErrorContains(t, err, "another cluster secret")
	wg.Wait()
}

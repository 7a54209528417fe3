package secure

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"time"

	"minikv/internal/certs"
	"minikv/internal/errs"
)

// Protocol is what a connection is for; it separates the ports from each other.
type Protocol uint8

// The protocols.
const (
	GRPC Protocol = 1
	Raft Protocol = 2
	Data Protocol = 4 // blobs, on the port of GRPC; 3 was one of development whose sums covered less
)

func (p Protocol) alpn() string {
	switch p {
	case Raft:
		return "minikv-raft"
	case Data:
		return "minikv-blobs"
	}
	return "h2"
}

// alone says that the secret is proved once, when the connection begins; on GRPC each call proves it.
func (p Protocol) alone() bool { return p != GRPC }

// Bytes of the hellos.
const (
	helloMagic     = "mkvhello"
	helloVersion   = 1
	nonceLen       = 32
	proofLen       = sha256.Size
	clientHelloLen = 16 + nonceLen // without node and target
	serverHelloLen = 16 + nonceLen + proofLen
	targetMax      = 255
)

// Verdicts of a server.
const (
	verdictOK     = 0
	verdictTarget = 1 // another incarnation than the one meant
	verdictProof  = 2 // the client's proof is wrong
)

// Config is one node's side of all handshakes. A zero TLS means plaintext.
type Config struct {
	Self   certs.Identity
	Secret Secret
	TLS    *Source
	// AllowPlaintext permits connections without TLS beyond loopback.
	AllowPlaintext bool
}

// Check refuses a configuration that could not protect anything.
func (c *Config) Check() error {
	const op = "secure.Check"
	if !c.Secret.set() {
		return errs.E(op, errs.Invalid, "no cluster secret")
	}
	if !c.Self.Roles.Valid() {
		return errs.E(op, errs.Invalid, "a node needs at least one role")
	}
	return errs.Wrap(op, certs.CheckNode(c.Self.Node))
}

// CheckListener refuses, with errs.Invalid, an address off loopback that would be served without TLS unasked.
func (c *Config) CheckListener(a net.Addr) error {
	if c.TLS != nil || c.AllowPlaintext || loopback(a) {
		return nil
	}
	return errs.E("secure.CheckListener", errs.Invalid, "%s can be reached from other machines: it needs TLS, or the setting that allows plaintext", a)
}

// plaintextOK says whether plaintext may be spoken over conn.
func (c *Config) plaintextOK(conn net.Conn) bool {
	return c.AllowPlaintext || (loopback(conn.LocalAddr()) && loopback(conn.RemoteAddr()))
}

func loopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return a != nil && a.Network() == "pipe" // net.Pipe
}

// Expect is whom a client means to reach. Empty fields are not checked; without TLS only Target is.
type Expect struct {
	Roles  certs.Roles // any of them
	Node   string
	Target string // incarnation that must answer
}

// Client does the client's side over conn, which it closes on failure. errs.AccessDenied: one end does not trust the other;
// errs.Conflict: another incarnation lives there; errs.Unavailable: the connection broke.
func (c *Config) Client(ctx context.Context, conn net.Conn, p Protocol, e Expect) (_ net.Conn, _ *Session, err error) {
	const op = "secure.Client"
	defer guard(ctx, conn, &err)()
	s := &Session{}
	out := conn
	var exported []byte
	if c.TLS != nil {
		t := tls.Client(conn, c.TLS.clientConfig(p, e, &s.Peer))
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, nil, refusal(op, err)
		}
		if exported, err = export(t); err != nil {
			return nil, nil, errs.Wrap(op, err)
		}
		s.TLS, out = true, t
	} else if !c.plaintextOK(conn) {
		return nil, nil, errs.E(op, errs.AccessDenied, "plaintext to %s is not allowed", conn.RemoteAddr())
	}
	hello, err := c.clientHello(p, e.Target)
	if err != nil {
		return nil, nil, errs.Wrap(op, err)
	}
	if _, err := out.Write(hello); err != nil {
		return nil, nil, refusal(op, err)
	}
	answer := make([]byte, serverHelloLen)
	if _, err := io.ReadFull(out, answer); err != nil {
		return nil, nil, refusal(op, err)
	}
	if err := s.checkServer(c, hello, answer, exported); err != nil {
		return nil, nil, err
	}
	if p.alone() {
		if err := s.proveOnce(out); err != nil {
			return nil, nil, err
		}
	}
	return out, s, nil
}

func (c *Config) clientHello(p Protocol, target string) ([]byte, error) {
	if len(target) > targetMax {
		return nil, errs.E("secure.Client", errs.Invalid, "the incarnation has %d bytes", len(target))
	}
	b := make([]byte, clientHelloLen, clientHelloLen+len(c.Self.Node)+len(target))
	copy(b, helloMagic)
	b[8], b[9], b[10], b[11], b[12] = helloVersion, byte(p), byte(c.Self.Roles), byte(len(c.Self.Node)), byte(len(target))
	rand.Read(b[16 : 16+nonceLen])
	return append(append(b, c.Self.Node...), target...), nil
}

// checkServer believes nothing of the answer, its verdict included, before its proof holds.
func (s *Session) checkServer(c *Config, hello, answer, exported []byte) error {
	const op = "secure.Client"
	if string(answer[:8]) != helloMagic || answer[8] != helloVersion {
		return errs.E(op, errs.AccessDenied, "the server does not speak minikv's handshake")
	}
	s.proofs.session = sessionKey(c.Secret, hello, answer[16:16+nonceLen], exported)
	want := s.proofs.server(answer[9])
	if !hmac.Equal(want[:], answer[16+nonceLen:]) {
		return errs.E(op, errs.AccessDenied, "the server has another cluster secret")
	}
	if answer[9] == verdictTarget {
		return errs.E(op, errs.Conflict, "another incarnation answers")
	}
	if answer[9] != verdictOK {
		return errs.E(op, errs.AccessDenied, "the server refuses, verdict %d", answer[9])
	}
	s.Proved = true
	return nil
}

func (s *Session) proveOnce(conn net.Conn) error {
	const op = "secure.Client"
	p := s.proofs.client()
	if _, err := conn.Write(p[:]); err != nil {
		return refusal(op, err)
	}
	var verdict [1]byte
	if _, err := io.ReadFull(conn, verdict[:]); err != nil {
		return refusal(op, err)
	}
	if verdict[0] != verdictOK {
		return errs.E(op, errs.AccessDenied, "the server refuses the proof")
	}
	return nil
}

// Accept is what a server takes. Incarnation, if set, must be the client's target when it names one.
type Accept struct {
	Also        Protocol    // another protocol that the port speaks; 0: none
	Roles       certs.Roles // any of them; 0: any role
	Incarnation string
	NeedTarget  bool
}

// Server does the server's side over conn, which it closes on failure.
func (c *Config) Server(ctx context.Context, conn net.Conn, p Protocol, a Accept) (_ net.Conn, _ *Session, err error) {
	const op = "secure.Server"
	defer guard(ctx, conn, &err)()
	defer func() {
		if err != nil {
			linger(conn)
		}
	}()
	s := &Session{}
	out := conn
	var exported []byte
	if c.TLS != nil {
		t := tls.Server(conn, c.TLS.serverConfig(&s.Peer, p, a.Also))
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, nil, refusal(op, err)
		}
		if exported, err = export(t); err != nil {
			return nil, nil, errs.Wrap(op, err)
		}
		s.TLS, out = true, t
	} else if !c.plaintextOK(conn) {
		return nil, nil, errs.E(op, errs.AccessDenied, "plaintext from %s is not allowed", conn.RemoteAddr())
	}
	hello, claimed, target, err := readHello(out, p, a.Also)
	if err != nil {
		return nil, nil, err
	}
	s.Protocol = Protocol(hello[9])
	if t, ok := out.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol != s.Protocol.alpn() {
		return nil, nil, errs.E(op, errs.AccessDenied, "%s says two protocols", s.Peer)
	}
	if !s.TLS {
		s.Peer = claimed
	} else if s.Peer.Node != claimed.Node {
		return nil, nil, errs.E(op, errs.AccessDenied, "%s calls itself %s", s.Peer, claimed.Node)
	}
	if a.Roles != 0 && !s.Peer.Roles.Any(a.Roles) {
		return nil, nil, errs.E(op, errs.AccessDenied, "%s has none of the roles %s", s.Peer, a.Roles)
	}
	verdict := byte(verdictOK)
	if target != a.Incarnation && (target != "" || a.NeedTarget) {
		verdict = verdictTarget
	}
	if err := s.answer(c, out, hello, exported, verdict); err != nil {
		return nil, nil, err
	}
	if verdict != verdictOK {
		return nil, nil, errs.E(op, errs.Conflict, "%s means another incarnation", s.Peer)
	}
	if s.Protocol.alone() {
		if err := s.demandProof(out); err != nil {
			return nil, nil, err
		}
	}
	return out, s, nil
}

// readHello reads a client's hello; claimed is believed only without TLS.
func readHello(conn net.Conn, p, also Protocol) (hello []byte, claimed certs.Identity, target string, err error) {
	const op = "secure.Server"
	hello = make([]byte, clientHelloLen, clientHelloLen+certs.NodeMax+targetMax)
	if _, err := io.ReadFull(conn, hello[:16]); err != nil {
		return nil, claimed, "", refusal(op, err)
	}
	if string(hello[:8]) != helloMagic || hello[8] != helloVersion || !spoken(Protocol(hello[9]), p, also) || hello[13]|hello[14]|hello[15] != 0 {
		return nil, claimed, "", errs.E(op, errs.AccessDenied, "not the hello of this port")
	}
	nodeLen, targetLen := int(hello[11]), int(hello[12])
	if nodeLen > certs.NodeMax {
		return nil, claimed, "", errs.E(op, errs.AccessDenied, "a node name of %d bytes", nodeLen)
	}
	hello = hello[:clientHelloLen+nodeLen+targetLen]
	if _, err := io.ReadFull(conn, hello[16:]); err != nil {
		return nil, claimed, "", refusal(op, err)
	}
	claimed = certs.Identity{Node: string(hello[clientHelloLen : clientHelloLen+nodeLen]), Roles: certs.Roles(hello[10])}
	if err := certs.CheckNode(claimed.Node); err != nil || !claimed.Roles.Valid() {
		return nil, claimed, "", errs.E(op, errs.AccessDenied, "a hello without a valid node and roles")
	}
	return hello, claimed, string(hello[clientHelloLen+nodeLen:]), nil
}

func spoken(said, p, also Protocol) bool { return said == p || also != 0 && said == also }

func (s *Session) answer(c *Config, conn net.Conn, hello, exported []byte, verdict byte) error {
	b := make([]byte, 16+nonceLen, serverHelloLen)
	copy(b, helloMagic)
	b[8], b[9] = helloVersion, verdict
	rand.Read(b[16:])
	s.proofs.session = sessionKey(c.Secret, hello, b[16:16+nonceLen], exported)
	proof := s.proofs.server(verdict)
	_, err := conn.Write(append(b, proof[:]...))
	return refusal("secure.Server", err)
}

func (s *Session) demandProof(conn net.Conn) error {
	const op = "secure.Server"
	var got [proofLen]byte
	if _, err := io.ReadFull(conn, got[:]); err != nil {
		return refusal(op, err)
	}
	want := s.proofs.client()
	if !hmac.Equal(want[:], got[:]) {
		conn.Write([]byte{verdictProof}) // best effort: the connection ends either way
		return errs.E(op, errs.AccessDenied, "%s has another cluster secret", s.Peer)
	}
	s.Proved = true
	_, err := conn.Write([]byte{verdictOK})
	return refusal(op, err)
}

func sessionKey(secret Secret, hello, serverNonce, exported []byte) [proofLen]byte {
	h := sha256.New()
	h.Write(hello)
	h.Write(serverNonce)
	return mac(secret.master, h.Sum(nil), exported)
}

func export(t *tls.Conn) ([]byte, error) {
	state := t.ConnectionState()
	return state.ExportKeyingMaterial("EXPORTER-minikv-handshake", nil, 32)
}

// lingerMax is how long a refused client is listened to, so that the reason reaches it: closing a socket with unread bytes resets
// the connection, and a reset overtakes the alert.
const lingerMax = 200 * time.Millisecond

func linger(conn net.Conn) {
	t, ok := conn.(interface{ CloseWrite() error })
	if !ok || t.CloseWrite() != nil {
		return
	}
	conn.SetReadDeadline(time.Now().Add(lingerMax))
	io.CopyN(io.Discard, conn, 1<<16)
}

// handshakeMax bounds a handshake whose context has no deadline.
const handshakeMax = 10 * time.Second

// guard gives conn a deadline, ends the handshake when ctx does, and closes conn if the handshake failed.
func guard(ctx context.Context, conn net.Conn, err *error) func() {
	deadline, ok := ctx.Deadline()
	if m := time.Now().Add(handshakeMax); !ok || deadline.After(m) {
		deadline = m
	}
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if !stop() && *err == nil {
			*err = errs.Wrap("secure", ctx.Err())
		}
		if *err != nil {
			conn.Close()
			return
		}
		conn.SetDeadline(time.Time{})
	}
}

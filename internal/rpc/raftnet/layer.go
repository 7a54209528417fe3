package raftnet

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/rpc"
	"minikv/internal/rpc/secure"
)

// Bounds of the layer.
const (
	handshakesMax = 64 // running at once; the oldest makes room for the next
	handshakeMax  = 5 * time.Second
	patienceMax   = 5 * time.Second
	acceptPause   = 50 * time.Millisecond // after a failed accept: out of file descriptors, most likely
)

// layer is the raft.StreamLayer: it dials and accepts connections and shakes hands on them.
type layer struct {
	net.Listener
	cfg       Config
	advertise raft.ServerAddress
	patience  time.Duration // with a request that stops in the middle
	door      *secure.Door
	refusals  *rpc.Refusals

	ready  chan net.Conn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]struct{}
	done  bool
}

var _ raft.StreamLayer = (*layer)(nil)

func newLayer(l net.Listener, cfg Config) *layer {
	s := &layer{Listener: l, cfg: cfg, refusals: rpc.NewRefusals(cfg.Log), door: secure.NewDoor(handshakesMax, handshakeMax), patience: patienceMax, ready: make(chan net.Conn), conns: map[net.Conn]struct{}{}}
	s.advertise = raft.ServerAddress(cfg.Advertise)
	if s.advertise == "" {
		s.advertise = raft.ServerAddress(l.Addr().String())
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.listen)
	return s
}

// Addr is the address that others are told.
func (s *layer) Addr() net.Addr { return address(s.advertise) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// listen accepts; a slow handshake delays no one else.
func (s *layer) listen() {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(acceptPause):
				s.cfg.Log.Warn("Raft's port does not accept", zap.Error(err))
				continue
			}
		}
		s.wg.Go(func() { s.welcome(conn) })
	}
}

func (s *layer) welcome(conn net.Conn) {
	t := s.track(conn)
	if t == nil {
		return
	}
	guest, err := s.door.Enter(t)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, handshakeMax)
	defer cancel()
	out, session, err := s.cfg.Security.Server(ctx, t, secure.Raft, secure.Accept{
		Roles: certs.Roles(certs.Coordinator), Incarnation: string(s.cfg.Incarnation), NeedTarget: true,
	})
	guest.Leave()
	if err != nil {
		if s.ctx.Err() == nil {
			s.refusals.Warn("a connection to Raft's port was refused", zap.Stringer("remote", conn.RemoteAddr()), zap.Error(err))
		}
		return
	}
	select {
	case s.ready <- &patient{Conn: out, patience: s.patience}:
		s.cfg.Log.Debug("a coordinator has connected", zap.Stringer("peer", session.Peer))
	case <-s.ctx.Done():
		out.Close()
	}
}

// Accept gives the next connection that has shaken hands.
func (s *layer) Accept() (net.Conn, error) {
	select {
	case conn := <-s.ready:
		return conn, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// meant joins the incarnation that is meant to the address to dial.
func meant(id raft.ServerID, addr raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + addr
}

// Dial connects to incarnation@host:port.
func (s *layer) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	const op = "raftnet.Dial"
	incarnation, addr, ok := strings.Cut(string(target), "@")
	if !ok || incarnation == "" {
		return nil, errs.E(op, errs.Invalid, "%s names no incarnation", target)
	}
	if timeout <= 0 || timeout > handshakeMax {
		timeout = handshakeMax
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	if s.cfg.Resolve != nil {
		addr = s.cfg.Resolve(addr)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Unavailable, err)
	}
	t := s.track(conn)
	if t == nil {
		return nil, errs.E(op, errs.Unavailable, "closed")
	}
	out, _, err := s.cfg.Security.Client(ctx, t, secure.Raft, secure.Expect{
		Roles: certs.Roles(certs.Coordinator), Target: incarnation,
	})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	return out, nil
}

// track remembers conn until it is closed; nil if the layer is closed, and conn with it.
func (s *layer) track(conn net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		conn.Close()
		return nil
	}
	t := &tracked{Conn: conn, layer: s}
	s.conns[t] = struct{}{}
	return t
}

// tracked is a connection that Close finds.
type tracked struct {
	net.Conn
	layer *layer
}

func (t *tracked) Close() error {
	t.layer.mu.Lock()
	delete(t.layer.conns, t)
	t.layer.mu.Unlock()
	return t.Conn.Close()
}

// CloseWrite lets a refusal linger (see package secure).
func (t *tracked) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}

// Close ends everything; it is safe to call again.
func (s *layer) Close() error {
	s.mu.Lock()
	if s.done {
		s.mu.Unlock()
		return nil
	}
	s.done = true
	open := s.conns
	s.conns = map[net.Conn]struct{}{}
	s.mu.Unlock()
	s.cancel()
	err := s.Listener.Close()
	for c := range open {
		c.(*tracked).Conn.Close()
	}
	s.wg.Wait()
	return errs.Wrap("raftnet.Close", err)
}

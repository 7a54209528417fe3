package rpc

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/internal/rpc/secure"
)

// Times of connecting.
const (
	dialTimeout    = 3 * time.Second
	reconnectMin   = 50 * time.Millisecond
	reconnectMax   = time.Second
	reconnectScale = 1.6
)

// Pool holds one connection to each peer. For concurrent use.
type Pool struct {
	security *secure.Config
	dial     func(ctx context.Context, addr string) (net.Conn, error)

	// Observe, if set before the first call, hears how each call ended: host:port, method, time taken, our error.
	Observe func(peer, method string, took time.Duration, err error)

	mu     sync.Mutex // guards what follows
	peers  map[peerKey]*Peer
	closed bool
}

type peerKey struct {
	addr   string
	expect secure.Expect
}

// NewPool makes a pool; it connects when it is used.
func NewPool(security *secure.Config) (*Pool, error) {
	const op = "rpc.NewPool"
	if security == nil {
		return nil, errs.E(op, errs.Invalid, "no security")
	}
	if err := security.Check(); err != nil {
		return nil, errs.Wrap(op, err)
	}
	d := &net.Dialer{Timeout: dialTimeout}
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	return &Pool{security: security, dial: dial, peers: map[peerKey]*Peer{}}, nil
}

// Peer is the peer at host:port, who must be as expected.
func (p *Pool) Peer(addr string, e secure.Expect) (*Peer, error) {
	const op = "rpc.Peer"
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errs.E(op, errs.Unavailable, "closed")
	}
	k := peerKey{addr, e}
	if peer := p.peers[k]; peer != nil {
		return peer, nil
	}
	peer := &Peer{addr: addr, circuit: circuit{now: time.Now}, observe: p.Observe}
	conn, err := grpc.NewClient("passthrough:///"+addr, p.options(peer, e)...)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	peer.conn = conn
	peer.data = newDataConns(conn, func(ctx context.Context) (net.Conn, error) { return p.connectData(ctx, addr, e) })
	p.peers[k] = peer
	return peer, nil
}

// connectData makes a connection for large blobs.
func (p *Pool) connectData(ctx context.Context, addr string, e secure.Expect) (net.Conn, error) {
	conn, err := p.dial(ctx, addr)
	if err != nil {
		return nil, errs.WrapKind("rpc.connect", errs.Unavailable, err)
	}
	out, _, err := p.security.Client(ctx, conn, secure.Data, e)
	return out, err
}

func (p *Pool) options(peer *Peer, e secure.Expect) []grpc.DialOption {
	told := func(err error) {
		if !errs.Is(err, errs.AccessDenied) {
			err = nil
		}
		peer.refused.Store(&err)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(&creds{cfg: p.security, expect: e, told: told}),
		grpc.WithPerRPCCredentials(callProof{}),
		grpc.WithContextDialer(p.dial),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithDisableHealthCheck(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(answerMax), grpc.MaxCallSendMsgSize(requestMax)),
		grpc.WithStaticStreamWindowSize(windowStream), grpc.WithStaticConnWindowSize(windowConn),
		grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize),
		grpc.WithMaxHeaderListSize(headersMax),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectMin, Multiplier: reconnectScale, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		experimental.WithBufferPool(&buffers),
	}
}

// Close ends all connections; calls on their way fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var first error
	for k, peer := range p.peers {
		if err := peer.conn.Close(); err != nil && first == nil {
			first = err
		}
		peer.data.close()
		delete(p.peers, k)
	}
	return errs.Wrap("rpc.Close", first)
}

// Peer is a node that is called.
type Peer struct {
	addr    string
	conn    *grpc.ClientConn
	circuit circuit
	observe func(peer, method string, took time.Duration, err error)
	refused atomic.Pointer[error] // how the last handshake ended, if in distrust
	data    *dataConns
}

// Addr is host:port.
func (p *Peer) Addr() string { return p.addr }

// Open says that the peer has not answered of late: calls fail at once.
func (p *Peer) Open() bool { return p.circuit.open() }

// distrust is the error of a call that was not sent if the last handshake ended in distrust, else nil: a wrong secret or certificate is
// named, also while the peer is left alone.
func (p *Peer) distrust(method string) error {
	if why := p.refused.Load(); why != nil && *why != nil {
		return errs.WrapKind(opOf(method)+" "+p.addr, errs.AccessDenied, *why)
	}
	return nil
}

// call is one call on its way.
type call struct {
	p      *Peer
	method string
	ctx    context.Context
	cancel context.CancelFunc
	began  time.Time
	stream grpc.ClientStream
	sent   bool // a message may have reached the peer
}

// start begins a call with a deadline (R2); finish must follow.
func (p *Peer) start(ctx context.Context, method string, d *grpc.StreamDesc) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, errs.Wrap(opOf(method), err)
	}
	if !p.circuit.allow() {
		if why := p.distrust(method); why != nil {
			return nil, why
		}
		return nil, errs.E(opOf(method)+" "+p.addr, errs.Unavailable, "the peer has not answered of late")
	}
	c := p.begin(ctx, method)
	var err error
	if c.stream, err = p.conn.NewStream(c.ctx, d, method, grpc.MaxRetryRPCBufferSize(1)); err != nil {
		_, err = c.finish(err)
		return nil, err
	}
	return c, nil
}

// begin makes a call that the circuit allowed.
func (p *Peer) begin(ctx context.Context, method string) *call {
	c := &call{p: p, method: method, began: time.Now()}
	if _, ok := ctx.Deadline(); ok {
		c.ctx, c.cancel = context.WithCancel(ctx)
	} else {
		c.ctx, c.cancel = context.WithTimeout(ctx, timeoutOf(method))
	}
	return c
}

func (c *call) send(m any) error {
	c.sent = true
	return c.stream.SendMsg(m)
}

// finish ends the call with what gRPC said and gives the error as ours.
func (c *call) finish(err error) (remote, error) {
	if err == io.EOF {
		err = nil
	}
	r, out := decode(c.ctx, c.method, c.p.addr, err)
	// What was sent went over an earlier connection, to whom it was meant for.
	if !c.sent && !r.ran && r.kind == errs.Unavailable {
		if why := c.p.distrust(c.method); why != nil {
			r.kind, out = errs.AccessDenied, why
		}
	}
	c.done(r, out, false)
	return r, out
}

// done books how a call ended. A call over a stale connection tells nothing of the peer.
func (c *call) done(r remote, err error, stale bool) {
	o := c.outcome(r)
	if stale {
		o = unknown
	}
	c.p.circuit.done(o)
	c.cancel()
	if c.p.observe != nil {
		c.p.observe(c.p.addr, c.method, time.Since(c.began), err)
	}
}

func (c *call) outcome(r remote) outcome {
	switch {
	case r.ran:
		return answered
	case r.kind == errs.Unavailable, r.kind == errs.Timeout && time.Since(c.began) >= slowMin:
		return unanswered
	case r.kind == errs.Timeout, r.kind == errs.Canceled:
		return unknown
	}
	return answered // the transport answered for the peer: it lives
}

var unaryDesc = &grpc.StreamDesc{}

// once makes a unary call. sent says whether the request may have reached the peer.
func (p *Peer) once(ctx context.Context, method string, req, resp proto.Message) (r remote, sent bool, err error) {
	c, err := p.start(ctx, method, unaryDesc)
	if err != nil {
		return remote{kind: errs.KindOf(err)}, false, err
	}
	if err = c.send(req); err == nil || err == io.EOF {
		err = c.stream.RecvMsg(resp)
	}
	r, err = c.finish(err)
	return r, true, err
}

// unary makes a unary call, and once more if the connection broke and the table allows it (R4).
func (p *Peer) unary(ctx context.Context, method string, req, resp proto.Message) (remote, error) {
	r, _, err := p.once(ctx, method, req, resp)
	if worthAnother(ctx, method, err, r) {
		proto.Reset(resp)
		r, _, err = p.once(ctx, method, req, resp)
	}
	return r, err
}

// worthAnother says whether a call may be made a second time at once.
func worthAnother(ctx context.Context, method string, err error, r remote) bool {
	return err != nil && !r.ran && r.kind == errs.Unavailable && rules[method].idempotent && ctx.Err() == nil
}

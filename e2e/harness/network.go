package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Network is the network between the processes of a cluster: every address that a node tells others is one of its proxies. Who
// connects says its name in the first bytes of our handshake (package secure), so that a link is a pair of nodes and each
// direction has faults of its own.
//
// A cut link loses nothing that was sent: it holds it back, as TCP would send it again, and closes nothing, since what tells
// of an end is a packet too. What waits goes on when the link heals.
type Network struct {
	t      testing.TB
	ctx    context.Context // ends with the test
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	links map[linkKey]*link
	conns map[net.Conn]struct{}
	ended bool
}

type linkKey struct{ from, to string }

// Fault of one direction between two nodes. The zero value is none.
type Fault struct {
	Cut       bool          // nothing passes
	Delay     time.Duration // of all that passes
	PerSecond int           // bytes; 0: no limit
}

// NewNetwork is one without faults; the test's end closes it.
func NewNetwork(t testing.TB) *Network {
	n := &Network{t: t, links: map[linkKey]*link{}, conns: map[net.Conn]struct{}{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	t.Cleanup(n.close)
	return n
}

// Listen makes a proxy of a node's address and gives the one to tell others.
func (n *Network) Listen(node, target string) string {
	n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatalf("proxy of %s: %v", node, err)
	}
	n.wg.Go(func() {
		<-n.ctx.Done()
		_ = l.Close()
	})
	n.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.carry(node, target, c) })
		}
	})
	return l.Addr().String()
}

// Set makes the direction from one node to another so.
func (n *Network) Set(from, to string, f Fault) { n.link(from, to).set(f) }

// Between sets both directions.
func (n *Network) Between(a, b string, f Fault) {
	n.Set(a, b, f)
	n.Set(b, a, f)
}

// Heal takes all faults away.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.set(Fault{})
	}
}

func (n *Network) link(from, to string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := linkKey{from, to}
	if n.links[k] == nil {
		n.links[k] = &link{changed: make(chan struct{})}
	}
	return n.links[k]
}

func (n *Network) close() {
	n.cancel()
	n.mu.Lock()
	n.ended = true
	for c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

// track has the connection closed with the network; false: it was closed already.
func (n *Network) track(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		_ = c.Close()
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

func (n *Network) untrack(c net.Conn) {
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
	_ = c.Close()
}

// carry takes one connection to its node.
func (n *Network) carry(to, target string, in net.Conn) {
	if !n.track(in) {
		return
	}
	defer n.untrack(in)
	from, hello, err := caller(in)
	if err != nil {
		return
	}
	there, back := n.link(from, to), n.link(to, from)
	if there.pass(n.ctx, 0) != nil {
		return
	}
	out, err := net.Dial("tcp", target)
	if err != nil { // the refusal is a packet of the target's machine
		_ = back.pass(n.ctx, 0)
		return
	}
	if !n.track(out) {
		return
	}
	defer n.untrack(out)
	var both sync.WaitGroup
	both.Go(func() { there.pipe(n.ctx, out, io.MultiReader(bytes.NewReader(hello), in)) })
	both.Go(func() { back.pipe(n.ctx, in, out) })
	both.Wait()
}

// What the client's hello begins with: see package secure.
const (
	helloLen     = 48
	helloNameLen = 11
)

// caller reads the hello of a connection and who says it. The bytes are to be sent on.
func caller(c net.Conn) (name string, hello []byte, err error) {
	hello = make([]byte, helloLen)
	if _, err := io.ReadFull(c, hello); err != nil {
		return "", nil, err
	}
	if string(hello[:8]) != "mkvhello" {
		return "", nil, errors.New("no hello of a node")
	}
	b := make([]byte, hello[helloNameLen])
	_, err = io.ReadFull(c, b)
	return string(b), append(hello, b...), err
}

// link is one direction between two nodes.
type link struct {
	mu      sync.Mutex // guards what follows
	fault   Fault
	changed chan struct{} // closed by the next set
	free    time.Time     // when the bytes so far have passed, with a limit
}

func (l *link) set(f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) state() (Fault, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault, l.changed
}

// pass waits until the link lets some bytes through.
func (l *link) pass(ctx context.Context, bytes int) error {
	for {
		f, changed := l.state()
		if !f.Cut {
			return wait(ctx, l.reserve(f.PerSecond, bytes))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reserve tells how long the bytes have to wait for those before them.
func (l *link) reserve(perSecond, bytes int) time.Duration {
	if perSecond == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(bytes) * time.Second / time.Duration(perSecond))
	return l.free.Sub(now)
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// piece is some bytes on their way; without any, the end.
type piece struct {
	bytes []byte
	at    time.Time
}

const (
	pieceMax  = 64 << 10
	piecesMax = 64 // on their way
)

// pipe carries bytes to dst, and then the end.
func (l *link) pipe(ctx context.Context, dst net.Conn, src io.Reader) {
	pieces := make(chan piece, piecesMax)
	ctx, cancel := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(pieces)
		for {
			b := make([]byte, pieceMax)
			m, err := src.Read(b)
			if m > 0 {
				select {
				case pieces <- piece{b[:m], time.Now()}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range pieces {
		if l.deliver(ctx, dst, p) != nil {
			break
		}
	}
	if l.pass(ctx, 0) == nil {
		end(dst)
	}
	cancel()
	reader.Wait()
}

func (l *link) deliver(ctx context.Context, dst net.Conn, p piece) error {
	f, _ := l.state()
	if err := wait(ctx, time.Until(p.at.Add(f.Delay))); err != nil {
		return err
	}
	if err := l.pass(ctx, len(p.bytes)); err != nil {
		return err
	}
	_, err := dst.Write(p.bytes)
	return err
}

// end tells dst that nothing more comes.
func end(dst net.Conn) {
	if c, ok := dst.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}

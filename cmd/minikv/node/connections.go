package node

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"minikv/internal/loopback"
)

// connectionsMax bounds what waiting connections may hold in memory, whatever the limit of descriptors.
const connectionsMax = 16 << 10

// Spare connections are for health and metrics when a port has all that it may have: a few, each for one request and not for long,
// so that clients that hold connections can't hide from those who watch.
const (
	spareConnections = 16
	spareTime        = 10 * time.Second
)

// unpacedMost is how many open connections a port may have for the next one, if it comes from this machine, not to be paced: a client
// or two at work gain by it, a crowd loses CPU (docs/benchmarks.md).
const unpacedMost = 2

// refusalsToldEvery is how often the log tells of addresses with too many connections.
const refusalsToldEvery = 10 * time.Second

// connectionShares are how many connections each port may have, of a number of descriptors: half for S3, an eighth for REST. The
// rest is the store's, which fails writes when it cannot open a file; connections cost nothing to those who open them.
func connectionShares(descriptors uint64) (s3, rest int) {
	n := int(min(descriptors, 2*connectionsMax))
	return max(n/2, 1), max(n/8, 1)
}

// connectionLimits are what a listener lets in.
type connectionLimits struct {
	total      int
	spare      int            // beyond total, marked
	perAddress int            // 0: no bound; never more than half of total
	exempt     []netip.Prefix // addresses without a bound of their own: this machine, proxies
	log        *zap.Logger
	refused    *atomic.Uint64 // connections closed at once
}

// limitListener accepts no more while so many connections are open: the next ones wait in the kernel's queue. Those of an address
// that has its own bound full are closed.
type limitListener struct {
	net.Listener
	limits connectionLimits
	free   chan struct{} // a value per open connection
	closed chan struct{}
	once   sync.Once
	unpace func(net.Conn)

	mu   sync.Mutex // guards what follows
	open map[netip.Addr]int
	told time.Time
}

func newLimitListener(l net.Listener, limits connectionLimits) *limitListener {
	if limits.perAddress > 0 {
		limits.perAddress = min(limits.perAddress, max(limits.total/2, 1))
	}
	return &limitListener{Listener: l, limits: limits, free: make(chan struct{}, limits.total+limits.spare),
		closed: make(chan struct{}), unpace: loopback.Tune, open: map[netip.Addr]int{}}
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		select {
		case l.free <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.free
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok { // nothing else is listened on
			<-l.free
			return c, nil
		}
		from := l.addressOf(tcp)
		if !l.enter(from) {
			_ = tcp.Close() // it was told nothing
			<-l.free
			continue
		}
		if len(l.free) <= unpacedMost {
			l.unpace(tcp)
		}
		lc := &limitedConn{TCPConn: tcp, l: l, from: from}
		if len(l.free) > l.limits.total {
			lc.until = time.Now().Add(spareTime)
			_ = tcp.SetDeadline(lc.until) // fails only on a broken connection, which the first read finds
		}
		return lc, nil
	}
}

// addressOf is what a connection counts for: the remote address, of IPv6 the network that one customer has. Zero: exempt.
func (l *limitListener) addressOf(c *net.TCPConn) netip.Addr {
	ap, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || l.limits.perAddress == 0 {
		return netip.Addr{}
	}
	a := ap.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range l.limits.exempt {
		if p.Contains(a) {
			return netip.Addr{}
		}
	}
	if a.Is6() {
		p, _ := a.Prefix(64) // 64 is in range
		a = p.Addr()
	}
	return a
}

func (l *limitListener) enter(from netip.Addr) bool {
	if !from.IsValid() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] < l.limits.perAddress {
		l.open[from]++
		return true
	}
	if l.limits.refused != nil {
		l.limits.refused.Add(1)
	}
	if now := time.Now(); l.limits.log != nil && now.Sub(l.told) >= refusalsToldEvery {
		l.told = now
		l.limits.log.Warn("connections refused: the address has as many as it may", zap.Stringer("address", from), zap.Int("most", l.limits.perAddress))
	}
	return false
}

func (l *limitListener) leave(from netip.Addr) {
	if from.IsValid() {
		l.mu.Lock()
		if l.open[from]--; l.open[from] == 0 {
			delete(l.open, from)
		}
		l.mu.Unlock()
	}
	<-l.free
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	*net.TCPConn
	l     *limitListener
	from  netip.Addr
	until time.Time // of a spare connection: its end; zero: none
	once  sync.Once
}

func (c *limitedConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() { c.l.leave(c.from) })
	return err
}

// capped is a deadline that is not after the end of a spare connection.
func (c *limitedConn) capped(t time.Time) time.Time {
	if !c.until.IsZero() && (t.IsZero() || t.After(c.until)) {
		return c.until
	}
	return t
}

func (c *limitedConn) SetDeadline(t time.Time) error { return c.TCPConn.SetDeadline(c.capped(t)) }
func (c *limitedConn) SetReadDeadline(t time.Time) error {
	return c.TCPConn.SetReadDeadline(c.capped(t))
}
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	return c.TCPConn.SetWriteDeadline(c.capped(t))
}

// isSpare says that a connection, taken out of its guard and TLS, is one for health and metrics only.
func isSpare(c net.Conn) bool {
	lc, ok := c.(*limitedConn)
	return ok && !lc.until.IsZero()
}

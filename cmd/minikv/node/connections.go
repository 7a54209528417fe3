package node

import (
	"net"
	"sync"
)

// connectionsMax bounds what waiting connections may hold in memory, whatever the limit of descriptors.
const connectionsMax = 16 << 10

// connectionShares are how many connections each port may have, of a number of descriptors: half for S3, an eighth for REST. The
// rest is the store's, which fails writes when it cannot open a file; connections cost nothing to those who open them.
func connectionShares(descriptors uint64) (s3, rest int) {
	n := int(min(descriptors, 2*connectionsMax))
	return max(n/2, 1), max(n/8, 1)
}

// limitListener accepts no more while so many connections are open; the next ones wait in the kernel's queue.
type limitListener struct {
	net.Listener
	free   chan struct{} // a value per open connection
	closed chan struct{}
	once   sync.Once
}

func newLimitListener(l net.Listener, most int) *limitListener {
	return &limitListener{Listener: l, free: make(chan struct{}, most), closed: make(chan struct{})}
}

func (l *limitListener) Accept() (net.Conn, error) {
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
	return &limitedConn{TCPConn: tcp, free: l.free}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	*net.TCPConn
	free chan struct{}
	once sync.Once
}

func (c *limitedConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() { <-c.free })
	return err
}

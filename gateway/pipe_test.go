package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
)

// pipeListener gives connections within the process, for tests whose time is made up (testing/synctest).
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// newPipeFront is newFront without a port. Connections have no buffers: who writes waits for who reads.
func newPipeFront(t *testing.T, change ...func(*Config)) *front {
	t.Helper()
	l := newPipeListener()
	f := serveFront(t, l, change...)
	f.connect = l.dial
	f.transport = &http.Transport{DisableCompression: true, DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return l.dial() }}
	return f
}

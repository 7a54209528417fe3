package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	handshakeTimeout  = 10 * time.Second
	handshakesWaiting = 16
	acceptPause       = 50 * time.Millisecond
)

// Guard puts the guard over a listener for another HTTP server; config, if not nil, is the TLS that it speaks, HTTP/1.1 before
// HTTP/2. idle ends a body or an answer of which no byte moves for so long; 0: the server keeps time itself. That server must
// ask RefusedHead before it does anything with a request.
func Guard(l net.Listener, config *tls.Config, idle time.Duration) net.Listener {
	if config == nil {
		return &guardListener{l, idle}
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1", "h2"}
	return newTLSListener(l, config, idle)
}

// RefusedHead says whether a request behind Guard stands in for a refused head, and what was wrong with that. Its code is S3's.
func RefusedHead(r *http.Request) (code, message string, refused bool) {
	if v := r.Header[refusedHeader]; len(v) != 1 || v[0] != refusedNonce {
		return "", "", false
	}
	code = r.Header.Get(refusedCodeHeader)
	return code, refusalMessages[code], true
}

// Underlying is the connection below guard and TLS, as the listener accepted it.
func Underlying(c net.Conn) net.Conn {
	for {
		switch o := c.(type) {
		case *guard:
			c = o.Conn
		case tlsGuard:
			c = o.guard.Conn
		case *tls.Conn:
			c = o.NetConn()
		default:
			return c
		}
	}
}

// guardListener puts a guard over every connection.
type guardListener struct {
	net.Listener
	idle time.Duration
}

func (l *guardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newGuard(c, l.idle), nil
}

// tlsListener shakes hands before net/http sees a connection, because the protocol decides: HTTP/1.1 goes through a guard,
// HTTP/2 (for clients that offer nothing else) as the *tls.Conn that net/http wants.
type tlsListener struct {
	net.Listener
	config *tls.Config
	idle   time.Duration
	ready  chan net.Conn
	closed chan struct{}
	failed chan error
	once   sync.Once
	wg     sync.WaitGroup
}

func newTLSListener(inner net.Listener, config *tls.Config, idle time.Duration) *tlsListener {
	l := &tlsListener{
		Listener: inner, config: config, idle: idle,
		ready: make(chan net.Conn, handshakesWaiting), closed: make(chan struct{}), failed: make(chan error, 1),
	}
	l.wg.Add(1)
	go l.run()
	return l
}

func (l *tlsListener) run() {
	defer l.wg.Done()
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if l.passing(err) {
				continue
			}
			l.failed <- err
			return
		}
		l.wg.Add(1)
		go l.handshake(c)
	}
}

// passing says that accepting goes on after an error, as net/http does: descriptors run out and come back. It waits a little.
func (l *tlsListener) passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return l.pause()
		}
	}
	return false
}

func (l *tlsListener) pause() bool {
	select {
	case <-time.After(acceptPause):
		return true
	case <-l.closed:
		return false
	}
}

func (l *tlsListener) handshake(c net.Conn) {
	defer l.wg.Done()
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	t := tls.Server(c, l.config)
	if err := t.HandshakeContext(ctx); err != nil {
		refusePlain(err)
		_ = c.Close() // nothing was agreed
		return
	}
	var ready net.Conn = t
	if t.ConnectionState().NegotiatedProtocol != "h2" {
		ready = tlsGuard{newGuard(t, l.idle), t}
	}
	select {
	case l.ready <- ready:
	case <-l.closed:
		_ = ready.Close()
	}
}

// refusePlain tells a client that spoke plain HTTP.
func refusePlain(err error) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil {
		_ = record.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(record.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
}

func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *tlsListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
		go func() { // handshakes end by their own time limit; what they made is closed
			l.wg.Wait()
			for {
				select {
				case c := <-l.ready:
					_ = c.Close()
				default:
					return
				}
			}
		}()
	})
	return err
}

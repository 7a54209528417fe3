package gateway

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Limits of the guard, in bytes.
const (
	requestLineMax   = 16 << 10 // a key of 1,024 bytes is 3 KiB when percent-encoded; presigned queries add at most about 4
	headerSectionMax = 8 << 10  // AWS's limit
	guardBufferMin   = 4 << 10
	lingerBytesMax   = 16 << 20
	writePieceMax    = 64 << 10 // one write deadline covers at most this much on connections that cannot resume a write
)

// lingerTime is how long a connection with unread bytes is read from before it is closed. Closed at once it would be reset, and the
// client might lose the answer. net/http lingers only where the client did not send Expect.
const lingerTime = 2 * time.Second

// errChunkFraming is what the body of a request with malformed chunks reads as.
var errChunkFraming = errors.New("malformed chunked transfer coding")

// refusedHeader marks the request that stands in for a refused head; its value is refusedNonce, which no client knows.
const (
	refusedHeader     = "X-Minikv-Refused-Head"
	refusedCodeHeader = "X-Minikv-Refused-Code"
)

// refusalMessages are for servers that see no more than the stand-in.
var refusalMessages = map[string]string{
	"BadRequest":                   "The request head is malformed, or can be read in more than one way.",
	"InvalidURI":                   "Couldn't parse the specified URI.",
	"RequestHeaderSectionTooLarge": "Your request header section exceeds the maximum allowed size.",
}

var refusedNonce = func() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}()

// guard is a connection that hands up only requests which can be read in one way. It sits between the socket (or TLS) and
// net/http, which would accept Content-Length beside Transfer-Encoding, repeated lengths, bare LF and folded headers. It
// follows the framing of bodies, so that it knows where each head begins. A refused head is replaced by a stand-in request
// that the handler answers with a 400, in its turn, and the connection ends.
//
// It also keeps time: a body or an answer may take for ever, but not idle without one byte.
type guard struct {
	net.Conn
	idle time.Duration

	// Used by reads only, of which there is one at a time.
	buf     []byte // from the wire, not handed up yet
	ready   int    // bytes at the front of buf that are checked
	scanned int    // bytes of buf without the end of a head
	state   guardState
	remain  int64 // bytes of a body of known length
	chunks  chunkScanner
	armed   bool // a deadline of ours is set
	refusal *refusal

	unread atomic.Bool // a body, or what follows a refused head, is not read to its end
	closed atomic.Bool

	watch watch
}

type guardState uint8

const (
	guardHead guardState = iota
	guardLength
	guardChunks
	guardEnd
)

// refusal says why a head was refused.
type refusal struct {
	code    string // S3 error code
	message string
}

func newGuard(c net.Conn, idle time.Duration) *guard { return &guard{Conn: c, idle: idle} }

// tlsGuard is a guard over TLS.
type tlsGuard struct {
	*guard
	tls *tls.Conn
}

// ConnectionState lets net/http set Request.TLS.
func (g tlsGuard) ConnectionState() tls.ConnectionState { return g.tls.ConnectionState() }

// Read hands up checked bytes.
func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 || g.looksOut(p) {
		return 0, nil
	}
	g.endWatch()
	for {
		if g.ready > 0 {
			n := copy(p, g.buf[:g.ready])
			g.consume(n)
			return n, nil
		}
		if len(g.buf) > 0 {
			if err := g.check(); err != nil {
				return 0, err
			}
			if g.ready > 0 {
				continue
			}
		}
		switch g.state {
		case guardEnd:
			return 0, io.EOF
		case guardHead:
			if err := g.fill(); err != nil {
				return 0, err
			}
		default:
			return g.readBody(p)
		}
	}
}

// consume drops n bytes from the front.
func (g *guard) consume(n int) {
	g.ready -= n
	rest := copy(g.buf, g.buf[n:])
	g.buf = g.buf[:rest]
}

// check looks at buf and sets ready.
func (g *guard) check() error {
	switch g.state {
	case guardHead:
		g.checkHead()
	case guardLength:
		g.ready = int(min(int64(len(g.buf)), g.remain))
		g.took(g.ready)
	case guardChunks:
		n, done, err := g.chunks.scan(g.buf)
		if err != nil {
			return err
		}
		g.ready = n
		if done {
			g.bodyEnds()
		}
	}
	return nil
}

// fill reads more of a head. Deadlines are those that net/http set.
func (g *guard) fill() error {
	if len(g.buf) == cap(g.buf) {
		grown := make([]byte, len(g.buf), max(guardBufferMin, 2*cap(g.buf)))
		copy(grown, g.buf)
		g.buf = grown
	}
	n, err := g.read(g.buf[len(g.buf):cap(g.buf)])
	g.buf = g.buf[:len(g.buf)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// readBody reads straight into p.
func (g *guard) readBody(p []byte) (int, error) {
	if g.idle > 0 {
		if err := g.Conn.SetReadDeadline(time.Now().Add(g.idle)); err != nil {
			return 0, err
		}
		g.armed = true
	}
	if g.state == guardLength {
		n, err := g.read(p[:min(int64(len(p)), g.remain)])
		g.took(n)
		return n, err
	}
	n, err := g.read(p)
	used, done, scanErr := g.chunks.scan(p[:n])
	if scanErr != nil {
		return 0, scanErr
	}
	if done {
		g.buf = append(g.buf[:0], p[used:n]...)
		g.bodyEnds()
	}
	return used, err
}

// read reads from the wire, until Close: then the bytes are only thrown away.
func (g *guard) read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.closed.Load() {
		return 0, net.ErrClosed
	}
	return n, err
}

func (g *guard) took(n int) {
	g.remain -= int64(n)
	if g.remain == 0 {
		g.bodyEnds()
	}
}

// bodyEnds goes on to the next head. Our deadline goes, or it would end the request that is being answered.
func (g *guard) bodyEnds() {
	g.state = guardHead
	g.scanned = 0
	g.unread.Store(false)
	if g.armed {
		g.armed = false
		_ = g.Conn.SetReadDeadline(time.Time{}) // fails only on a closed connection, which the next read finds
	}
}

// checkHead looks for the end of the head, judges it and sets ready.
func (g *guard) checkHead() {
	from := max(0, g.scanned-3)
	i := bytes.Index(g.buf[from:], []byte("\r\n\r\n"))
	if i < 0 {
		g.scanned = len(g.buf)
		if r := unfinishedHead(g.buf); r != nil {
			g.refuse(r)
		}
		return
	}
	end := from + i + 4
	h, r := parseHead(g.buf[:end])
	if r != nil {
		g.refuse(r)
		return
	}
	g.ready, g.scanned = end, 0
	switch {
	case h.chunked:
		g.state, g.chunks = guardChunks, chunkScanner{}
		g.unread.Store(true)
	case h.length > 0:
		g.state, g.remain = guardLength, h.length
		g.unread.Store(true)
	}
}

// refuse puts the stand-in request in the place of everything that follows.
func (g *guard) refuse(r *refusal) {
	g.refusal = r
	g.buf = append(g.buf[:0], "GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n"+
		refusedHeader+": "+refusedNonce+"\r\n"+refusedCodeHeader+": "+r.code+"\r\n\r\n"...)
	g.ready = len(g.buf)
	g.state = guardEnd
	g.unread.Store(true)
}

// Write writes p; every piece of progress renews the deadline.
func (g *guard) Write(p []byte) (int, error) {
	if g.idle <= 0 {
		return g.Conn.Write(p)
	}
	_, isTLS := g.Conn.(*tls.Conn)
	written := 0
	for {
		piece := p[written:]
		if isTLS && len(piece) > writePieceMax {
			piece = piece[:writePieceMax]
		}
		if err := g.Conn.SetWriteDeadline(time.Now().Add(g.idle)); err != nil {
			return written, err
		}
		n, err := g.Conn.Write(piece)
		written += n
		resumable := !isTLS && n > 0 && errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !resumable {
			return written, err
		}
		if written == len(p) {
			return written, nil
		}
	}
}

// SetWriteDeadline is for net/http's use of it, which is to clear it; the guard sets its own before every write.
func (g *guard) SetWriteDeadline(t time.Time) error { return g.Conn.SetWriteDeadline(t) }

// CloseWrite ends the sending side.
func (g *guard) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Close closes the connection, or when there are unread bytes, lets the client read the answer first, without waiting for it.
func (g *guard) Close() error {
	if g.closed.Swap(true) {
		return net.ErrClosed
	}
	g.closeWatch()
	if g.unread.Load() && g.CloseWrite() == nil && g.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		go g.linger()
		return nil
	}
	return g.Conn.Close()
}

// linger throws away what the client still sends, for a bounded time, and closes.
func (g *guard) linger() {
	_, _ = io.CopyN(io.Discard, g.Conn, lingerBytesMax) // the connection ends whatever comes
	_ = g.Conn.Close()
}

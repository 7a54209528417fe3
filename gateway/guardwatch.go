package gateway

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// watchAfter is how long a request runs before somebody looks whether its client is still there.
const watchAfter = 100 * time.Millisecond

// watch notices that a client hung up while its request runs, and ends the connection's context.
//
// net/http does that by a read of one byte, in a goroutine beside every request: two goroutine switches, two changes of the deadline, a
// read that finds nothing, and each time another core that is woken up, which the client would have had better use for. Most
// requests are over long before it could matter. So that read is answered at once with nothing, as if nobody asked, and only the
// connection of a request that lasts is read from. What comes then, of a next request, is kept for the next reader.
//
// The read of one byte is told by its length: net/http reads heads and bodies through a buffer of kilobytes.
type watch struct {
	mu       sync.Mutex
	hangUp   context.CancelFunc // nil: nobody asked for a watch, net/http does it itself
	timer    *time.Timer
	state    watchState
	done     chan struct{} // closed when the reading has ended
	early    [1]byte
	hasEarly bool
	deadline time.Time // that net/http set last
}

type watchState uint8

const (
	unwatched  watchState = iota
	watchSoon             // the timer runs
	watched               // the connection is read from
	watchStops            // and is to be let go
	watchOver             // the connection is closed
)

// ConnContext is http.Server.ConnContext for listeners of Guard: the context ends when the client hangs up during a request that
// lasts longer than a moment, and when the connection is closed.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	var g *guard
	switch c := c.(type) {
	case *guard:
		g = c
	case tlsGuard:
		g = c.guard
	default:
		return ctx
	}
	ctx, g.watch.hangUp = context.WithCancel(ctx)
	return context.WithValue(ctx, guardKey{}, g)
}

// looksOut says whether a read is net/http's looking out for the client, for which the watch stands in from now on.
func (g *guard) looksOut(p []byte) bool {
	w := &g.watch
	if len(p) != 1 || w.hangUp == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != unwatched || w.hasEarly || len(g.buf) > 0 {
		return true
	}
	w.state = watchSoon
	if w.timer == nil {
		w.timer = time.AfterFunc(watchAfter, g.look)
	} else {
		w.timer.Reset(watchAfter)
	}
	return true
}

// look reads from the connection while its request runs. The timer's goroutine ends with endWatch, or with the connection.
func (g *guard) look() {
	w := &g.watch
	w.mu.Lock()
	if w.state != watchSoon {
		w.mu.Unlock()
		return
	}
	w.state = watched
	done := make(chan struct{})
	w.done = done
	w.mu.Unlock()

	n, err := g.Conn.Read(w.early[:])
	w.mu.Lock()
	w.hasEarly = n > 0
	gone := err != nil && w.state == watched && !errors.Is(err, os.ErrDeadlineExceeded)
	w.mu.Unlock()
	if gone {
		w.hangUp()
	}
	close(done)
}

// endWatch comes before the next head is read: it ends the watch and takes what it read.
func (g *guard) endWatch() {
	w := &g.watch
	if w.hangUp == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state {
	case watchSoon:
		w.timer.Stop() // should it run already, it finds the state changed
		w.state = unwatched
	case watched:
		w.state = watchStops
		_ = g.Conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, which ends the reading too
		w.mu.Unlock()
		<-w.done
		w.mu.Lock()
		_ = g.Conn.SetReadDeadline(w.deadline)
		if w.state == watchStops {
			w.state = unwatched
		}
	}
	if w.hasEarly {
		w.hasEarly = false
		g.buf = append(g.buf, w.early[0])
	}
}

// closeWatch ends the watch for good, and the connection's context.
func (g *guard) closeWatch() {
	w := &g.watch
	if w.hangUp == nil {
		return
	}
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.state = watchOver
	w.mu.Unlock()
	w.hangUp()
}

// SetReadDeadline is for net/http's use of it; while a body is read the guard sets its own.
func (g *guard) SetReadDeadline(t time.Time) error {
	g.watch.mu.Lock()
	defer g.watch.mu.Unlock()
	g.watch.deadline = t
	if g.watch.state == watchStops { // endWatch sets it in a moment
		return nil
	}
	return g.Conn.SetReadDeadline(t)
}

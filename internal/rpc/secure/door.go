package secure

import (
	"container/list"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"minikv/internal/errs"
)

// Door bounds what those may hold who have not proved the secret (S5): so many connections, and each for so long. When there are too
// many, the one that came first ends, not the one that comes: a peer's handshake takes milliseconds, and a crowd that is silent keeps
// nobody out. For concurrent use.
type Door struct {
	max      int
	patience time.Duration

	mu     sync.Mutex // guards what follows
	guests list.List  // of *Guest, in the order in which they came
	closed bool
}

// NewDoor makes a door for at most max connections.
func NewDoor(max int, patience time.Duration) *Door { return &Door{max: max, patience: patience} }

// Guest is a connection whose peer has not proved the secret yet.
type Guest struct {
	door *Door
	conn net.Conn
	late *time.Timer
	at   *list.Element
	gone atomic.Bool
}

// Enter books a connection, which is closed unless Leave follows in time. errs.Unavailable: the door is closed, and conn too.
func (d *Door) Enter(conn net.Conn) (*Guest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = conn.Close()
		return nil, errs.E("secure.Enter", errs.Unavailable, "closed")
	}
	if d.guests.Len() >= d.max {
		d.turnOut(d.guests.Front().Value.(*Guest))
	}
	g := &Guest{door: d, conn: conn}
	g.at = d.guests.PushBack(g)
	g.late = time.AfterFunc(d.patience, g.expire)
	return g, nil
}

// Leave says that the peer has proved the secret, or is gone.
func (g *Guest) Leave() {
	if g.gone.Load() {
		return
	}
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	g.forget()
}

func (g *Guest) expire() {
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	if !g.gone.Load() {
		g.door.turnOut(g)
	}
}

// forget takes a guest off the list. The caller holds mu.
func (g *Guest) forget() {
	if !g.gone.Swap(true) {
		g.late.Stop()
		g.door.guests.Remove(g.at)
	}
}

// turnOut closes a guest's connection. The caller holds mu.
func (d *Door) turnOut(g *Guest) {
	g.forget()
	_ = g.conn.Close()
}

// Close turns out all who are there, and who comes later; it is safe to call again.
func (d *Door) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for d.guests.Len() > 0 {
		d.turnOut(d.guests.Front().Value.(*Guest))
	}
}

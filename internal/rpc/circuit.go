package rpc

import (
	"sync"
	"time"
)

// Bounds of a circuit. It opens for no longer than failover may take notice of.
const (
	circuitFailures = 3
	circuitMin      = 50 * time.Millisecond
	circuitMax      = time.Second
	slowMin         = 500 * time.Millisecond // a call that times out sooner says nothing of the peer
)

// circuit remembers that a peer does not answer, so that callers turn to another one at once instead of waiting. Closed: calls
// pass. Open: calls fail. After a while one call is let through; it closes the circuit or opens it for longer.
type circuit struct {
	now func() time.Time

	mu       sync.Mutex // guards what follows
	failures int        // in a row
	until    time.Time  // open until then; zero: closed
	probing  bool
}

// allow says whether a call may be made. Each allowed call ends with done.
func (c *circuit) allow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until.IsZero() {
		return true
	}
	if c.probing || c.now().Before(c.until) {
		return false
	}
	c.probing = true
	return true
}

// outcome of a call, as far as it tells about the peer.
type outcome int

const (
	answered   outcome = iota // whatever the answer was
	unanswered                // broken, refused or too late
	unknown                   // the caller gave up
)

func (c *circuit) done(o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = false
	switch o {
	case answered:
		c.failures, c.until = 0, time.Time{}
	case unanswered:
		c.failures++
		if c.failures >= circuitFailures {
			pause := circuitMin << min(c.failures-circuitFailures, 10)
			c.until = c.now().Add(min(pause, circuitMax))
		}
	}
}

// open says whether calls fail at once now.
func (c *circuit) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.until.IsZero() && c.now().Before(c.until)
}

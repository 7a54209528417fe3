package raftnet

import (
	"net"
	"time"
)

// patient is an accepted connection on which a request may be awaited for any time, but not the rest of one (N5): Raft's main loop reads
// snapshots from it, without a deadline, and a leader that freezes while it sends one would hold a follower that another leader needs. The
// connection does not survive that, for what comes later is the middle of a request. Reads and writes of Raft follow one another.
type patient struct {
	net.Conn
	patience time.Duration
	within   bool // a request
}

func (p *patient) Read(b []byte) (int, error) {
	if p.within {
		_ = p.Conn.SetReadDeadline(time.Now().Add(p.patience)) // a closed connection fails below
	}
	n, err := p.Conn.Read(b)
	if err != nil {
		_ = p.Conn.Close()
		return n, err
	}
	p.within = true
	return n, nil
}

// Write answers a request.
func (p *patient) Write(b []byte) (int, error) {
	if p.within {
		p.within = false
		_ = p.Conn.SetReadDeadline(time.Time{})
	}
	return p.Conn.Write(b)
}

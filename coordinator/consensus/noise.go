package consensus

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// Bounds of what is said again.
const (
	noiseEvery    = time.Minute // the same of the same peer
	noiseKindsMax = 512         // remembered; beyond that all is forgotten and said again
)

// noise lets the first of many equal messages pass and then one a minute, which says how many were left out: Raft reports each failed
// heartbeat and each failed append of a peer that is down, some two a second.
type noise struct {
	now func() time.Time

	mu   sync.Mutex // guards what follows
	seen map[string]*said

	causes map[string]string // by address: why a peer could last not be reached
	down   map[string]bool   // ids of the members that watchPeers has told of
}

type said struct {
	at   time.Time
	left int // out since
	peer string
}

func newNoise() *noise {
	return &noise{now: time.Now, seen: map[string]*said{}, causes: map[string]string{}, down: map[string]bool{}}
}

// pass says whether a message is to be said, and how many were not since the last time. args are names and values.
func (n *noise) pass(msg string, args []any) (ok bool, left int) {
	peer := peerOf(args)
	key := msg + "\x00" + peer
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.seen[key]
	now := n.now()
	switch {
	case s == nil:
		if len(n.seen) >= noiseKindsMax {
			clear(n.seen)
		}
		n.seen[key] = &said{at: now, peer: peer}
		return true, 0
	case now.Sub(s.at) < noiseEvery:
		s.left++
		return false, 0
	}
	left, s.left, s.at = s.left, 0, now
	return true, left
}

// again forgets what was said of a peer: its next failure is news.
func (n *noise) again(peer string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, s := range n.seen {
		if s.peer == peer {
			delete(n.seen, key)
		}
	}
}

// peerOf is the address of the peer that a message of Raft is about; empty: of none.
func peerOf(args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "address", "target", "server-addr", "server-id":
		default:
			continue
		}
		if s, ok := args[i+1].(raft.Server); ok {
			return string(s.Address)
		}
		return fmt.Sprint(args[i+1])
	}
	return ""
}

// watchPeers says when the leader no longer hears of a member, and when it does again: once each.
func (n *Node) watchPeers() {
	seen := make(chan raft.Observation, 64)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	down := map[raft.ServerID]time.Time{}
	for {
		select {
		case x := <-seen:
			n.peerSeen(x.Data, down)
		case <-n.stop:
			return
		}
	}
}

func (n *Node) peerSeen(x any, down map[raft.ServerID]time.Time) {
	switch x := x.(type) {
	case raft.FailedHeartbeatObservation:
		if _, known := down[x.PeerID]; !known && len(down) < noiseKindsMax {
			down[x.PeerID] = x.LastContact
			n.noise.setDown(x.PeerID, true)
			addr := n.addressOf(x.PeerID)
			n.opts.Log.Warn("a coordinator does not answer", zap.String("address", addr), zap.String("id", string(x.PeerID)),
				zap.Time("last_heard", x.LastContact), zap.String("cause", n.noise.cause(addr)))
		}
	case raft.ResumedHeartbeatObservation:
		addr := n.addressOf(x.PeerID)
		n.noise.again(addr)
		since, known := down[x.PeerID]
		if !known {
			return
		}
		delete(down, x.PeerID)
		n.noise.setDown(x.PeerID, false)
		n.opts.Log.Info("a coordinator answers again", zap.String("address", addr), zap.String("id", string(x.PeerID)),
			zap.Duration("after", time.Since(since).Round(time.Millisecond)))
	}
}

func (n *Node) addressOf(id raft.ServerID) string {
	servers, err := n.configuration()
	if err != nil {
		return ""
	}
	for _, s := range servers {
		if s.ID == id {
			return string(s.Address)
		}
	}
	return ""
}

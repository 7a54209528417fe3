package consensus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// group is several coordinators in one process, joined by memory.
type group struct {
	mu    sync.Mutex
	nodes map[raft.ServerID]*Node
	trans map[raft.ServerID]*raft.InmemTransport
}

// Confirm answers as a peer would: with its own term.
func (g *group) Confirm(_ context.Context, s raft.Server, term uint64) error {
	g.mu.Lock()
	n := g.nodes[s.ID]
	g.mu.Unlock()
	if n == nil || n.raft.CurrentTerm() != term {
		return errs.E("test", errs.Unavailable, "not with you")
	}
	return nil
}

// groupTimeout is of a bubble: Raft's leases and elections go by the clock, and a machine that stalls would end them.
const groupTimeout = 500 * time.Millisecond

// twoVoters is a group of two, the first of whom leads.
func twoVoters(t *testing.T) (g *group, first, second *Node) {
	t.Helper()
	g = &group{nodes: map[raft.ServerID]*Node{}, trans: map[raft.ServerID]*raft.InmemTransport{}}
	first = g.open(t, true)
	awaitReady(t, first)
	second = g.open(t, false)
	must(t, first.raft.AddVoter(second.ID(), raft.ServerAddress(second.ID()), 0, 10*time.Second).Error())
	return g, first, second
}

func (g *group) open(t *testing.T, bootstrap bool) *Node {
	t.Helper()
	o := testOptions(t, vfs.NewMem(), testDir)
	o.Bootstrap, o.Confirmer, o.ElectionTimeout = bootstrap, g, groupTimeout
	o.Transport = func(id raft.ServerID) (raft.Transport, error) {
		_, tr := raft.NewInmemTransport(raft.ServerAddress(id))
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, other := range g.trans {
			tr.Connect(other.LocalAddr(), other)
			other.Connect(tr.LocalAddr(), tr)
		}
		g.trans[id] = tr
		return tr, nil
	}
	n := openNode(t, o)
	g.mu.Lock()
	g.nodes[n.ID()] = n
	g.mu.Unlock()
	return n
}

// stop ends a node as a crash would: no one hears of it.
func (g *group) stop(t *testing.T, n *Node) {
	t.Helper()
	g.mu.Lock()
	delete(g.nodes, n.ID())
	for id, tr := range g.trans {
		if id == n.ID() {
			tr.DisconnectAll()
		} else {
			tr.Disconnect(raft.ServerAddress(n.ID()))
		}
	}
	g.mu.Unlock()
	must(t, n.Close())
}

// leader waits until one of the nodes is ready.
func (g *group) leader(t *testing.T) *Node {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		g.mu.Lock()
		for _, n := range g.nodes {
			if _, err := n.Ready(); err == nil {
				g.mu.Unlock()
				return n
			}
		}
		g.mu.Unlock()
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("no leader")
		}
	}
}

// awaitApplied waits until a node has applied index.
func awaitApplied(t *testing.T, n *Node, index uint64) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for n.Status().AppliedIndex < index {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("applied %d, not %d", n.Status().AppliedIndex, index)
		}
	}
}

// TestThreeCoordinators: one joins by snapshot, the leader dies, a minority answers nothing (I13, I14).
func TestThreeCoordinators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &group{nodes: map[raft.ServerID]*Node{}, trans: map[raft.ServerID]*raft.InmemTransport{}}
		first := g.open(t, true)
		awaitReady(t, first)
		foundCluster(t, first)
		second := g.open(t, false)
		must(t, first.raft.AddVoter(second.ID(), raft.ServerAddress(second.ID()), 0, 10*time.Second).Error())
		for i := range 40 {
			createBucket(t, first, fmt.Sprintf("bucket-%02d", i))
		}
		c := first.raft.ReloadableConfig()
		c.TrailingLogs = 1
		must(t, first.raft.ReloadConfig(c))
		must(t, first.Snapshot())
		third := g.open(t, false) // its log must come as a snapshot: the entries are gone
		must(t, first.raft.AddVoter(third.ID(), raft.ServerAddress(third.ID()), 0, 10*time.Second).Error())
		createBucket(t, first, "after-the-snapshot")
		applied := first.Status().AppliedIndex
		for _, n := range []*Node{second, third} {
			awaitApplied(t, n, applied)
			if hash(t, n) != hash(t, first) {
				t.Fatal("replicas differ")
			}
			if _, err := n.Read(t.Context(), new(metapb.Query)); !errs.Is(err, errs.NotLeader) {
				t.Fatalf("a follower answered: %v", err)
			}
		}
		if third.newestSnapshot() == 0 {
			t.Fatal("the third did not come by a snapshot")
		}

		g.stop(t, first)
		next := g.leader(t)
		a, err := next.Read(t.Context(), &metapb.Query{Q: &metapb.Query_GetBucket{GetBucket: &metapb.GetBucketQuery{Name: "after-the-snapshot"}}})
		must(t, err)
		if a.GetBucket() == nil {
			t.Fatal("the new leader lacks what was acknowledged")
		}
		createBucket(t, next, "by-the-second-leader")

		other := second
		if next == second {
			other = third
		}
		g.stop(t, other)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := next.Read(ctx, new(metapb.Query)); err == nil {
			t.Fatal("a minority answered a read")
		}
		short, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		if _, err := next.Propose(short, sizedCommand("k", 1)); err == nil {
			t.Fatal("a minority took a write")
		}
	})
}

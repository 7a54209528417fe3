package consensus

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"minikv/internal/vfs"
)

// heldTransport is one whose word to take over reaches nobody, and is not refused either, until it is released.
type heldTransport struct {
	*raft.InmemTransport
	released chan struct{}
}

func (h heldTransport) TimeoutNow(raft.ServerID, raft.ServerAddress, *raft.TimeoutNowRequest, *raft.TimeoutNowResponse) error {
	<-h.released
	return errors.New("released")
}

// TestALeaderWhoseVotersAreGoneEndsQuietly, be it that Raft gave up on them before it saw it: on a machine that stood still, the time for an
// attempt and the lease end in one moment. Of voters that are there, it is told.
func TestALeaderWhoseVotersAreGoneEndsQuietly(t *testing.T) {
	t.Parallel() // most of it is waiting
	for _, gone := range []int{1, 2} {
		const attempts = 20 // a leader that stands still too long leads no more
		for i := 0; ; i++ {
			leader, others := heldLeader(t)
			for _, n := range others[:gone] {
				leader.noise.setDown(n.ID(), true)
			}
			err := leader.StepDown()
			if i < attempts && !leader.Leads() {
				continue
			}
			if (err == nil) != (gone == 2) {
				t.Fatalf("%d of 2 voters are gone: %v", gone, err)
			}
			break
		}
	}
}

// heldLeader leads a group of three, and its word to take over is held.
func heldLeader(t *testing.T) (leader *Node, others []*Node) {
	t.Helper()
	g := newGroup()
	released := make(chan struct{})
	o := testOptions(t, vfs.NewMem(), testDir)
	o.Confirmer, o.ElectionTimeout = g, groupTimeout
	o.Transport = func(id raft.ServerID) (raft.Transport, error) {
		_, tr := raft.NewInmemTransport(raft.ServerAddress(id))
		g.trans[id] = tr
		return heldTransport{tr, released}, nil
	}
	leader = openNode(t, o)
	g.nodes[leader.ID()] = leader
	awaitReady(t, leader)
	foundCluster(t, leader)
	for range 2 {
		n := g.open(t, false)
		others = append(others, n)
		must(t, leader.Admit(string(n.ID()), string(n.ID())))
		awaitApplied(t, n, leader.Status().AppliedIndex)
		must(t, leader.Promote(Member{ID: string(n.ID()), Address: string(n.ID())}))
	}
	t.Cleanup(func() { close(released) }) // before the nodes end
	return leader, others
}

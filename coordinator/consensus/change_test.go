package consensus

import (
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

func newGroup() *group {
	return &group{nodes: map[raft.ServerID]*Node{}, trans: map[raft.ServerID]*raft.InmemTransport{}}
}

// threeVoters is a group of three, of which the first one given leads.
func threeVoters(t *testing.T) (*group, []*Node) {
	t.Helper()
	g := newGroup()
	first := g.open(t, true)
	awaitReady(t, first)
	foundCluster(t, first)
	nodes := []*Node{first}
	for range 2 {
		n := g.open(t, false)
		must(t, first.Admit(string(n.ID()), string(n.ID())))
		awaitApplied(t, n, first.Status().AppliedIndex)
		must(t, first.Promote(Member{ID: string(n.ID()), Address: string(n.ID())}))
		nodes = append(nodes, n)
	}
	return g, nodes
}

func memberIDs(t *testing.T, n *Node) map[string]bool {
	t.Helper()
	members, err := n.Members()
	must(t, err)
	voters := map[string]bool{}
	for _, m := range members {
		voters[m.ID] = m.Voter
	}
	return voters
}

func wantKind(t *testing.T, want errs.Kind, err error) {
	t.Helper()
	if errs.KindOf(err) != want || err == nil {
		t.Fatalf("%v; want %v", err, want)
	}
}

var allUp = func(Member) bool { return true }

// TestLeadershipGoesToWhoeverIsThere: the voter that Raft would choose has just gone.
func TestLeadershipGoesToWhoeverIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for gone := 1; gone <= 2; gone++ {
			g, nodes := threeVoters(t)
			for _, n := range nodes {
				awaitApplied(t, n, nodes[0].raft.LastIndex())
			}
			g.stop(t, nodes[gone])
			must(t, nodes[0].StepDown())
			if got := g.leader(t); got != nodes[3-gone] {
				t.Fatalf("%s leads, not %s", got.ID(), nodes[3-gone].ID())
			}
		}
	})
}

// TestALeaderThatReachesNobodyEndsQuietly: nothing is wrong with a node that is the last to end.
func TestALeaderThatReachesNobodyEndsQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, nodes := threeVoters(t)
		for _, n := range nodes {
			awaitApplied(t, n, nodes[0].raft.LastIndex())
		}
		g.mu.Lock()
		g.trans[nodes[0].ID()].DisconnectAll()
		g.mu.Unlock()
		must(t, nodes[0].StepDown())
	})
}

// TestAMemberVotesOnceItIsPromoted, and not before; a replaced one loses its place.
func TestAMemberVotesOnceItIsPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup()
		first := g.open(t, true)
		awaitReady(t, first)
		second := g.open(t, false)
		id := string(second.ID())
		must(t, first.Admit(id, id))
		must(t, first.Admit(id, id)) // twice is once
		if voter, member := memberIDs(t, first)[id]; voter || !member {
			t.Fatalf("voter %v, member %v after Admit", voter, member)
		}
		if second.Formed() != true {
			awaitApplied(t, second, 1)
		}
		must(t, first.Promote(Member{ID: id, Address: id}))
		if !memberIDs(t, first)[id] {
			t.Fatal("it does not vote")
		}
		wantKind(t, errs.Conflict, first.Promote(Member{ID: id, Address: id}))
		wantKind(t, errs.NotLeader, second.Admit("x", "x"))
		wantKind(t, errs.Conflict, first.Promote(Member{ID: "unknown", Address: "unknown"}))

		// The same address with another incarnation: it was wiped.
		must(t, first.Admit("another", id))
		got := memberIDs(t, first)
		if _, still := got[id]; still || len(got) != 2 || got["another"] {
			t.Fatalf("members %v", got)
		}
	})
}

// TestRemoveKeepsAQuorum.
func TestRemoveKeepsAQuorum(t *testing.T) {
	server := func(id string, s raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id), Suffrage: s}
	}
	group := func(voters string) (all []raft.Server) {
		for _, r := range voters {
			all = append(all, server(string(r), raft.Voter))
		}
		return append(all, server("x", raft.Nonvoter))
	}
	for _, c := range []struct {
		voters, remove, down string
		refused              bool
	}{
		{"a", "a", "", true},
		{"ab", "b", "", false}, {"ab", "b", "b", false}, {"ab", "b", "a", true},
		{"abc", "c", "", false}, {"abc", "c", "c", false}, {"abc", "c", "b", true},
		{"abcde", "e", "e", false}, {"abcde", "e", "de", false}, {"abcde", "c", "de", true}, {"abcde", "d", "de", false},
		{"abcd", "d", "d", false}, {"abcd", "d", "cd", false}, {"abcd", "a", "cd", true},
	} {
		up := func(m Member) bool {
			for _, d := range c.down {
				if m.ID == string(d) {
					return false
				}
			}
			return true
		}
		err := mayLose(group(c.voters), raft.ServerID(c.remove), up)
		if (err != nil) != c.refused || c.refused && !errs.Is(err, errs.Conflict) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestMembersLeaveAndTheLeadMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, nodes := threeVoters(t)
		leader, second, third := nodes[0], nodes[1], nodes[2]
		ids := []string{string(leader.ID()), string(second.ID()), string(third.ID())}
		wantKind(t, errs.NoSuchKey, leader.Remove("unknown", allUp))
		wantKind(t, errs.NoSuchKey, leader.TransferTo("unknown"))
		wantKind(t, errs.Conflict, leader.Remove(ids[2], func(m Member) bool { return m.ID != ids[1] }))
		wantKind(t, errs.NotLeader, leader.Remove(ids[0], allUp))
		wantKind(t, errs.NotLeader, second.TransferTo(ids[2]))
		must(t, leader.TransferTo(ids[0])) // it leads already

		must(t, leader.TransferTo(ids[1]))
		awaitReady(t, second)
		must(t, second.Remove(ids[0], allUp))
		if got := memberIDs(t, second); len(got) != 2 {
			t.Fatalf("members %v", got)
		}
		// A non-voter goes whoever is down, and can't lead.
		must(t, second.Admit(ids[0], ids[0]))
		wantKind(t, errs.Conflict, second.TransferTo(ids[0]))
		must(t, second.Remove(ids[0], func(m Member) bool { return m.ID == ids[1] }))
		createBucket(t, second, "goes-on")

		must(t, second.TransferTo(""))
		awaitReady(t, third)
		must(t, third.Remove(ids[1], allUp))
		wantKind(t, errs.Conflict, third.Remove(ids[2], allUp))
		wantKind(t, errs.Conflict, third.TransferTo(""))
		if g.leader(t) != third {
			t.Fatal("the last one does not lead")
		}
	})
}

// TestTwoChangesAtOnce: of four voters of which one is down, any other may go, but not two.
func TestTwoChangesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes := threeVoters(t)
		leader := nodes[0]
		must(t, leader.Admit("ghost", "ghost"))
		must(t, leader.Promote(Member{ID: "ghost", Address: "ghost"}))
		up := func(m Member) bool { return m.ID != "ghost" }
		judged := 0
		must(t, leader.Remove(string(nodes[1].ID()), func(m Member) bool {
			judged++
			if leader.changing.TryLock() { // nothing may get in between this judgement and this change
				leader.changing.Unlock()
				t.Error("another change may be judged meanwhile")
			}
			return up(m)
		}))
		wantKind(t, errs.Conflict, leader.Remove(string(nodes[2].ID()), up))
		if judged == 0 {
			t.Error("nothing was judged")
		}
		if got := memberIDs(t, leader); len(got) != 3 {
			t.Fatalf("members %v", got)
		}
	})
}

package consensus

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// memberMax bounds one change of members.
const memberMax = 5 * time.Second

// Member is a member of the Raft group.
type Member struct {
	ID      string // its incarnation
	Address string // as in Raft's configuration
	Voter   bool
}

// Formed says whether this node has been part of a Raft group, or may have been: it has a log, a snapshot, or has heard of an
// election. One that is not formed has promised nothing to anyone.
func (n *Node) Formed() bool {
	return n.raft.LastIndex() > 0 || n.newestSnapshot() > 0 || n.raft.CurrentTerm() > 1
}

// Form makes a node that is not formed the first of a group of the given voters, of which it is one. Only one node of a new group
// may do so: two first configurations that differ would be two groups. The others learn it from this one.
func (n *Node) Form(voters []Member) error {
	const op = "consensus.Form"
	if n.Formed() {
		return errs.E(op, errs.Conflict, "this coordinator belongs to a group already")
	}
	servers := make([]raft.Server, len(voters))
	for i, m := range voters {
		servers[i] = raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Address)}
	}
	return errs.Wrap(op, n.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error())
}

// Members are those of the latest configuration.
func (n *Node) Members() ([]Member, error) {
	servers, err := n.configuration()
	if err != nil {
		return nil, errs.Wrap("consensus.Members", err)
	}
	all := make([]Member, len(servers))
	for i, s := range servers {
		all[i] = memberOf(s)
	}
	return all, nil
}

// Confirm returns nil when this node is of the incarnation and its current term is the given one.
func (n *Node) Confirm(incarnation string, term uint64) error {
	const op = "consensus.Confirm"
	if incarnation != string(n.id) {
		return errs.E(op, errs.Conflict, "this coordinator is %s, not %s", n.id, incarnation)
	}
	if now := n.raft.CurrentTerm(); now != term {
		return errs.E(op, errs.NotLeader, "it is term %d, not %d", now, term)
	}
	return nil
}

// Admit adds a coordinator that does not vote. An entry of the same address and another incarnation is what it was before it lost
// its folder, and is removed first. Only the leader can.
func (n *Node) Admit(id, addr string) error {
	const op = "consensus.Admit"
	n.changing.Lock()
	defer n.changing.Unlock()
	members, err := n.Members()
	if err != nil {
		return err
	}
	for _, m := range members {
		switch {
		case m.ID == id:
			return nil
		case m.Address == addr:
			if err := n.raft.RemoveServer(raft.ServerID(m.ID), 0, memberMax).Error(); err != nil {
				return changed(op, err)
			}
		}
	}
	return changed(op, n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), 0, memberMax).Error())
}

// Promote makes a member a voter; one that is no member any more stays out: errs.Conflict. Only the leader can; the member should have
// caught up.
func (n *Node) Promote(m Member) error {
	const op = "consensus.Promote"
	n.changing.Lock()
	defer n.changing.Unlock()
	servers, err := n.configuration()
	if err != nil {
		return errs.Wrap(op, err)
	}
	if !slices.ContainsFunc(servers, func(s raft.Server) bool { return memberOf(s) == m }) {
		return errs.E(op, errs.Conflict, "%s is no member, or votes already", m.ID)
	}
	return changed(op, n.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.Address), 0, memberMax).Error())
}

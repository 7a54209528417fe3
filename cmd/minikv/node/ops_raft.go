package node

import (
	"context"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"minikv/coordinator"
	"minikv/coordinator/consensus"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/ops"
	"minikv/internal/rpc/raftnet"
	"minikv/proto/coordpb"
)

// raftGroup is the Raft group as its leader changes it.
type raftGroup struct {
	coord *coordinator.Coordinator
	cfg   *config.Config
	// statusOf asks a coordinator at its RPC address; nil: this process is alone.
	statusOf func(ctx context.Context, addr string) (*coordpb.StatusReply, error)
}

func (g raftGroup) handlers() []ops.Handler {
	return []ops.Handler{
		ops.RaftList.Handle(func(ctx context.Context, _ *ops.None, _ ops.Progress) (*ops.RaftMembers, error) { return g.list(ctx) }),
		ops.RaftAdd.Handle(func(ctx context.Context, q *ops.RaftAddRequest, _ ops.Progress) (*ops.RaftMembers, error) {
			return g.after(ctx, g.add(ctx, q.Address))
		}),
		ops.RaftRemove.Handle(func(ctx context.Context, q *ops.RaftRemoveRequest, _ ops.Progress) (*ops.RaftMembers, error) {
			return g.after(ctx, g.remove(ctx, q.Member))
		}),
		ops.RaftTransfer.Handle(func(ctx context.Context, q *ops.RaftTransferRequest, _ ops.Progress) (*ops.RaftTransferAnswer, error) {
			a, err := g.transfer(ctx, q.Member)
			return a, elsewhere(err)
		}),
	}
}

// elsewhere makes of "this one does not lead" what is asked again at the one that does.
func elsewhere(err error) error {
	if errs.Is(err, errs.NotLeader) {
		return errs.WrapKind("raft", errs.NotProposed, err)
	}
	return err
}

// after lists the members after a change.
func (g raftGroup) after(ctx context.Context, err error) (*ops.RaftMembers, error) {
	if err != nil {
		return nil, elsewhere(err)
	}
	return g.list(ctx)
}

// list asks every member how it is, all at once.
func (g raftGroup) list(ctx context.Context) (*ops.RaftMembers, error) {
	members, err := g.coord.Members()
	if err != nil {
		return nil, err
	}
	own := g.coord.Status()
	out := &ops.RaftMembers{Members: make([]ops.RaftMember, len(members))}
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { out.Members[i] = g.member(ctx, m, own) })
	}
	wg.Wait()
	return out, nil
}

func (g raftGroup) member(ctx context.Context, m consensus.Member, own coordinator.Status) ops.RaftMember {
	r := ops.RaftMember{Incarnation: m.ID, Voter: m.Voter, Leader: m.ID == own.Leader}
	if m.ID == own.ID {
		r.Node, r.Up, r.Applied = g.cfg.Node, true, own.AppliedIndex
	}
	if g.statusOf == nil {
		r.Node = alone
		return r
	}
	var err error
	if r.Address, r.RaftAddress, err = raftnet.SplitAddress(m.Address); err != nil {
		r.Address = m.Address
	}
	if m.ID != own.ID {
		r.Node = nodeAt(g.cfg, r.Address)
		if s := g.answer(ctx, m); s != nil {
			r.Node, r.Up, r.Applied = s.Node, true, s.AppliedIndex
		}
	}
	r.Behind = own.CommitIndex - min(own.CommitIndex, r.Applied)
	return r
}

// answer is what a member says of itself; nil: it does not answer, or is another one by now.
func (g raftGroup) answer(ctx context.Context, m consensus.Member) *coordpb.StatusReply {
	addr, _, err := raftnet.SplitAddress(m.Address)
	if err != nil || g.statusOf == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	s, err := g.statusOf(ctx, addr)
	if err != nil || s.Incarnation != m.ID || s.State == "Shutdown" {
		return nil
	}
	return s
}

var errAlone = errs.E("raft", errs.Unsupported, "this process is alone and has no group to change; a cluster is made with --node and --cluster")

// add makes the coordinator at an address a member, which does not vote until it has caught up.
func (g raftGroup) add(ctx context.Context, addr string) error {
	const op = "raft.add"
	if g.statusOf == nil {
		return errAlone
	}
	ask, cancel := context.WithTimeout(ctx, 2*statusMax)
	defer cancel()
	s, err := g.statusOf(ask, addr)
	switch {
	case err != nil:
		return errs.E(op, errs.Unavailable, "the node at %s does not answer: %v", addr, err)
	case s.RaftAddress == "" || s.Incarnation == "":
		return errs.E(op, errs.Invalid, "the node at %s has no coordinator; allowed: one with the role", addr)
	case s.State == "Shutdown":
		return errs.E(op, errs.Conflict, "node %s was removed from the group and has not been restarted since; restart it, then add it", s.Node)
	case s.Formed && s.Cluster != hex.EncodeToString(g.coord.ClusterID()):
		return errs.E(op, errs.Conflict, "node %s belongs to another cluster, %s", s.Node, orNoneText(s.Cluster))
	}
	members, err := g.coord.Members()
	if err != nil {
		return errs.Wrap(op, err)
	}
	for _, m := range members {
		if m.ID == s.Incarnation {
			return errs.E(op, errs.Conflict, "node %s is a member already", s.Node)
		}
	}
	return g.coord.Admit(s.Incarnation, raftnet.JoinAddresses(addr, s.RaftAddress))
}

func orNoneText(s string) string {
	if s == "" {
		return "which was never founded"
	}
	return s
}

// remove takes a member out. A leader that is to go hands the lead over first, and its successor removes it.
func (g raftGroup) remove(ctx context.Context, name string) error {
	const op = "raft.remove"
	if g.statusOf == nil {
		return errAlone
	}
	m, up, err := g.find(ctx, name)
	if err != nil {
		return err
	}
	err = g.coord.Remove(m.ID, func(m consensus.Member) bool { return up[m.ID] })
	if m.ID != g.coord.ID() || !errs.Is(err, errs.NotLeader) {
		return errs.Wrap(op, err)
	}
	if err := g.coord.TransferTo(""); err != nil {
		return errs.Wrap(op, err)
	}
	return errs.E(op, errs.NotProposed, "the leader has handed over; ask again")
}

// find resolves a node's name, an incarnation or the start of one, or an address. up says who answers now.
func (g raftGroup) find(ctx context.Context, name string) (found consensus.Member, up map[string]bool, err error) {
	const op = "raft"
	list, err := g.list(ctx)
	if err != nil {
		return found, nil, err
	}
	up = map[string]bool{}
	var names []string
	matches := 0
	for _, m := range list.Members {
		up[m.Incarnation] = m.Up
		names = append(names, m.Node)
		short := len(name) >= 8 && strings.HasPrefix(m.Incarnation, name)
		if m.Node == name || m.Address == name || m.RaftAddress == name || short {
			matches++
			found = consensus.Member{ID: m.Incarnation, Address: raftnet.JoinAddresses(m.Address, m.RaftAddress), Voter: m.Voter}
		}
	}
	switch {
	case matches == 0:
		return found, nil, errs.E(op, errs.NoSuchKey, "%q is no member; members are %s", name, strings.Join(names, ", "))
	case matches > 1:
		return found, nil, errs.E(op, errs.Invalid, "%q is more than one member; name the incarnation", name)
	}
	return found, up, nil
}

// transferred bounds the wait for the new leader.
const transferred = 5 * time.Second

// transfer hands the lead over and waits until another one has it.
func (g raftGroup) transfer(ctx context.Context, name string) (*ops.RaftTransferAnswer, error) {
	const op = "raft.transfer"
	if g.statusOf == nil {
		return nil, errAlone
	}
	before := g.coord.Status()
	id := ""
	if name != "" {
		m, up, err := g.find(ctx, name)
		if err != nil {
			return nil, err
		}
		if !up[m.ID] {
			return nil, errs.E(op, errs.Conflict, "%s does not answer and can't lead", name)
		}
		id = m.ID
	}
	if err := g.coord.TransferTo(id); err != nil {
		return nil, errs.Wrap(op, err)
	}
	late := time.NewTimer(transferred)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st := g.coord.Status()
		if st.Leader != "" && (st.Term > before.Term || id == before.ID) {
			return &ops.RaftTransferAnswer{Leader: g.nodeOf(ctx, st.Leader), Term: st.Term}, nil
		}
		select {
		case <-tick.C:
		case <-late.C:
			return nil, errs.E(op, errs.IndeterminateResult, "the lead was handed over, and nobody leads yet")
		}
	}
}

// nodeOf is the node of a member, its incarnation when that can't be told. ctx may have ended with the lead.
func (g raftGroup) nodeOf(ctx context.Context, id string) string {
	members, err := g.coord.Members()
	if err != nil {
		return id
	}
	for _, m := range members {
		if m.ID != id {
			continue
		}
		if m.ID == g.coord.ID() {
			return g.cfg.Node
		}
		if s := g.answer(context.WithoutCancel(ctx), m); s != nil {
			return s.Node
		}
	}
	return id
}

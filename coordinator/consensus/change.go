package consensus

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// Changes of the group. Only the leader makes them, each judged by the latest configuration and made before the next is judged
// (Node.changing), so that two at once do not add up to what neither was allowed to do. Raft could be told the index of the
// configuration that a change was judged by, but does not tell it: the index of GetConfiguration is always 0 (raft 1.8).

// configuration is the latest one.
func (n *Node) configuration() ([]raft.Server, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, errs.WrapKind("consensus.configuration", errs.Unavailable, err)
	}
	return f.Configuration().Servers, nil
}

// Remove takes a member out of the group. answers says whether a member is up now: errs.Conflict when the voters that would remain
// and answer are not a majority of those that would remain, since then nothing could be decided any more. errs.NotLeader: only the
// leader can, and not itself; see StepDown.
func (n *Node) Remove(id string, answers func(Member) bool) error {
	const op = "consensus.Remove"
	n.changing.Lock()
	defer n.changing.Unlock()
	servers, err := n.configuration()
	if err != nil {
		return errs.Wrap(op, err)
	}
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
	if i < 0 {
		return errs.E(op, errs.NoSuchKey, "%s is no member of the group", id)
	}
	if servers[i].Suffrage == raft.Voter {
		if err := mayLose(servers, servers[i].ID, answers); err != nil {
			return errs.Wrap(op, err)
		}
	}
	if servers[i].ID == n.id {
		return errs.E(op, errs.NotLeader, "the leader does not remove itself")
	}
	return changed(op, n.raft.RemoveServer(servers[i].ID, 0, memberMax).Error())
}

// mayLose says whether the voters can do without one of them.
func mayLose(servers []raft.Server, id raft.ServerID, answers func(Member) bool) error {
	const op = "consensus.mayLose"
	left, up := 0, 0
	var silent []string
	for _, s := range servers {
		if s.Suffrage != raft.Voter || s.ID == id {
			continue
		}
		left++
		if answers(memberOf(s)) {
			up++
		} else {
			silent = append(silent, string(s.Address))
		}
	}
	switch {
	case left == 0:
		return errs.E(op, errs.Conflict, "it is the only voter: without it there would be no group")
	case up < left/2+1:
		return errs.E(op, errs.Conflict, "%d voters would remain, of which %s do not answer: nothing could be decided any more", left, strings.Join(silent, " and "))
	}
	return nil
}

func memberOf(s raft.Server) Member {
	return Member{string(s.ID), string(s.Address), s.Suffrage == raft.Voter}
}

// TransferTo hands leadership to a voter and returns when that one was told to take over, at most some seconds later; an empty id is
// the voter whose log is longest. errs.Conflict: it can't; errs.NotLeader: this node does not lead.
func (n *Node) TransferTo(id string) error {
	const op = "consensus.TransferTo"
	if !n.Leads() {
		return errs.E(op, errs.NotLeader, "this coordinator does not lead")
	}
	servers, err := n.configuration()
	if err != nil {
		return errs.Wrap(op, err)
	}
	transfer := n.raft.LeadershipTransfer
	if id != "" {
		i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
		switch {
		case i < 0:
			return errs.E(op, errs.NoSuchKey, "%s is no member of the group", id)
		case servers[i].Suffrage != raft.Voter:
			return errs.E(op, errs.Conflict, "%s does not vote yet, and can't lead", id)
		case servers[i].ID == n.id:
			return nil
		}
		transfer = func() raft.Future { return n.raft.LeadershipTransferToServer(servers[i].ID, servers[i].Address) }
	} else if voters(servers) < 2 {
		return errs.E(op, errs.Conflict, "there is no other voter")
	}
	return changed(op, n.within(transferMax, transfer))
}

func voters(servers []raft.Server) (n int) {
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}

var errLate = errors.New("it took too long")

// within waits for a future, which goes on by itself when it is late.
func (n *Node) within(d time.Duration, f func() raft.Future) error {
	done := n.futures.wait(f)
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return errLate
	}
}

// changed classifies what Raft said of a change.
func changed(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return errs.WrapKind(op, errs.NotLeader, err)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, errLate):
		return errs.WrapKind(op, errs.IndeterminateResult, err)
	}
	return errs.WrapKind(op, errs.Unavailable, err)
}

package consensus

import (
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// transferMax bounds the handing over of leadership.
const transferMax = 3 * time.Second

// transferAgain is how soon it is tried again while Raft has not let go of the attempt before.
const transferAgain = 5 * time.Millisecond

// StepDown hands leadership to another voter, if this node leads and there is one that can be reached; it waits for some seconds at most.
// Raft proposes the one that has most of the log, which may have gone a moment ago: then the others are asked.
func (n *Node) StepDown() error {
	const op = "consensus.StepDown"
	if !n.Leads() || n.alone() {
		return nil
	}
	until := time.Now().Add(transferMax)
	err := n.transfer(until, func() raft.Future { return n.raft.LeadershipTransfer() })
	reached := false // by the attempt above it is not known who: it may end without a word of one that is gone
	servers, _ := n.configuration()
	for _, s := range servers {
		if err == nil || !n.Leads() {
			return nil
		}
		if s.Suffrage == raft.Voter && s.ID != n.id && !n.noise.isDown(string(s.ID)) {
			err = n.transfer(until, func() raft.Future { return n.raft.LeadershipTransferToServer(s.ID, s.Address) })
			reached = reached || !unreached(err) && !n.noise.isDown(string(s.ID))
		}
	}
	switch {
	case err == nil || !n.Leads():
		return nil
	case !reached: // nobody is there; watchPeers tells that
		return nil
	case errors.Is(err, errLate):
		return errs.E(op, errs.Timeout, "no voter took over")
	}
	return errs.Wrap(op, err)
}

// transfer tries once. Raft answers an attempt a moment before the next may begin.
func (n *Node) transfer(until time.Time, f func() raft.Future) error {
	for {
		err := n.within(time.Until(until), f)
		if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return err
		}
		select {
		case <-time.After(transferAgain):
		case <-n.stop:
			return err
		}
	}
}

// unreached says that a transfer failed since the voter that was to lead could not be reached. Raft tells it as text.
func unreached(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "failed to make TimeoutNow RPC to ")
}

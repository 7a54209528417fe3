package consensus

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// ordinary says that a warning or error of Raft's is of what happens whenever coordinators start, stop, elect a leader or catch up: it is
// told at level debug. That a peer can't be reached is told by watchPeers instead, once and with the cause, which is kept here.
func (n *noise) ordinary(msg string, args []any) bool {
	switch msg {
	case "appendEntries rejected, sending older logs",
		"rejecting vote request since we have a leader", "rejecting pre-vote request since we have a leader",
		"rejecting vote request since our last term is greater", "rejecting pre-vote request since our last term is greater",
		"rejecting vote request since our last index is greater", "rejecting pre-vote request since our last index is greater",
		"duplicate requestVote from", "new leader elected, stepping down", "peer has newer term, stopping replication", "no known peers, aborting election":
		return true
	case "heartbeat timeout reached, starting election": // there was none: the group begins
		return fmt.Sprint(argOf(args, "last-leader-addr")) == ""
	case "failed to get previous log": // a follower that has to catch up
		err, _ := argOf(args, "error").(error)
		return errors.Is(err, raft.ErrLogNotFound)
	case "failed to contact":
		return n.isDown(fmt.Sprint(argOf(args, "server-id")))
	case "failed to make requestVote RPC", "failed to heartbeat to", "failed to appendEntries to", "failed to pipeline appendEntries",
		"failed to start pipeline replication to":
		err, _ := argOf(args, "error").(error)
		if !unreachable(err) {
			return false
		}
		n.keepCause(peerOf(args), err)
		return true
	}
	return false
}

// unreachable says that an error is of the way to a peer, or of a peer that is shutting down, and not an answer of it.
func unreachable(err error) bool {
	if err == nil {
		return false
	}
	err = errs.Uncoded(err)
	for _, e := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, raft.ErrTransportShutdown,
		raft.ErrPipelineShutdown,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	// What a peer answers arrives as text.
	return errs.Is(err, errs.Unavailable) || err.Error() == raft.ErrRaftShutdown.Error() || err.Error() == raft.ErrTransportShutdown.Error()
}

func argOf(args []any, name string) any {
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == name {
			return args[i+1]
		}
	}
	return nil
}

func (n *noise) keepCause(peer string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.causes) >= noiseKindsMax {
		clear(n.causes)
	}
	n.causes[peer] = err.Error()
}

// cause is why a peer could last not be reached.
func (n *noise) cause(peer string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.causes[peer]
}

func (n *noise) setDown(id raft.ServerID, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if down {
		n.down[string(id)] = true
	} else {
		delete(n.down, string(id))
	}
}

func (n *noise) isDown(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down[id]
}

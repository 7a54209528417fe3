package consensus

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// watched wakes whoever waits for a change.
type watched struct {
	mu sync.Mutex
	ch chan struct{}
}

func newWatched() *watched { return &watched{ch: make(chan struct{})} }

// changed is closed at the next change.
func (w *watched) changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch
}

func (w *watched) change() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.ch)
	w.ch = make(chan struct{})
}

// Changed is closed when leadership or readiness next changes. Take it before asking Ready.
func (n *Node) Changed() <-chan struct{} { return n.term.changed() }

// watchLeadership drains NotifyCh, which Raft's main loop blocks on, and runs the barrier of each term this node leads.
func (n *Node) watchLeadership() {
	var barriers sync.WaitGroup
	defer barriers.Wait()
	for {
		select {
		case leads := <-n.notify:
			if !leads {
				n.reads.setReady(0)
				n.term.change()
				continue
			}
			barriers.Go(n.barrier)
		case <-n.stop:
			return
		}
	}
}

// barrier waits until everything before this term is applied here; it tries again while the term is ours.
func (n *Node) barrier() {
	term := n.raft.CurrentTerm()
	ours := func() bool { return n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term }
	for ours() {
		done := n.futures.wait(func() raft.Future { return n.raft.Barrier(enqueueMax) })
		var err error
		select {
		case err = <-done:
		case <-n.stop:
			return
		}
		// The same term before and after: the barrier was an entry of that term.
		if err == nil && ours() {
			n.reads.setReady(term)
			n.term.change()
			return
		}
		if !ours() { // Raft has told why
			n.opts.Log.Debug("the term ended before its barrier", zap.Uint64("term", term), zap.Error(err))
			return
		}
		n.opts.Log.Warn("the barrier of a new leader failed", zap.Uint64("term", term), zap.Error(err))
		select {
		case <-time.After(watchEvery):
		case <-n.stop:
			return
		}
	}
}

// watchLogSize takes a snapshot after every so many bytes of log, and keeps a bounded number of bytes behind it.
func (n *Node) watchLogSize() {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	lastBytes, lastIndex := uint64(0), n.raft.LastIndex()
	for {
		select {
		case <-t.C:
		case <-n.stop:
			return
		}
		bytes := n.log.appended.Load() - lastBytes
		if bytes < n.opts.SnapshotEveryBytes {
			continue
		}
		index := n.raft.LastIndex()
		n.setTrailing(bytes, index-min(index, lastIndex))
		if err := n.Snapshot(); err != nil {
			n.opts.Log.Warn("a snapshot failed", zap.Error(err))
		}
		// After a failure too: the next attempt comes after as many bytes again, not at once.
		lastBytes, lastIndex = lastBytes+bytes, index
	}
}

// setTrailing bounds the entries that stay behind a snapshot by the mean size of the latest.
func (n *Node) setTrailing(bytes, entries uint64) {
	keep := uint64(trailingEntriesMax)
	if entries > 0 {
		keep = trailingBytes / max(1, bytes/entries)
	}
	n.reload.Lock()
	defer n.reload.Unlock()
	c := n.raft.ReloadableConfig()
	c.TrailingLogs = min(max(keep, trailingEntriesMin), trailingEntriesMax)
	if err := n.raft.ReloadConfig(c); err != nil {
		n.opts.Log.Warn("the number of trailing entries was refused", zap.Error(err))
	}
}

// Snapshot takes one now. Nothing new to take is no error.
func (n *Node) Snapshot() error {
	done := n.futures.wait(func() raft.Future { return n.raft.Snapshot() })
	select {
	case err := <-done:
		if err == raft.ErrNothingNewToSnapshot {
			return nil
		}
		return err
	case <-n.stop:
		return raft.ErrRaftShutdown
	}
}

// Status is what operators want to know of a node.
type Status struct {
	ID            string
	State         string // Leader, Follower, Candidate, Shutdown
	Leader        string // id; empty: unknown
	Term          uint64
	CommitIndex   uint64
	AppliedIndex  uint64 // in the state machine
	LastIndex     uint64 // in the log
	SnapshotIndex uint64 // newest
	LogBytes      uint64 // appended since the start
	Proposed      uint64 // commands put into entries here, since the start
	Queued        uint64 // commands that wait to be put into an entry
	InFlight      uint64 // commands in entries that are not decided yet
	Unknown       uint64 // commands in entries that ended without anyone knowing whether they will take effect, since the start
	Entries       uint64 // that they went in
	Reads         uint64 // asked here, since the start
	ReadRounds    uint64 // of questions to the other voters
}

// Status is taken without waiting for anything.
func (n *Node) Status() Status {
	_, leader := n.raft.LeaderWithID()
	return Status{
		ID: string(n.id), State: n.raft.State().String(), Leader: string(leader), Term: n.raft.CurrentTerm(),
		CommitIndex: n.raft.CommitIndex(), AppliedIndex: n.fsm.applied.Load(), LastIndex: n.raft.LastIndex(),
		SnapshotIndex: n.newestSnapshot(), LogBytes: n.log.appended.Load(),
		Proposed: n.props.proposed.Load(), Queued: uint64(len(n.props.queue)), InFlight: n.props.inFlight(), Unknown: n.props.unknown.Load(),
		Entries: n.props.entries.Load(), Reads: n.reads.asked.Load(), ReadRounds: n.reads.held.Load(),
	}
}

// Announce wakes whoever waits for Changed: something that Ready depends on changed outside the node.
func (n *Node) Announce() { n.term.change() }

package consensus

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// Confirmer asks other coordinators whether a term is still theirs.
type Confirmer interface {
	// Confirm returns nil when the server is of the incarnation that its id names and its current term is term. Asked only of
	// voters other than ourselves, and only after the reads that wait for it have arrived.
	Confirm(ctx context.Context, server raft.Server, term uint64) error
}

// readRaft is what reads need of Raft.
type readRaft interface {
	State() raft.RaftState
	CurrentTerm() uint64
	voters() ([]raft.Server, error) // of the latest configuration
}

// reads lets a leader answer reads linearizably: a round of confirmations serves all reads that wait when it begins (C6).
type reads struct {
	self raft.ServerID
	raft readRaft
	ask  Confirmer // nil: a single voter only

	asked, held atomic.Uint64 // reads, and the rounds of questions that served them; for Status

	wg sync.WaitGroup // rounds and questions

	mu      sync.Mutex // guards what follows, and what is added to wg from outside of it
	ready   uint64     // term whose barrier was applied; 0: none
	waiting *round     // the next to begin
	running bool
	asking  context.CancelFunc // ends the running round's questions
	closed  bool
}

// round is one round of confirmations.
type round struct {
	done chan struct{}
	err  error // once done
}

// setReady says that everything before the term was applied here.
func (r *reads) setReady(term uint64) {
	r.mu.Lock()
	r.ready = term
	r.mu.Unlock()
}

// leading is the term that this node leads with its barrier behind it.
func (r *reads) leading() (uint64, error) {
	const op = "consensus.Read"
	r.mu.Lock()
	ready := r.ready
	r.mu.Unlock()
	if ready == 0 || r.raft.State() != raft.Leader || r.raft.CurrentTerm() != ready {
		return 0, errs.E(op, errs.NotLeader, "this coordinator does not lead, or not yet")
	}
	return ready, nil
}

// confirm returns nil when everything that was acknowledged before the call can be read here now.
func (r *reads) confirm(ctx context.Context) error {
	r.asked.Add(1)
	if _, err := r.leading(); err != nil {
		return err
	}
	voters, err := r.raft.voters()
	if err != nil {
		return errs.WrapKind("consensus.Read", errs.Unavailable, err)
	}
	if len(voters) == 1 && voters[0].ID == r.self {
		// No one else can have been elected; leading was checked after the read arrived.
		_, err := r.leading()
		return err
	}
	w := r.join()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return errs.Wrap("consensus.Read", ctx.Err())
	}
}

// join waits for the next round that begins from now on.
func (r *reads) join() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = &round{done: make(chan struct{})}
	}
	w := r.waiting
	if r.closed {
		r.waiting, w.err = nil, errReadsClosed
		close(w.done)
		return w
	}
	if !r.running {
		r.running = true
		r.wg.Go(r.rounds)
	}
	return w
}

var errReadsClosed = errs.E("consensus.Read", errs.Unavailable, "shutting down")

// close ends the round that runs and waits for its goroutines. Reads are refused from now on.
func (r *reads) close() {
	r.mu.Lock()
	r.closed = true
	if r.asking != nil {
		r.asking()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// rounds runs while someone waits.
func (r *reads) rounds() {
	for {
		r.mu.Lock()
		w := r.waiting
		r.waiting = nil
		if w == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		w.err = r.oneRound()
		close(w.done)
	}
}

// oneRound asks all voters and returns as soon as a majority confirmed or can't any more.
func (r *reads) oneRound() error {
	const op = "consensus.Read"
	r.held.Add(1)
	term, err := r.leading()
	if err != nil {
		return err
	}
	voters, err := r.raft.voters()
	if err != nil {
		return errs.WrapKind(op, errs.Unavailable, err)
	}
	ctx, cancel := r.begin()
	defer cancel()
	answers := make(chan error, len(voters))
	for _, v := range voters {
		switch {
		case v.ID == r.self:
			answers <- nil
		case r.ask == nil:
			answers <- errs.E(op, errs.Unavailable, "no way to ask %s", v.ID)
		default:
			r.wg.Go(func() { answers <- r.ask.Confirm(ctx, v, term) })
		}
	}
	if err := majority(answers, len(voters)); err != nil {
		return errs.WrapKind(op, errs.Unavailable, err)
	}
	now, err := r.leading()
	if err == nil && now != term {
		err = errs.E(op, errs.NotLeader, "the term changed")
	}
	return err
}

// begin gives a round's context, which ends with close too.
func (r *reads) begin() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), confirmMax)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asking = cancel; r.closed {
		cancel()
	}
	return ctx, cancel
}

func majority(answers <-chan error, voters int) error {
	yes, no := 0, 0
	for {
		err := <-answers
		if err == nil {
			yes++
		} else {
			no++
		}
		if yes > voters/2 {
			return nil
		}
		if no >= voters-voters/2 {
			return err
		}
	}
}

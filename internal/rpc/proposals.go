package rpc

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// Bounds of one ProposeSome.
const (
	proposalsMax      = 128
	proposalBytesMax  = 16 << 10 // of a command that shares a call
	proposalsBytesMax = 256 << 10
)

// sharedProposal is a small command of a session that waits for a place in a call.
type sharedProposal struct {
	cmd    *metapb.Command
	bytes  int
	result *metapb.Result // before wordDecided
	err    error          // before wordFailed
	waiter
}

// Answers to a command that was taken along.
const (
	wordDecided      word = wordLead + 1 + iota
	wordFailed            // its error says whether it may have been proposed
	wordProposeAlone      // it surely was not
)

// shareableCommand is nil for a large command and for one without a session: only by session and sequence may it be asked for again.
func shareableCommand(cmd *metapb.Command) *sharedProposal {
	if len(cmd.GetSession()) == 0 || cmd.GetSequence() == 0 {
		return nil
	}
	if n := proto.Size(cmd); n <= proposalBytesMax {
		return &sharedProposal{cmd: cmd, bytes: n}
	}
	return nil
}

// proposeShared has small commands share calls. Each has its own outcome: one that fails says nothing of the others. A command that
// surely was not proposed goes on alone; a call whose answer is lost leaves all in doubt, as each would be by itself.
func (c *CoordinatorClient) proposeShared(ctx context.Context, p *sharedProposal) (*metapb.Result, error) {
	if c.proposals.enter(p) {
		return c.leadProposals(ctx, p)
	}
	return c.awaitProposal(ctx, p)
}

// awaitProposal waits until p is told to lead, or what became of it.
func (c *CoordinatorClient) awaitProposal(ctx context.Context, p *sharedProposal) (*metapb.Result, error) {
	select {
	case w := <-p.told:
		switch w {
		case wordLead:
			return c.leadProposals(ctx, p)
		case wordDecided:
			return p.result, nil
		case wordFailed:
			return nil, p.err
		}
		return c.proposeAlone(ctx, p.cmd)
	case <-ctx.Done():
		kind := errs.IndeterminateResult
		if c.proposals.leave(p) {
			kind = errs.NotProposed
		}
		return nil, errs.WrapKind(opOf(methodPropSome), kind, ctx.Err())
	}
}

// leadProposals makes a call for p and those that wait.
func (c *CoordinatorClient) leadProposals(ctx context.Context, p *sharedProposal) (*metapb.Result, error) {
	if err := ctx.Err(); err != nil { // told to lead in the same moment
		c.proposals.ended()
		return nil, errs.WrapKind(opOf(methodPropSome), errs.NotProposed, err)
	}
	bytes := p.bytes
	others := c.proposals.take(&p.waiter, proposalsMax-1, func(o *sharedProposal) bool {
		if bytes+o.bytes > proposalsBytesMax {
			return false
		}
		bytes += o.bytes
		return true
	})
	if len(others) == 0 {
		defer c.proposals.ended()
		return c.proposeAlone(ctx, p.cmd)
	}
	call, end := p.with.begin(ctx)
	go c.callProposals(call, end, append([]*sharedProposal{p}, others...))
	return c.awaitProposal(ctx, p)
}

// callProposals makes a call for all and tells them what became of it. It ends with the call, at latest when the last of them has gone.
func (c *CoordinatorClient) callProposals(ctx context.Context, end context.CancelFunc, all []*sharedProposal) {
	results, w, err := c.proposeSome(ctx, all)
	end()
	c.proposals.ended()
	for i, o := range all {
		told := w
		if o.err = err; w == wordDecided {
			o.result, told, o.err = outcomeOf(results[i])
		}
		o.told <- told
	}
}

// proposeSome asks the leader once, and says what became of the commands: all but wordDecided is said of each of them.
func (c *CoordinatorClient) proposeSome(ctx context.Context, all []*sharedProposal) ([]*metapb.Result, word, error) {
	addr, err := c.find.leader(ctx)
	if err != nil {
		return nil, wordProposeAlone, err
	}
	req := &coordpb.ProposeSomeRequest{Commands: make([]*metapb.Command, len(all))}
	for i, p := range all {
		req.Commands[i] = p.cmd
	}
	attempt, cancel := c.find.attempt(ctx, addr, c.cfg.AttemptMax)
	defer cancel()
	var reply coordpb.ProposeSomeReply
	r, sent, err := c.once(attempt, addr, methodPropSome, req, &reply)
	switch {
	case err == nil && len(reply.Results) == len(req.Commands):
		return reply.Results, wordDecided, nil
	case err == nil:
		return nil, wordFailed, errs.E(opOf(methodPropSome), errs.IndeterminateResult, "%d results of %d commands", len(reply.Results), len(req.Commands))
	}
	c.doubt(addr, r)
	if !sent || r.ran && surelyNone(r.kind) || r.kind == errs.AccessDenied || r.kind == errs.Unsupported {
		return nil, wordProposeAlone, err
	}
	return nil, wordFailed, errs.WrapKind(opOf(methodPropSome), errs.IndeterminateResult, err)
}

// outcomeOf reads one result of an answer.
func outcomeOf(r *metapb.Result) (*metapb.Result, word, error) {
	if r.Index > 0 || !r.Failed {
		return r, wordDecided, nil
	}
	kind := errs.Kind(r.Kind)
	if kind == errs.NotLeader || kind == errs.NotProposed {
		return nil, wordProposeAlone, nil
	}
	return nil, wordFailed, errs.E(opOf(methodPropSome), answerKind(kind), "%s", r.Message)
}

// notDecided is the result of a command that failed: no entry has the index 0.
func notDecided(err error) *metapb.Result {
	return &metapb.Result{Failed: true, Kind: uint32(errs.KindOf(err)), Message: clip(errs.Message(err))}
}

// surelyNone kinds say that a proposal never was and never will be made.
func surelyNone(k errs.Kind) bool {
	return k == errs.NotLeader || k == errs.NotProposed || k == errs.StorageFull
}

// answerKind is what a coordinator's answer of kind k says of a command: what does not say that it was refused before it was proposed leaves
// that open. A handler's deadline is its caller's, and its word of that may come before the caller's own clock has struck.
func answerKind(k errs.Kind) errs.Kind {
	if surelyNone(k) || k == errs.Invalid || k == errs.LimitExceeded || k == errs.Unsupported {
		return k
	}
	return errs.IndeterminateResult
}

// proposeSome proposes all beside each other, so that they go into one entry. Its error says that surely none was proposed.
func (s *coordinatorServer) proposeSome(ctx context.Context, m *coordpb.ProposeSomeRequest) (*coordpb.ProposeSomeReply, error) {
	const op = "rpc.ProposeSome"
	n := len(m.Commands)
	if n == 0 || n > proposalsMax {
		return nil, errs.E(op, errs.NotProposed, "%d commands; 1 to %d are possible", n, proposalsMax)
	}
	for _, c := range m.Commands {
		if len(c.GetSession()) == 0 {
			return nil, errs.E(op, errs.NotProposed, "a command without a session is proposed alone")
		}
	}
	reply := &coordpb.ProposeSomeReply{Results: make([]*metapb.Result, n)}
	failed := make([]error, n)
	var wg sync.WaitGroup
	for i := 1; i < n; i++ {
		wg.Go(func() { reply.Results[i], failed[i] = s.c.Propose(ctx, m.Commands[i]) })
	}
	reply.Results[0], failed[0] = s.c.Propose(ctx, m.Commands[0])
	wg.Wait()
	proposed := false
	for i, err := range failed {
		proposed = proposed || err == nil || !surelyNone(errs.KindOf(err))
		if err != nil {
			reply.Results[i] = notDecided(err)
		}
	}
	if !proposed {
		return nil, failed[0]
	}
	return reply, nil
}

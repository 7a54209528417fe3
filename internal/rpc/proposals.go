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
	err    error          // before wordDoubtful
	waiter
}

// Answers to a command that was taken along.
const (
	wordDecided      word = wordLead + 1 + iota
	wordDoubtful          // it may have been proposed
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

// proposeShared has small commands share calls. A call that surely proposed nothing makes each go on alone; one that may have
// leaves all of its commands in doubt, as each would be by itself.
func (c *CoordinatorClient) proposeShared(ctx context.Context, p *sharedProposal) (*metapb.Result, error) {
	if c.proposals.enter(p) {
		return c.leadProposals(ctx, p)
	}
	select {
	case w := <-p.told:
		switch w {
		case wordLead:
			return c.leadProposals(ctx, p)
		case wordDecided:
			return p.result, nil
		case wordDoubtful:
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
	others := c.proposals.take(proposalsMax-1, func(o *sharedProposal) bool {
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
	results, w, err := c.proposeSome(ctx, p, others)
	c.proposals.ended()
	for i, o := range others {
		if w == wordDecided {
			o.result = results[i+1]
		}
		o.err = err
		o.told <- w
	}
	switch w {
	case wordDecided:
		return results[0], nil
	case wordDoubtful:
		return nil, err
	}
	return c.proposeAlone(ctx, p.cmd)
}

// proposeSome asks the leader once, and says what became of the commands.
func (c *CoordinatorClient) proposeSome(ctx context.Context, p *sharedProposal, others []*sharedProposal) ([]*metapb.Result, word, error) {
	addr, err := c.find.leader(ctx)
	if err != nil {
		return nil, wordProposeAlone, err
	}
	req := &coordpb.ProposeSomeRequest{Commands: make([]*metapb.Command, 1, 1+len(others))}
	req.Commands[0] = p.cmd
	for _, o := range others {
		req.Commands = append(req.Commands, o.cmd)
	}
	attempt, cancel := context.WithTimeout(ctx, c.cfg.AttemptMax)
	defer cancel()
	var reply coordpb.ProposeSomeReply
	r, sent, err := c.once(attempt, addr, methodPropSome, req, &reply)
	switch {
	case err == nil && len(reply.Results) == len(req.Commands):
		return reply.Results, wordDecided, nil
	case err == nil:
		return nil, wordDoubtful, errs.E(opOf(methodPropSome), errs.IndeterminateResult, "%d results of %d commands", len(reply.Results), len(req.Commands))
	}
	if ctx.Err() == nil {
		c.doubt(addr, r)
	}
	if !sent || r.ran && surelyNone(r.kind) || r.kind == errs.AccessDenied || r.kind == errs.Unsupported {
		return nil, wordProposeAlone, err
	}
	return nil, wordDoubtful, errs.WrapKind(opOf(methodPropSome), errs.IndeterminateResult, err)
}

// surelyNone kinds say that a proposal never was and never will be made.
func surelyNone(k errs.Kind) bool {
	return k == errs.NotLeader || k == errs.NotProposed || k == errs.StorageFull
}

// proposeSome proposes all beside each other, so that they go into one entry. Its error is a kind of surelyNone only if every
// command failed with one.
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
	err := firstOf(failed)
	if err == nil {
		return reply, nil
	}
	for _, e := range failed {
		if e == nil || !surelyNone(errs.KindOf(e)) {
			return nil, errs.WrapKind(op, errs.IndeterminateResult, err)
		}
	}
	return nil, err
}

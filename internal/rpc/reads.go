package rpc

import (
	"context"
	"sync"

	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// readsMax bounds the queries of one ReadSome.
const readsMax = 64

// sharedRead is a small query that waits for a place in a call.
type sharedRead struct {
	q      *metapb.Query
	answer *metapb.Answer // before wordAnswered
	waiter
}

// Answers to a query that was taken along.
const (
	wordAnswered word = wordLead + 1 + iota
	wordReadAlone
)

// shareable queries have small answers and come in crowds.
func shareable(q *metapb.Query) bool {
	switch q.GetQ().(type) {
	case *metapb.Query_GetObject, *metapb.Query_GetBucket:
		return true
	}
	return false
}

// readShared has small queries share calls, and so the leader's rounds of confirmations. A query goes with a call that is made after it
// arrived: linearizable as any. Should the call fail, for whatever reason, each goes on alone.
func (c *CoordinatorClient) readShared(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	r := &sharedRead{q: q}
	if c.reads.enter(r) {
		return c.leadReads(ctx, r)
	}
	return c.awaitRead(ctx, r)
}

// awaitRead waits until r is told to lead, or that it was answered.
func (c *CoordinatorClient) awaitRead(ctx context.Context, r *sharedRead) (*metapb.Answer, error) {
	select {
	case w := <-r.told:
		switch w {
		case wordLead:
			return c.leadReads(ctx, r)
		case wordAnswered:
			return r.answer, nil
		}
		return c.readAlone(ctx, r.q)
	case <-ctx.Done():
		c.reads.leave(r)
		return nil, errs.Wrap(opOf(methodReadSome), ctx.Err())
	}
}

// leadReads makes a call for r and those that wait.
func (c *CoordinatorClient) leadReads(ctx context.Context, r *sharedRead) (*metapb.Answer, error) {
	if err := ctx.Err(); err != nil { // told to lead in the same moment
		c.reads.ended()
		return nil, errs.Wrap(opOf(methodReadSome), err)
	}
	others := c.reads.take(&r.waiter, readsMax-1, func(*sharedRead) bool { return true })
	if len(others) == 0 {
		defer c.reads.ended()
		return c.readAlone(ctx, r.q)
	}
	call, end := r.with.begin(ctx)
	go c.callReads(call, end, append([]*sharedRead{r}, others...))
	return c.awaitRead(ctx, r)
}

// callReads makes a call for all and tells them what became of it. It ends with the call, at latest when the last of them has gone.
func (c *CoordinatorClient) callReads(ctx context.Context, end context.CancelFunc, all []*sharedRead) {
	answers, err := c.readSome(ctx, all)
	end()
	c.reads.ended()
	for i, o := range all {
		if err != nil {
			o.told <- wordReadAlone
			continue
		}
		o.answer = answers[i]
		o.told <- wordAnswered
	}
}

// readSome asks the leader once.
func (c *CoordinatorClient) readSome(ctx context.Context, all []*sharedRead) ([]*metapb.Answer, error) {
	addr, err := c.find.leader(ctx)
	if err != nil {
		return nil, err
	}
	req := &coordpb.ReadSomeRequest{Queries: make([]*metapb.Query, len(all))}
	for i, r := range all {
		req.Queries[i] = r.q
	}
	attempt, cancel := c.find.attempt(ctx, addr, c.cfg.AttemptMax)
	defer cancel()
	var reply coordpb.ReadSomeReply
	if r, _, err := c.once(attempt, addr, methodReadSome, req, &reply); err != nil {
		if ctx.Err() == nil {
			c.doubt(addr, r)
		}
		return nil, err
	}
	if len(reply.Answers) != len(req.Queries) {
		return nil, errs.E(opOf(methodReadSome), errs.Other, "%d answers to %d queries", len(reply.Answers), len(req.Queries))
	}
	return reply.Answers, nil
}

// readSome asks beside each other, so that one round of confirmations does for all.
func (s *coordinatorServer) readSome(ctx context.Context, m *coordpb.ReadSomeRequest) (*coordpb.ReadSomeReply, error) {
	n := len(m.Queries)
	if n == 0 || n > readsMax {
		return nil, errs.E("rpc.ReadSome", errs.Invalid, "%d queries; 1 to %d are possible", n, readsMax)
	}
	for _, q := range m.Queries {
		if !shareable(q) {
			return nil, errs.E("rpc.ReadSome", errs.Invalid, "%T is asked alone", q.GetQ())
		}
	}
	reply := &coordpb.ReadSomeReply{Answers: make([]*metapb.Answer, n)}
	failed := make([]error, n)
	var wg sync.WaitGroup
	for i := 1; i < n; i++ {
		wg.Go(func() { reply.Answers[i], failed[i] = s.c.Read(ctx, m.Queries[i]) })
	}
	reply.Answers[0], failed[0] = s.c.Read(ctx, m.Queries[0])
	wg.Wait()
	return reply, firstOf(failed)
}

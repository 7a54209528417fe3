package rpc

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"

	"minikv/internal/errs"
	"minikv/internal/ops"
	"minikv/proto/coordpb"
)

var adminDesc = &grpc.StreamDesc{ServerStreams: true}

func (s *coordinatorServer) admin(ctx context.Context, ss grpc.ServerStream) error {
	const op = "rpc.Admin"
	var q coordpb.AdminRequest
	if err := ss.RecvMsg(&q); err != nil {
		return brokenOff(op, err)
	}
	spec, ok := ops.Find(q.Operation)
	switch {
	case !s.c.Status().Ready:
		return errs.E(op, errs.NotLeader, "this coordinator does not lead")
	case s.c.Admin == nil || !ok || spec.Place != ops.Leader:
		return errs.E(op, errs.Unsupported, "this coordinator does not know the operation %q", q.Operation)
	}
	sink := adminSink{ss}
	if err := sink.send(&coordpb.AdminReply{}); err != nil {
		return err
	}
	answer, err := s.c.Admin.Operate(ctx, spec, q.Body, sink)
	if err != nil {
		return err
	}
	return sink.send(&coordpb.AdminReply{Step: &coordpb.AdminReply_Result{Result: answer}})
}

type adminSink struct{ ss grpc.ServerStream }

func (a adminSink) send(m *coordpb.AdminReply) error {
	return errs.WrapKind("rpc.Admin", errs.Canceled, a.ss.SendMsg(m))
}

func (a adminSink) Event(b []byte) error {
	return a.send(&coordpb.AdminReply{Step: &coordpb.AdminReply_Event{Event: b}})
}

func (a adminSink) Chunk(b []byte) error {
	return a.send(&coordpb.AdminReply{Step: &coordpb.AdminReply_Chunk{Chunk: b}})
}

// Operate has the leader do an operation. It turns to another coordinator after an attempt that surely began nothing, or, if the
// operation may be repeated, gave nothing. errs.NotProposed: there was no leader, and it did not begin; errs.IndeterminateResult: it may
// have been done, in part or whole.
func (c *CoordinatorClient) Operate(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, op.Timeout)
	defer cancel()
	var last error
	for range c.find.attempts() {
		addr, err := c.find.leader(ctx)
		if err != nil {
			if last != nil {
				err = last
			}
			return nil, errs.WrapKind(op.Name, errs.NotProposed, err)
		}
		a := adminCall{c: c, op: op, sink: sink}
		answer, err := a.run(ctx, addr, request)
		switch {
		case err == nil:
			return answer, nil
		case a.r.ran && a.r.kind == errs.NotLeader && !a.begun:
			c.find.hint(addr, a.r.leader)
			err = errs.WrapKind(op.Name, errs.NotProposed, err)
		case a.r.ran && !op.Repeatable() && (a.r.kind == errs.Timeout || a.r.kind == errs.Canceled):
			return nil, errs.WrapKind(op.Name, errs.IndeterminateResult, err) // its deadline is ours, and its word of that came first
		case a.r.ran || a.sinkFailed:
			return nil, errs.Wrap(op.Name, err)
		default:
			c.find.suspect(addr)
			if a.gave || (a.sent && !op.Repeatable()) {
				return nil, errs.WrapKind(op.Name, errs.IndeterminateResult, err)
			}
			err = errs.WrapKind(op.Name, errs.NotProposed, err)
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// adminCall is one attempt at one coordinator.
type adminCall struct {
	c    *CoordinatorClient
	op   ops.Spec
	sink ops.Sink

	r          remote
	sent       bool // the request may have reached it
	begun      bool // it was taken on
	gave       bool // events or bytes came
	sinkFailed bool
}

func (a *adminCall) run(ctx context.Context, addr string, request []byte) ([]byte, error) {
	p, err := a.c.peer(addr)
	if err != nil {
		a.r = remote{kind: errs.KindOf(err)}
		return nil, err
	}
	k, err := p.start(ctx, methodAdmin, adminDesc)
	if err != nil {
		a.r = remote{kind: errs.KindOf(err)}
		return nil, err
	}
	// A frozen coordinator takes connections and never answers: the first message must come soon.
	late := time.AfterFunc(a.c.cfg.AttemptMax, k.cancel)
	defer late.Stop()
	a.sent = true
	if err = k.send(&coordpb.AdminRequest{Operation: a.op.Name, Body: request}); err == nil {
		err = k.stream.CloseSend()
	}
	var answer []byte
	if err == nil || err == io.EOF {
		answer, err = a.receive(k, late)
	}
	if a.sinkFailed {
		k.finish(nil)
		return nil, err
	}
	a.r, err = k.finish(err)
	return answer, err
}

func (a *adminCall) receive(k *call, late *time.Timer) ([]byte, error) {
	for {
		var m coordpb.AdminReply
		if err := k.stream.RecvMsg(&m); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		late.Stop()
		a.begun = true
		var err error
		switch s := m.Step.(type) {
		case *coordpb.AdminReply_Event:
			a.gave = true
			err = a.sink.Event(s.Event)
		case *coordpb.AdminReply_Chunk:
			a.gave = true
			err = a.sink.Chunk(s.Chunk)
		case *coordpb.AdminReply_Result:
			return s.Result, nil
		}
		if err != nil {
			a.sinkFailed = true
			return nil, err
		}
	}
}

var _ ops.Caller = (*CoordinatorClient)(nil)

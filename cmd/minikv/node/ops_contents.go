package node

import (
	"context"
	"sync/atomic"
	"time"

	"minikv/coordinator/pace"
	"minikv/coordinator/txn"
	"minikv/gateway/objects"
	"minikv/internal/errs"
	"minikv/internal/ops"
)

// gatewayOperator does the operations of this node's gateway, which is there later than the others, and hands on the rest.
type gatewayOperator struct {
	rest    ops.Caller
	table   ops.Table
	objects atomic.Pointer[objects.Objects] // nil: there is no gateway, or not yet
}

func newGatewayOperator(rest ops.Caller) *gatewayOperator {
	g := &gatewayOperator{rest: rest}
	g.table = ops.NewTable(ops.VerifyContents.Handle(g.contents))
	return g
}

// Operate is ops.Caller's.
func (g *gatewayOperator) Operate(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	if _, ours := g.table[op.Name]; ours {
		return g.table.Run(ctx, op.Name, request, sink)
	}
	return g.rest.Operate(ctx, op, request, sink)
}

func (g *gatewayOperator) contents(ctx context.Context, q *ops.ContentsRequest, tell ops.Progress) (*ops.ContentsAnswer, error) {
	o := g.objects.Load()
	if o == nil {
		return nil, errs.E(ops.VerifyContents.Name, errs.Unsupported, "this node has no gateway, or it has not begun yet: ask one that has")
	}
	p := pace.New(txn.RealClock{}, q.BytesPerSecond)
	var told time.Time
	did, err := o.VerifyContents(ctx, objects.ContentsOptions{Bucket: q.Bucket, Pace: func(ctx context.Context, n int64) error { return p.Wait(ctx, n, nil) }},
		func(w objects.WrongContent) error {
			return tell(ops.ContentsEvent{Wrong: &ops.WrongContent{Bucket: w.Bucket, Key: w.Key, Version: w.Version, Kind: w.Kind, Text: w.Text}})
		},
		func(c objects.Contents) error {
			if time.Since(told) < tellEvery {
				return nil
			}
			told = time.Now()
			return tell(ops.ContentsEvent{Progress: contentsAnswer(c)})
		})
	if err != nil {
		return nil, err
	}
	return contentsAnswer(did), nil
}

func contentsAnswer(c objects.Contents) *ops.ContentsAnswer {
	return &ops.ContentsAnswer{Buckets: c.Buckets, Objects: c.Objects, Bytes: c.Bytes, Wrong: c.Wrong, Unread: c.Unread, Changed: c.Changed}
}

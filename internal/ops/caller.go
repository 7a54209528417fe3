package ops

import (
	"context"
	"encoding/json"

	"minikv/internal/errs"
)

// Caller has operations done somewhere: in this process, at the leader, over HTTP.
type Caller interface {
	// Operate does an operation and gives its answer, JSON; what comes before goes to sink.
	Operate(ctx context.Context, op Spec, request []byte, sink Sink) ([]byte, error)
}

// Call does an operation at c. progress takes the events of a Job; nil: they are not looked at.
func Call[Q, A any](ctx context.Context, c Caller, op Op[Q, A], q *Q, progress func(event json.RawMessage) error) (*A, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return nil, errs.WrapKind(op.Name, errs.Invalid, err)
	}
	answer, err := c.Operate(ctx, op.Spec, request, listener{progress})
	if err != nil {
		return nil, err
	}
	a := new(A)
	if err := json.Unmarshal(answer, a); err != nil {
		return nil, errs.E(op.Name, errs.Other, "the answer can't be read: %v", err)
	}
	return a, nil
}

type listener struct {
	progress func(json.RawMessage) error
}

func (l listener) Event(b []byte) error {
	if l.progress == nil {
		return nil
	}
	return l.progress(b)
}

func (listener) Chunk([]byte) error { return nil }

package node

import (
	"context"
	"time"

	"minikv/coordinator"
	"minikv/internal/errs"
	"minikv/internal/ops"
)

// operator has the operations of internal/ops done: here, or at the coordinator that leads.
//
// Each topic is a file ops_TOPIC.go with a function that gives its handlers; it is called in storage.handlers and cluster.handlers. Handlers with
// Place Leader are called only while this process's coordinator leads, and their context ends when it no longer does; whatever they
// keep must be in the metadata.
type operator struct {
	table  ops.Table
	coord  *coordinator.Coordinator // of this process; nil: none
	remote ops.Caller               // has the leader do it; nil: this process is alone
}

var _ ops.Caller = (*operator)(nil)

// Times of looking for the leader of an operation.
const (
	operateFind  = 5 * time.Second
	operateEvery = 100 * time.Millisecond
)

// Operate does an operation where it belongs. What found no leader is tried again for some seconds.
func (o *operator) Operate(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	if op.Place == ops.Here {
		return o.table.Run(ctx, op.Name, request, sink)
	}
	for began := time.Now(); ; {
		answer, err := o.once(ctx, op, request, sink)
		if !errs.Is(err, errs.NotProposed) || time.Since(began) > operateFind {
			return answer, err
		}
		select {
		case <-time.After(operateEvery):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (o *operator) once(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	if o.coord != nil && (o.coord.Leads() == nil || o.remote == nil) {
		return leadingHere{o}.Operate(ctx, op, request, sink)
	}
	return o.remote.Operate(ctx, op, request, sink)
}

// leadingHere does operations of the leader in this process, or none.
type leadingHere struct{ *operator }

func (l leadingHere) Operate(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	leading, cancel, err := l.coord.WhileLeading(ctx)
	if err != nil {
		return nil, errs.WrapKind(op.Name, errs.NotProposed, err)
	}
	defer cancel()
	answer, err := l.table.Run(leading, op.Name, request, sink)
	if err != nil && leading.Err() != nil && ctx.Err() == nil && !errs.Is(err, errs.NotProposed) {
		err = errs.WrapKind(op.Name, errs.IndeterminateResult, errs.E(op.Name, errs.NotLeader, "this coordinator lost the lead meanwhile"))
	}
	return answer, err
}

package meta

import (
	"errors"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// batchOpsMax bounds a batch: a version holds the operation's number in 16 bits.
const batchOpsMax = 10000

// batch carries out all operations in order, each seeing those before it, or none (I5 of the design).
func (t *txn) batch(op *metapb.Batch, res *metapb.Result) error {
	b, err := t.bucket(op.Bucket)
	if err != nil {
		return err
	}
	if len(op.Ops) > batchOpsMax {
		return refuse(errs.LimitExceeded, "%d operations; a batch has at most %d", len(op.Ops), batchOpsMax)
	}
	out := &metapb.BatchResult{Results: make([]*metapb.BatchOpResult, len(op.Ops))}
	for i, o := range op.Ops {
		t.op = uint16(i)
		r, err := t.batchOp(b, o)
		var no *refusal
		if errors.As(err, &no) {
			no.op = uint32(i)
		}
		if err != nil {
			return err
		}
		out.Results[i] = r
	}
	res.Value = &metapb.Result_Batch{Batch: out}
	return nil
}

func (t *txn) batchOp(b *metapb.BucketRow, o *metapb.BatchOp) (*metapb.BatchOpResult, error) {
	if p := o.GetPut(); p != nil {
		row, err := t.writeObject(b, o.Key, o.Conditions, p.Object, p.Written)
		if err != nil {
			return nil, err
		}
		return &metapb.BatchOpResult{Put: putResult(b, row)}, nil
	}
	if err := checkKey(o.Key); err != nil {
		return nil, err
	}
	cur, err := t.current(b.Id, o.Key)
	if err != nil {
		return nil, err
	}
	if err := checkWrite(o.Conditions, cur); err != nil {
		return nil, err
	}
	r := &metapb.BatchOpResult{Found: cur != nil}
	switch {
	case o.GetGet():
		r.Row = cur
	case !o.GetDelete():
		return nil, refuse(errs.Invalid, "the operation is empty")
	case cur != nil:
		return r, t.unpublish(b, o.Key, cur)
	}
	return r, nil
}

func isRefusal(err error, kind errs.Kind) bool {
	var no *refusal
	return errors.As(err, &no) && no.kind == kind
}

package objects

import (
	"context"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// BatchOp is one operation of a batch: a put if Put is set, else a delete or a get.
type BatchOp struct {
	Key        object.Key
	Conditions *metapb.Conditions
	Put        *BatchPut
	Delete     bool
	Get        bool
}

// BatchPut is what a batch puts. The caller bounds the total of the values and keeps them unchanged during the call.
type BatchPut struct {
	Value      []byte
	Attributes *metapb.Attributes
	Tags       []*metapb.Pair
	Owner      string
	Checksum   digest.Algorithm // None: CRC64NVME
}

// BatchError is a batch that was refused as a whole because of one operation.
type BatchError struct {
	Op  int // index of the operation; 0 when it is not known
	Err error
}

func (e *BatchError) Error() string { return e.Err.Error() }

// Unwrap gives the refusal, with its kind.
func (e *BatchError) Unwrap() error { return e.Err }

// Batch does all of the operations or none, in one decision; results are in the order of the operations. A refusal is a *BatchError.
func (o *Objects) Batch(ctx context.Context, sc Scope, ops []BatchOp) (*metapb.BatchResult, error) {
	return nil, errs.E("objects.Batch", errs.Unsupported, "not built yet")
}

package objects

import (
	"context"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// PutRequest is one object to store.
type PutRequest struct {
	Scope
	Key        object.Key
	Body       Body
	Conditions *metapb.Conditions // nil: none
	Attributes *metapb.Attributes
	Tags       []*metapb.Pair
	Owner      string
	// Checksum is the algorithm recorded with the object. None: CRC64NVME.
	Checksum digest.Algorithm
}

// Put stores an object: its bytes on a write quorum first, then one decision (O1). Errors of the body's Reader and Check come
// back wrapped, and nothing is stored. errs.Unavailable: no write quorum; errs.StorageFull; errs.SlowDown: no memory for the
// body; errs.Precondition, errs.NoSuchKey (If-Match of nothing): the conditions; errs.IndeterminateResult: nobody knows.
func (o *Objects) Put(ctx context.Context, req PutRequest) (*metapb.PutResult, error) {
	return nil, errs.E("objects.Put", errs.Unsupported, "not built yet")
}

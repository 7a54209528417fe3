package payload

import (
	"context"
	"time"

	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Volume stores blobs. Its methods are those of objects.Volume, which says what they promise.
type Volume interface {
	Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (durable bool, err error)
	Commit(ctx context.Context, ids ...object.BlobID) error
	Abort(ctx context.Context, ids ...object.BlobID) error
	ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error)
}

// Placement says where blobs belong and finds the volumes.
type Placement interface {
	Layout() *metapb.Layout
	RefreshLayout(ctx context.Context) error
	Volume(number uint32) (Volume, bool)
}

// Options of a Store. The zero value works.
type Options struct {
	BudgetBytes   int64         // memory for bodies that come in; half as much again for those that go out. 0: 256 MiB
	BudgetWait    time.Duration // for memory, before errs.SlowDown. 0: 30 s
	VolumeTimeout time.Duration // of one call to a volume. 0: 30 s
	OnBadReplica  func(volume uint32, blob object.BlobID, err error)
}

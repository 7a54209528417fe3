// Package objects is what a gateway does with objects, free of any wire protocol: S3 handlers and the native REST API both
// call it. It cuts and hashes bodies, prepares blobs on a write quorum, lets the coordinator decide, and reads back.
//
//	O1 A decision is proposed only after every blob is confirmed by a quorum (durably, where the policy asks for it).
//	O2 Abort is sent only when no attempt was proposed or every proposed attempt was refused; else the horizon collects.
//	O3 No byte leaves before its block was verified; a bad replica is replaced, else the read fails before its length is met.
//	O4 Memory for bodies is bounded: one budget for those that come in, and half as much for those that go out.
package objects

import (
	"context"
	"io"

	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Metadata is the coordinator as a gateway sees it. Implemented by internal/metaclient.
type Metadata interface {
	// Do proposes a command exactly once (sessions and retries are inside) and gives its result. A refusal by the state
	// machine is an error of the recorded kind. errs.IndeterminateResult: it may or may not take effect (I3);
	// errs.NotProposed: it surely never will.
	Do(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error)
	// Read answers a query linearizably.
	Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error)
	// Layout is the cached shard table and epoch; never nil after start.
	Layout() *metapb.Layout
	// RefreshLayout reads it anew, after errs.StaleShardEpoch.
	RefreshLayout(ctx context.Context) error
}

// Volume stores blobs. Implemented in process by volume.Server, later by a gRPC client.
type Volume interface {
	// Prepare stores a blob, idempotently; durable says that it is synced. data is not kept after return.
	Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (durable bool, err error)
	// Commit tells the volume that the blobs are referenced: a hint, lazily written.
	Commit(ctx context.Context, ids ...object.BlobID) error
	// Abort drops prepared blobs that were never proposed, or surely refused.
	Abort(ctx context.Context, ids ...object.BlobID) error
	// ReadAt fills dst from the blob, verified; errs.Corrupt, errs.BlobMissing.
	ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error)
}

// Volumes finds a volume by its number in the layout.
type Volumes interface {
	Volume(number uint32) (Volume, bool)
}

// Body is a write's bytes. The reader must fail (not merely end) when the bytes do not match what was signed or declared.
type Body struct {
	Reader io.Reader
	Size   int64 // -1: unknown
	// Want asks for digests beyond MD5, by internal/digest algorithm number.
	Want []uint32
	// Check is called when the body has ended and before anything is decided; an error stores nothing. It may read trailers.
	Check func(Digests) error
	// Account is whose share of memory the body takes, and Interrupt how to end it when it stands still while others wait; see
	// payload.WriteOptions. Both may be left out.
	Account   string
	Interrupt func()
}

// Digests of a whole body.
type Digests struct {
	Size      uint64
	MD5       [16]byte
	Checksums []*metapb.Checksum // FULL_OBJECT values of the wanted algorithms, in the order wanted
}

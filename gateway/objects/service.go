package objects

import (
	"context"
	"time"

	"minikv/gateway/payload"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Options of an Objects. The zero value works.
type Options struct {
	// BudgetBytes bounds the memory of bodies that come in; half as much again is for bodies that go out. 0: 256 MiB.
	BudgetBytes int64
	// BudgetWait is how long a body waits for memory before errs.SlowDown. 0: 30 s.
	BudgetWait time.Duration
	// WriteLimit ends a single put, part or batch, as the fencing horizon demands. 0: 24 h.
	WriteLimit time.Duration
	// VolumeTimeout ends one call to a volume. 0: 30 s.
	VolumeTimeout time.Duration
	// OnBadReplica is told of each replica that failed a read or a write, for logs and counters; may be nil. It must not block.
	OnBadReplica func(volume uint32, blob object.BlobID, err error)
}

// Objects does with objects what a gateway does. Safe for concurrent use.
type Objects struct {
	meta       Metadata
	store      *payload.Store
	writeLimit time.Duration
	recent     recent
}

// New makes an Objects over a coordinator and volumes. Close it.
func New(meta Metadata, volumes Volumes, opt Options) *Objects {
	if opt.WriteLimit <= 0 {
		opt.WriteLimit = 24 * time.Hour
	}
	return &Objects{
		meta:       meta,
		writeLimit: opt.WriteLimit,
		store: payload.NewStore(placement{meta, volumes}, payload.Options{
			BudgetBytes:   opt.BudgetBytes,
			BudgetWait:    opt.BudgetWait,
			VolumeTimeout: opt.VolumeTimeout,
			OnBadReplica:  opt.OnBadReplica,
		}),
	}
}

// Close sends the hints that wait and ends the goroutines. Calls must have ended, Readers be closed, and volumes still be open.
func (o *Objects) Close() { o.store.Close() }

// Memory is what bodies hold.
func (o *Objects) Memory() payload.Memory { return o.store.Memory() }

// Hold takes memory for a document that is read as a whole; see payload.Store.
func (o *Objects) Hold(ctx context.Context, account string, interrupt func(), n int64) (*payload.Held, error) {
	return o.store.Hold(ctx, account, interrupt, n)
}

// placement shows payload the parts of Metadata and Volumes that it needs.
type placement struct {
	meta    Metadata
	volumes Volumes
}

func (p placement) Layout() *metapb.Layout                  { return p.meta.Layout() }
func (p placement) RefreshLayout(ctx context.Context) error { return p.meta.RefreshLayout(ctx) }
func (p placement) Volume(number uint32) (payload.Volume, bool) {
	return p.volumes.Volume(number)
}

// Scope is the bucket that a write was authorized for. If it was recreated, or IAM changed, before the decision
// (errs.StaleBucket, errs.StaleIAM), the write is authorized again and proposed again with the same blobs.
type Scope struct {
	Bucket      *metapb.BucketRef
	IAMRevision uint64 // that the authorization looked at; 0: none
	// Reauthorize gives the scope as of now, or an error if the caller may no longer write. nil: such a refusal is returned.
	Reauthorize func(ctx context.Context) (Scope, error)
}

// staleScopeTriesMax bounds how often one write is authorized again.
const staleScopeTriesMax = 3

// decide proposes a command, authorizing again when the scope is stale. refused says that no attempt took or will take effect.
func (o *Objects) decide(ctx context.Context, op string, sc Scope, build func(*metapb.BucketRef) *metapb.Command) (res *metapb.Result, refused bool, err error) {
	for try := 0; ; try++ {
		cmd := build(sc.Bucket)
		cmd.IamRevision = sc.IAMRevision
		res, err = o.meta.Do(ctx, cmd)
		if err == nil && res.GetFailed() {
			err = errs.E("", errs.Kind(res.Kind), "%s", res.Message)
		}
		if err == nil {
			return res, false, nil
		}
		stale := errs.Is(err, errs.StaleBucket) || errs.Is(err, errs.StaleIAM)
		if !stale || sc.Reauthorize == nil || try == staleScopeTriesMax {
			return res, Refused(err), errs.Wrap(op, err)
		}
		again := sc.Reauthorize
		if sc, err = again(ctx); err != nil {
			return res, true, errs.Wrap(op, err)
		}
		if sc.Reauthorize == nil {
			sc.Reauthorize = again
		}
	}
}

// Refused says whether an error of Metadata.Do means that the command surely neither took effect nor ever will. When in doubt
// it does not (O2): session loss, timeouts and unclassified errors are doubt.
func Refused(err error) bool {
	switch errs.KindOf(err) {
	case errs.Other, errs.Unavailable, errs.SlowDown, errs.Corrupt, errs.UnknownSession, errs.BlobMissing,
		errs.Conflict, // "the run is published already": its blobs are alive
		errs.Canceled, errs.Timeout, errs.IndeterminateResult:
		return false
	}
	return err != nil
}

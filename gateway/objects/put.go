package objects

import (
	"context"

	"minikv/gateway/payload"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// earlyCheckBytes is the size of a body from which its conditions are looked at before it is read, too.
const earlyCheckBytes = 1 << 20

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
	const op = "objects.Put"
	ctx, cancel := context.WithTimeout(ctx, o.writeLimit)
	defer cancel()
	if err := o.foreseeable(ctx, &req); err != nil {
		return nil, errs.Wrap(op, err)
	}
	own := orDefault(req.Checksum)
	w, err := o.write(ctx, req.Body, wanted(own, req.Body.Want))
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	made := &metapb.NewObject{
		Size: w.Size(), Etag: w.Sums.MD5[:], Checksum: ProtoChecksum(w.Sums.Checksum(own)),
		Owner: req.Owner, Attributes: req.Attributes, Tags: req.Tags,
	}
	res, err := o.publish(ctx, op, req.Scope, []*payload.Write{w}, func(b *metapb.BucketRef, written []*metapb.Written) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
			Bucket: b, Key: string(req.Key), Conditions: req.Conditions, Object: made, Written: written[0],
		}}}
	})
	if err != nil {
		return nil, err
	}
	return res.GetPut(), nil
}

// foreseeable refuses a large body whose conditions are false already, before it is read. The decision itself is Apply's.
func (o *Objects) foreseeable(ctx context.Context, req *PutRequest) error {
	c := req.Conditions
	if c == nil || req.Body.Size >= 0 && req.Body.Size < earlyCheckBytes || !c.IfNoneMatchAny && len(c.IfMatch) == 0 {
		return nil
	}
	obj, err := o.Stat(ctx, GetRequest{Bucket: object.Bucket(req.Bucket.GetName()), Key: req.Key})
	if err != nil {
		return err
	}
	present := obj.Row != nil && !obj.Row.DeleteMarker
	switch {
	case c.IfNoneMatchAny && present:
		return errs.E("", errs.Precondition, "If-None-Match")
	case len(c.IfMatch) > 0 && !present:
		return errs.E("", errs.NoSuchKey, "the key does not exist")
	case len(c.IfMatch) > 0 && !matches(c.IfMatch, RowETag(obj.Row)):
		return errs.E("", errs.Precondition, "If-Match")
	}
	return nil
}

func matches(tags []string, tag digest.ETag) bool {
	for _, t := range tags {
		if e, ok := digest.ParseETag(t); t == "*" || ok && e == tag {
			return true
		}
	}
	return false
}

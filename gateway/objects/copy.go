package objects

import (
	"context"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// CopySource is what a copy reads.
type CopySource struct {
	Scope      // of the source bucket
	Key        object.Key
	Version    string             // as the client wrote it; "": the current one
	Conditions *metapb.Conditions // x-amz-copy-source-if-*
}

// CopyRequest copies an object without moving bytes.
type CopyRequest struct {
	Scope      // of the destination bucket
	Key        object.Key
	Source     CopySource
	Conditions *metapb.Conditions // on the destination
	Owner      string
	// ReplaceAttributes and ReplaceTags are the directives; without them the source's are kept.
	ReplaceAttributes bool
	Attributes        *metapb.Attributes
	ReplaceTags       bool
	Tags              []*metapb.Pair
	// Checksum asks for a checksum of the whole object; if the source has none of that algorithm, its bytes are read once. None: the
	// source's, which may be COMPOSITE.
	Checksum digest.Algorithm
}

// Copy makes an object that references the source's body. errs.NoSuchKey, errs.NoSuchVersion, errs.DeleteMarker: the source;
// errs.Precondition: either's conditions.
func (o *Objects) Copy(ctx context.Context, req CopyRequest) (*metapb.PutResult, error) {
	const op = "objects.Copy"
	ctx, cancel := context.WithTimeout(ctx, o.writeLimit)
	defer cancel()
	for try := 1; ; try++ {
		res, err := o.copy(ctx, &req)
		if err == nil {
			return res, nil
		}
		if !errs.Is(err, errs.SourceChanged) || try == openTriesMax {
			return nil, errs.Wrap(op, err)
		}
	}
}

func (o *Objects) copy(ctx context.Context, req *CopyRequest) (*metapb.PutResult, error) {
	var sum *metapb.Checksum
	var expect []byte
	if req.Checksum != digest.None {
		src, err := o.sourceOf(ctx, &req.Source, 0)
		if err != nil {
			return nil, err
		}
		expect = src.Row.Version
		if have := DigestChecksum(src.Row.Checksum); have.Algorithm != req.Checksum || have.Type != digest.FullObject {
			sums, err := src.sums(ctx, 0, src.Size, req.Checksum)
			if err != nil {
				return nil, err
			}
			sum = ProtoChecksum(sums.Checksum(req.Checksum))
		}
	}
	res, _, err := o.decide(ctx, "", bothScopes(req.Scope, &req.Source), func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_CopyObject{CopyObject: &metapb.CopyObject{
			Source: req.Source.row(expect), Bucket: b, Key: string(req.Key), Conditions: req.Conditions,
			ReplaceAttributes: req.ReplaceAttributes, Attributes: req.Attributes, ReplaceTags: req.ReplaceTags, Tags: req.Tags,
			Checksum: sum, Owner: req.Owner,
		}}}
	})
	if err != nil {
		return nil, err
	}
	return res.GetPut(), nil
}

// row is the source as a command names it, of the given version or any.
func (s *CopySource) row(expect []byte) *metapb.Source {
	return &metapb.Source{Bucket: s.Bucket, Key: string(s.Key), Version: s.Version, Conditions: s.Conditions, Expect: expect}
}

// sourceOf reads the source's row and the parts from off on. It refuses what Apply would refuse.
func (o *Objects) sourceOf(ctx context.Context, s *CopySource, off uint64) (*Object, error) {
	const op = "objects.source"
	src, err := o.Stat(ctx, GetRequest{
		Bucket: object.Bucket(s.Bucket.GetName()), Key: s.Key, Version: s.Version, WantBody: true, Offset: off,
	})
	switch {
	case err != nil:
		return nil, err
	case src.Row == nil && s.Version == "", src.Row.GetDeleteMarker() && s.Version == "":
		return nil, errs.E(op, errs.NoSuchKey, "the copy source does not exist")
	case src.Row == nil:
		return nil, errs.E(op, errs.NoSuchVersion, "the version of the copy source does not exist")
	case src.Row.DeleteMarker:
		return nil, errs.E(op, errs.DeleteMarker, "the copy source is a delete marker")
	}
	return src, nil
}

// bothScopes authorizes source and destination again together; src.Bucket follows.
func bothScopes(dst Scope, src *CopySource) Scope {
	if dst.Reauthorize == nil || src.Reauthorize == nil {
		return dst
	}
	again, againSrc := dst.Reauthorize, src.Reauthorize
	var both func(ctx context.Context) (Scope, error)
	both = func(ctx context.Context) (Scope, error) {
		s, err := againSrc(ctx)
		if err != nil {
			return Scope{}, err
		}
		src.Bucket = s.Bucket
		sc, err := again(ctx)
		sc.IAMRevision = max(sc.IAMRevision, s.IAMRevision)
		sc.Reauthorize = both
		return sc, err
	}
	dst.Reauthorize = both
	return dst
}

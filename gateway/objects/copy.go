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
	// Checksum asks for an algorithm; if the source has another, its bytes are read once. None: the source's.
	Checksum digest.Algorithm
}

// Copy makes an object that references the source's body. errs.NoSuchKey, errs.NoSuchVersion, errs.DeleteMarker: the source;
// errs.Precondition: either's conditions.
func (o *Objects) Copy(ctx context.Context, req CopyRequest) (*metapb.PutResult, error) {
	return nil, errs.E("objects.Copy", errs.Unsupported, "not built yet")
}

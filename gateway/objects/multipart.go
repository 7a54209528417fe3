package objects

import (
	"context"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// UploadID names a multipart upload: 16 bytes.
type UploadID [16]byte

// UploadTarget is an upload that a write was authorized for.
type UploadTarget struct {
	Scope
	Key object.Key
	ID  UploadID
}

// CreateUploadRequest opens a multipart upload.
type CreateUploadRequest struct {
	Scope
	Key        object.Key
	Owner      string
	Attributes *metapb.Attributes
	Tags       []*metapb.Pair
	// Checksum and ChecksumType as the client asked; None, NoType: CRC64NVME is computed.
	Checksum     digest.Algorithm
	ChecksumType digest.Type
}

// CreateUpload opens a multipart upload.
func (o *Objects) CreateUpload(ctx context.Context, req CreateUploadRequest) (*metapb.UploadRow, error) {
	return nil, errs.E("objects.CreateUpload", errs.Unsupported, "not built yet")
}

// PutPartRequest is one part to store.
type PutPartRequest struct {
	UploadTarget
	Number uint32 // 1 to 10,000
	// Body's Want names the algorithms that the client sent; the upload's own is computed besides.
	Body Body
}

// PartResult says what a part became.
type PartResult struct {
	ETag       [16]byte // MD5
	Size       uint64
	ModifiedMs int64
	Checksums  []*metapb.Checksum
	Upload     *metapb.UploadRow
	// Source is the row that CopyPart read; nil after PutPart.
	Source *metapb.ObjectRow
}

// PutPart stores a part. errs.NoSuchUpload before a byte is read when there is none; other errors as Put.
func (o *Objects) PutPart(ctx context.Context, req PutPartRequest) (*PartResult, error) {
	return nil, errs.E("objects.PutPart", errs.Unsupported, "not built yet")
}

// CopyPartRequest makes a part of a range of an object. No bytes are written.
type CopyPartRequest struct {
	UploadTarget
	Number uint32
	Source CopySource
	// Range is off, n, both in bytes; nil: the whole source. Past the source's end: errs.Invalid.
	Range *[2]uint64
}

// CopyPart references a range of the source. The range is read once for its digests, unless it is exactly one recorded part or
// a whole plain object with the upload's checksum.
func (o *Objects) CopyPart(ctx context.Context, req CopyPartRequest) (*PartResult, error) {
	return nil, errs.E("objects.CopyPart", errs.Unsupported, "not built yet")
}

// CompleteRequest asks for an upload to become an object.
type CompleteRequest struct {
	UploadTarget
	Parts        []*metapb.CompletePart
	Conditions   *metapb.Conditions
	Checksum     *metapb.Checksum // of the whole object, as the client gave it
	ObjectSize   *uint64          // x-amz-mp-object-size
	ChecksumType digest.Type      // as the client gave it
}

// CompleteUpload publishes the object. Repeating it gives the same answer.
func (o *Objects) CompleteUpload(ctx context.Context, req CompleteRequest) (*metapb.PutResult, error) {
	return nil, errs.E("objects.CompleteUpload", errs.Unsupported, "not built yet")
}

// AbortUpload drops an upload and its parts. errs.NoSuchUpload.
func (o *Objects) AbortUpload(ctx context.Context, t UploadTarget) error {
	return errs.E("objects.AbortUpload", errs.Unsupported, "not built yet")
}

// Upload reads an open or lately completed upload; its bucket row for authorization. Neither: Upload and Completed are nil.
func (o *Objects) Upload(ctx context.Context, bucket object.Bucket, key object.Key, id UploadID) (*metapb.GetUploadAnswer, error) {
	return nil, errs.E("objects.Upload", errs.Unsupported, "not built yet")
}

// ListParts is a page of an open upload's parts. errs.NoSuchBucket, errs.NoSuchUpload.
func (o *Objects) ListParts(ctx context.Context, q *metapb.ListPartsQuery) (*metapb.ListPartsAnswer, error) {
	return nil, errs.E("objects.ListParts", errs.Unsupported, "not built yet")
}

// ListUploads is a page of a bucket's open uploads. errs.NoSuchBucket.
func (o *Objects) ListUploads(ctx context.Context, q *metapb.ListUploadsQuery) (*metapb.ListUploadsAnswer, error) {
	return nil, errs.E("objects.ListUploads", errs.Unsupported, "not built yet")
}

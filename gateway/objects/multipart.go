package objects

import (
	"context"
	"strings"

	"minikv/gateway/payload"
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
	res, _, err := o.decide(ctx, "objects.CreateUpload", req.Scope, func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_CreateUpload{CreateUpload: &metapb.CreateUpload{
			Bucket: b, Key: string(req.Key), Owner: req.Owner, Attributes: req.Attributes, Tags: req.Tags,
			ChecksumAlgorithm: uint32(req.Checksum), ChecksumType: uint32(req.ChecksumType),
		}}}
	})
	if err != nil {
		return nil, err
	}
	return res.GetUpload(), nil
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
	const op = "objects.PutPart"
	ctx, cancel := context.WithTimeout(ctx, o.writeLimit)
	defer cancel()
	up, err := o.openUpload(ctx, &req.UploadTarget)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if err := sameAlgorithm(up, req.Body.Want); err != nil {
		return nil, errs.Wrap(op, err)
	}
	own := orDefault(digest.Algorithm(up.ChecksumAlgorithm))
	w, err := o.write(ctx, req.Body, wanted(own, req.Body.Want))
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	made := &PartResult{ETag: w.Sums.MD5, Size: w.Size(), Checksums: recordedChecksums(&w.Sums, own, req.Body.Want), Upload: up}
	res, err := o.publish(ctx, op, req.Scope, []*payload.Write{w}, func(b *metapb.BucketRef, written []*metapb.Written) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_PutPart{PutPart: &metapb.PutPart{
			Upload: req.ref(b), Number: req.Number, Size: made.Size, Etag: made.ETag[:], Checksums: made.Checksums, Written: written[0],
		}}}
	})
	if err != nil {
		return nil, err
	}
	made.ModifiedMs = res.GetPut().GetModifiedMs()
	return made, nil
}

// sameAlgorithm refuses a part with a checksum of another algorithm than its upload asked for, and without one if the object's is
// to be made of those of its parts. A FULL_OBJECT upload's parts need none. An upload that asked for none takes any: aws-sdk-go-v2 sends
// CRC32 with UploadPart by default, and names no algorithm when it creates the upload.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
func sameAlgorithm(up *metapb.UploadRow, want []uint32) error {
	name := func(a uint32) string {
		if a == 0 {
			return "null"
		}
		return strings.ToLower(digest.Algorithm(a).String())
	}
	mismatch := func(actual uint32) error {
		return errs.E("objects.sameAlgorithm", errs.InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
			name(up.ChecksumAlgorithm), name(actual))
	}
	if up.ChecksumAlgorithm != 0 && digest.Type(up.ChecksumType) == digest.Composite && len(want) == 0 {
		return mismatch(0)
	}
	for _, a := range want {
		if up.ChecksumAlgorithm != 0 && a != up.ChecksumAlgorithm {
			return mismatch(a)
		}
	}
	return nil
}

// ref names the upload in the bucket as it was authorized.
func (t *UploadTarget) ref(b *metapb.BucketRef) *metapb.UploadRef {
	return &metapb.UploadRef{Bucket: b, Key: string(t.Key), UploadId: t.ID[:]}
}

// openUpload reads the upload's row; errs.NoSuchUpload.
func (o *Objects) openUpload(ctx context.Context, t *UploadTarget) (*metapb.UploadRow, error) {
	a, err := o.Upload(ctx, object.Bucket(t.Bucket.GetName()), t.Key, t.ID)
	if err != nil {
		return nil, err
	}
	if a.Upload == nil {
		return nil, errs.E("objects.openUpload", errs.NoSuchUpload, "the upload does not exist; it may have been completed or aborted")
	}
	return a.Upload, nil
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
	res, _, err := o.decide(ctx, "objects.CompleteUpload", req.Scope, func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_CompleteUpload{CompleteUpload: &metapb.CompleteUpload{
			Upload: req.ref(b), Parts: req.Parts, Conditions: req.Conditions, Checksum: req.Checksum,
			ObjectSize: req.ObjectSize, ChecksumType: uint32(req.ChecksumType),
		}}}
	})
	if err != nil {
		return nil, err
	}
	return res.GetPut(), nil
}

// AbortUpload drops an upload and its parts. errs.NoSuchUpload.
func (o *Objects) AbortUpload(ctx context.Context, t UploadTarget) error {
	_, _, err := o.decide(ctx, "objects.AbortUpload", t.Scope, func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_AbortUpload{AbortUpload: &metapb.AbortUpload{Upload: t.ref(b)}}}
	})
	return err
}

// Upload reads an open or lately completed upload; its bucket row for authorization. Neither: Upload and Completed are nil.
func (o *Objects) Upload(ctx context.Context, bucket object.Bucket, key object.Key, id UploadID) (*metapb.GetUploadAnswer, error) {
	const op = "objects.Upload"
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_GetUpload{GetUpload: &metapb.GetUploadQuery{
		Bucket: string(bucket), Key: string(key), UploadId: id[:],
	}}})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if a.GetGetUpload().GetBucket() == nil {
		return nil, errs.E(op, errs.NoSuchBucket, "%s", bucket)
	}
	return a.GetGetUpload(), nil
}

// ListParts is a page of an open upload's parts. errs.NoSuchBucket. Upload is nil when there is no such upload, so that the caller
// authorizes before it tells.
func (o *Objects) ListParts(ctx context.Context, q *metapb.ListPartsQuery) (*metapb.ListPartsAnswer, error) {
	const op = "objects.ListParts"
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_ListParts{ListParts: q}})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if a.GetListParts().GetBucket() == nil {
		return nil, errs.E(op, errs.NoSuchBucket, "%s", q.GetBucket())
	}
	return a.GetListParts(), nil
}

// ListUploads is a page of a bucket's open uploads. errs.NoSuchBucket.
func (o *Objects) ListUploads(ctx context.Context, q *metapb.ListUploadsQuery) (*metapb.ListUploadsAnswer, error) {
	const op = "objects.ListUploads"
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_ListUploads{ListUploads: q}})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if a.GetListUploads().GetBucket() == nil {
		return nil, errs.E(op, errs.NoSuchBucket, "%s", q.GetBucket())
	}
	return a.GetListUploads(), nil
}

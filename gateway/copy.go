package gateway

import (
	"math"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/errs"
)

// copySource reads and authorizes the source of a copy.
func (c *call) copySource() (objects.CopySource, error) {
	src, err := s3.ParseCopySource(c.get("X-Amz-Copy-Source"))
	if err != nil {
		return objects.CopySource{}, err
	}
	conditions, err := s3.ParseCopyConditions(c.h)
	if err != nil {
		return objects.CopySource{}, err
	}
	row, err := c.s.objects.Bucket(c.r.Context(), src.Bucket)
	if errs.Is(err, errs.NoSuchBucket) {
		return objects.CopySource{}, s3.NewError(s3.CodeNoSuchBucket, "").With("BucketName", string(src.Bucket))
	}
	if err == nil {
		err = c.authorize(row, iam.GetObject, expectedSourceOwner)
	}
	if err != nil {
		return objects.CopySource{}, err
	}
	return objects.CopySource{
		Scope: c.scopeOf(row, iam.GetObject, src.Bucket, expectedSourceOwner), Key: src.Key, Version: src.VersionID,
		Conditions: copyConditions(&conditions),
	}, nil
}

// copyError names the source in the errors that are about it.
func (c *call) copyError(err error, src objects.CopySource) error {
	switch {
	case errs.Is(err, errs.NoSuchKey) && len(c.h["If-Match"]) == 0:
		return s3.NewError(s3.CodeNoSuchKey, "").With("Key", string(src.Key))
	case errs.Is(err, errs.DeleteMarker) && src.Version == "":
		return s3.NewError(s3.CodeNoSuchKey, "").With("Key", string(src.Key)).WithHeader("x-amz-delete-marker", "true")
	case errs.Is(err, errs.DeleteMarker):
		return s3.NewError(s3.CodeInvalidRequest, "The source of a copy request may not specifically refer to a delete marker by version id.")
	}
	return err
}

func (c *call) copyObject() error {
	req := objects.CopyRequest{Key: c.key, Owner: c.account.CanonicalID}
	conditions, err := c.copyHeaders(&req)
	if err != nil {
		return err
	}
	row, err := c.owned(iam.PutObject)
	if err != nil {
		return err
	}
	if err := c.authorizeConditions(row, &conditions); err != nil {
		return err
	}
	if req.Source, err = c.copySource(); err != nil {
		return err
	}
	if c.unchanged(&req) {
		return s3.NewError(s3.CodeInvalidRequest, "This copy request is illegal because it is trying to copy an object to itself "+
			"without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	req.Scope = c.scope(row, iam.PutObject)
	res, err := c.s.objects.Copy(c.r.Context(), req)
	if err != nil {
		return c.copyError(err, req.Source)
	}
	c.sendXML(func(dst []byte) []byte {
		return s3.AppendCopyObject(dst, etagOf(res.Etag, res.EtagParts), res.ModifiedMs, checksumOf(res.Checksum))
	})
	return nil
}

// copyHeaders reads directives, metadata, checksum algorithm and the conditions on the destination.
func (c *call) copyHeaders(req *objects.CopyRequest) (w s3.WriteConditions, err error) {
	if w, err = s3.ParseWriteConditions(c.op, c.h); err != nil {
		return w, err
	}
	req.Conditions = writeConditions(&w)
	d, err := s3.ParseDirectives(c.h)
	if err != nil {
		return w, err
	}
	sums, err := s3.ParseChecksums(c.op, c.h)
	if err != nil {
		return w, err
	}
	req.ReplaceAttributes, req.ReplaceTags, req.Checksum = d.ReplaceMetadata, d.ReplaceTags, sums.Algorithm
	attributes, tags, err := c.describe()
	if err != nil {
		return w, err
	}
	if req.ReplaceAttributes {
		req.Attributes = attributes
	}
	if req.ReplaceTags {
		req.Tags = tags
	}
	return w, nil
}

// unchanged says that the copy would put an object in its own place as it is. Naming a storage class makes it legal, though it be
// the one the object has, as with S3.
func (c *call) unchanged(req *objects.CopyRequest) bool {
	return req.Source.Bucket.GetName() == string(c.bucket) && req.Source.Key == c.key && req.Source.Version == "" &&
		!req.ReplaceAttributes && !req.ReplaceTags && req.Checksum == 0 && c.get("X-Amz-Storage-Class") == ""
}

func (c *call) uploadPartCopy() error {
	number, id, err := c.partTarget()
	if err != nil {
		return err
	}
	span, err := c.copyRange()
	if err != nil {
		return err
	}
	row, err := c.owned(iam.PutObject)
	if err != nil {
		return err
	}
	src, err := c.copySource()
	if err != nil {
		return err
	}
	res, err := c.s.objects.CopyPart(c.r.Context(), objects.CopyPartRequest{
		UploadTarget: c.uploadTarget(row, id), Number: number, Source: src, Range: span,
	})
	if errs.Is(err, errs.Invalid) && span != nil {
		return s3.InvalidArgument("x-amz-copy-source-range", c.get("X-Amz-Copy-Source-Range"), errs.Message(err))
	}
	if err != nil {
		return c.copyError(err, src)
	}
	c.sendXML(func(dst []byte) []byte {
		return s3.AppendCopyPart(dst, etagOf(res.ETag[:], 0), res.ModifiedMs, partChecksum(res.Checksums, res.Upload))
	})
	return nil
}

// copyRange reads x-amz-copy-source-range; whether it lies within the source shows when the source is read.
func (c *call) copyRange() (*[2]uint64, error) {
	v := c.get("X-Amz-Copy-Source-Range")
	if v == "" {
		return nil, nil
	}
	r, err := s3.ParseCopySourceRange(v, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	return &[2]uint64{r.Offset, r.Length}, nil
}

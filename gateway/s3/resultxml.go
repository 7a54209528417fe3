package s3

import "minikv/internal/digest"

// AppendLocation appends the answer of GetBucketLocation; us-east-1 is an empty element.
func AppendLocation(dst []byte, region string) []byte { panic("todo") }

// DeleteResult is the answer for one key of DeleteObjects.
type DeleteResult struct {
	Key       string
	VersionID string // as asked for
	Err       *Error // nil: deleted
	// DeleteMarker says that a marker was made or removed; MarkerVersionID names it.
	DeleteMarker    bool
	MarkerVersionID string
}

// AppendDeleteResults appends the answer of DeleteObjects; quiet leaves out what was deleted.
func AppendDeleteResults(dst []byte, results []DeleteResult, quiet bool) []byte { panic("todo") }

// AppendCopyObject appends the answer of CopyObject.
func AppendCopyObject(dst []byte, e digest.ETag, modifiedMS int64, c digest.Checksum) []byte {
	panic("todo")
}

// AppendCopyPart appends the answer of UploadPartCopy.
func AppendCopyPart(dst []byte, e digest.ETag, modifiedMS int64, c digest.Checksum) []byte {
	panic("todo")
}

// AppendInitiate appends the answer of CreateMultipartUpload. Algorithm and type go into headers, not here.
func AppendInitiate(dst []byte, bucket, key, uploadID string) []byte { panic("todo") }

// AppendComplete appends the answer of CompleteMultipartUpload.
func AppendComplete(dst []byte, location, bucket, key string, e digest.ETag, c digest.Checksum) []byte {
	panic("todo")
}

// AppendACL appends the answer of GetBucketAcl and GetObjectAcl for a private ACL: FULL_CONTROL for the owner.
func AppendACL(dst []byte, ownerID, ownerName string) []byte { panic("todo") }

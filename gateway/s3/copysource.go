package s3

import (
	"minikv/internal/object"
)

// CopySource is the source of CopyObject and UploadPartCopy.
type CopySource struct {
	Bucket    object.Bucket
	Key       object.Key
	VersionID string // "": the current version
}

// ParseCopySource reads x-amz-copy-source: "/bucket/key?versionId=id", with or without the first slash, percent-encoded. Malformed:
// 400 InvalidArgument.
func ParseCopySource(header string) (CopySource, error) { panic("todo") }

// ParseCopySourceRange reads x-amz-copy-source-range, "bytes=a-b" with both ends, of a source of size bytes. Malformed or past
// the source: 400 InvalidArgument; it is never clipped.
func ParseCopySourceRange(header string, size uint64) (Range, error) { panic("todo") }

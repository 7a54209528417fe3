package s3

import (
	"net/http"

	"minikv/internal/digest"
)

// Checksums is what a request says of checksums, in headers.
type Checksums struct {
	MD5    [16]byte // Content-MD5
	HasMD5 bool

	// Value is a x-amz-checksum-* header: the body's checksum (PutObject, UploadPart, DeleteObjects, ...) or, for
	// CompleteMultipartUpload, the object's, which may be COMPOSITE. Zero: none.
	Value digest.Checksum
	// Trailer is the algorithm of the checksum that x-amz-trailer announces in the body.
	Trailer digest.Algorithm
	// Algorithm is that of Value or Trailer; else what x-amz-sdk-checksum-algorithm or x-amz-checksum-algorithm asks for, where
	// an operation has no body to sum (CreateMultipartUpload, CopyObject). None: the client says nothing.
	Algorithm digest.Algorithm
	// Type is x-amz-checksum-type, or for CreateMultipartUpload with an Algorithm its default.
	Type digest.Type
	// ObjectSize is x-amz-mp-object-size, of CompleteMultipartUpload; nil for none.
	ObjectSize *uint64
}

// ParseChecksums reads Content-MD5 and the checksum headers of an operation.
//
// 400 InvalidDigest: Content-MD5 is not 16 bytes. 400 InvalidRequest: two checksums; a value of the wrong length; an algorithm
// header without a checksum (PutObject, UploadPart, DeleteObjects) or that names another algorithm; an unknown algorithm or
// type; a pair that cannot be; x-amz-trailer with a checksum header or naming no checksum.
func ParseChecksums(op *Operation, h http.Header) (Checksums, error) { panic("todo") }

// SetChecksumHeader writes a checksum and its type (x-amz-checksum-crc32, x-amz-checksum-type).
func SetChecksumHeader(h http.Header, c digest.Checksum) { panic("todo") }

// ChecksumMode says whether x-amz-checksum-mode is ENABLED. Another value is 400 InvalidArgument.
func ChecksumMode(h http.Header) (bool, error) { panic("todo") }

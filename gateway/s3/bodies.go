package s3

import (
	"io"

	"minikv/internal/digest"
)

// Caps of request bodies, in bytes.
const (
	DeleteBodyMax   = 8 << 20   // 1,000 keys of 1,024 bytes, each byte an entity
	CompleteBodyMax = 8 << 20   // 10,000 parts with checksums
	SmallBodyMax    = 256 << 10 // all other XML
)

// Bounds of request bodies.
const (
	DeleteObjectsMax = 1000
	CompletePartsMax = 10000
)

// ReadBody reads a body of at most limit bytes; a longer one is 400 MaxMessageLengthExceeded. Errors of r are returned as they are.
func ReadBody(r io.Reader, limit int) ([]byte, error) { panic("todo") }

// ParseCreateBucket reads the body of CreateBucket and gives its location constraint; an empty body gives "".
func ParseCreateBucket(body []byte) (location string, err error) { panic("todo") }

// DeleteRequest is the body of DeleteObjects.
type DeleteRequest struct {
	Quiet   bool
	Objects []DeleteItem
}

// DeleteItem is one key of DeleteObjects.
type DeleteItem struct {
	Key        string // not checked: an error of a key belongs to its entry of the answer
	VersionID  string
	Conditions WriteConditions // ETag, Size, LastModifiedTime
}

// ParseDelete reads the body of DeleteObjects: 1 to 1,000 keys, else 400 MalformedXML.
func ParseDelete(body []byte) (DeleteRequest, error) { panic("todo") }

// CompletePart is one part of CompleteMultipartUpload.
type CompletePart struct {
	Number   uint32
	ETag     digest.ETag
	Checksum digest.Checksum // zero: none given
}

// ParseComplete reads the body of CompleteMultipartUpload. 400 MalformedXML (no parts, too many), InvalidPartOrder, InvalidPart (an
// ETag that is none), InvalidRequest (two checksums for a part).
func ParseComplete(body []byte) ([]CompletePart, error) { panic("todo") }

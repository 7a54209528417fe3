package s3

import (
	"net/http"

	"minikv/internal/digest"
)

// AttributesParams say what GetObjectAttributes is asked for.
type AttributesParams struct {
	ETag, Checksum, Parts, StorageClass, Size bool

	MaxParts int    // 0 to 1,000; 1,000 unless given
	Marker   uint32 // parts with a greater number
}

// ParseAttributes reads x-amz-object-attributes, x-amz-max-parts and x-amz-part-number-marker. Without the first, or with an unknown
// attribute: 400 InvalidRequest, InvalidArgument.
func ParseAttributes(h http.Header) (AttributesParams, error) { panic("todo") }

// Attributes is the answer of GetObjectAttributes.
type Attributes struct {
	Params    *AttributesParams
	ETag      digest.ETag // bare here, without quotes
	Size      uint64
	Checksum  digest.Checksum // zero: none
	Parts     []Part          // the page of parts; listed only if they have checksums
	PartCount uint32          // 0: not multipart, no ObjectParts element
	Truncated bool
}

// AppendAttributes appends the answer of GetObjectAttributes.
func AppendAttributes(dst []byte, a *Attributes) []byte { panic("todo") }

package s3

import (
	"math"
	"net/http"
	"strings"

	"minikv/internal/digest"
)

// AttributesParams say what GetObjectAttributes is asked for.
type AttributesParams struct {
	ETag, Checksum, Parts, StorageClass, Size bool

	MaxParts int    // 0 to 1,000; 1,000 unless given
	Marker   uint32 // parts with a greater number
}

// ParseAttributes reads x-amz-object-attributes, x-amz-max-parts and x-amz-part-number-marker. Without the first: 400
// InvalidRequest; an unknown attribute or a bad number: 400 InvalidArgument.
func ParseAttributes(h http.Header) (p AttributesParams, err error) {
	const name = "x-amz-object-attributes"
	found := false
	for _, line := range headerValues(h, name) {
		for _, s := range strings.Split(line, ",") {
			if s = strings.Trim(s, " \t"); s == "" {
				continue
			}
			if !p.want(s) {
				return p, InvalidArgument(name, s, "Invalid attribute name specified.")
			}
			found = true
		}
	}
	if !found {
		return p, NewError(CodeInvalidRequest, "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	max, err := headerNumber(h, "x-amz-max-parts", PageMax)
	if err != nil {
		return p, err
	}
	marker, err := headerNumber(h, "x-amz-part-number-marker", 0)
	p.MaxParts, p.Marker = int(min(max, PageMax)), marker
	return p, err
}

func (p *AttributesParams) want(s string) bool {
	switch s {
	case "ETag":
		p.ETag = true
	case "Checksum":
		p.Checksum = true
	case "ObjectParts":
		p.Parts = true
	case "StorageClass":
		p.StorageClass = true
	case "ObjectSize":
		p.Size = true
	default:
		return false
	}
	return true
}

func headerNumber(h http.Header, name string, def uint32) (uint32, error) {
	v := headerValue(h, name)
	if v == "" {
		return def, nil
	}
	n, ok := parseUint(v)
	if !ok || n > math.MaxInt32 {
		return 0, InvalidArgument(name, v, "Argument "+name+" must be an integer between 0 and 2147483647")
	}
	return uint32(n), nil
}

// Attributes is the answer of GetObjectAttributes.
type Attributes struct {
	Params    *AttributesParams
	ETag      digest.ETag // bare here, without quotes
	Size      uint64
	Checksum  digest.Checksum // zero: none
	Parts     []Part          // the page of parts; those without checksum are not written, as AWS does
	PartCount uint32          // of the object; 0: not multipart, no ObjectParts element
	Truncated bool
}

// AppendAttributes appends the answer of GetObjectAttributes.
func AppendAttributes(dst []byte, a *Attributes) []byte {
	p := a.Params
	dst = appendRoot(dst, "GetObjectAttributesResponse")
	if p.ETag {
		dst = appendOpen(dst, "ETag")
		dst = appendClose(a.ETag.Append(dst), "ETag")
	}
	if p.Checksum && !a.Checksum.IsZero() {
		dst = append(dst, "<Checksum>"...)
		sum := a.Checksum
		sum.Parts = 0 // S3 gives the number of parts everywhere but here
		dst = appendTypedChecksum(dst, sum)
		dst = append(dst, "</Checksum>"...)
	}
	if p.Parts && a.PartCount > 0 {
		dst = a.appendParts(dst)
	}
	if p.StorageClass {
		dst = append(dst, "<StorageClass>STANDARD</StorageClass>"...)
	}
	if p.Size {
		dst = appendNumber(dst, "ObjectSize", a.Size)
	}
	return append(dst, "</GetObjectAttributesResponse>"...)
}

func (a *Attributes) appendParts(dst []byte) []byte {
	dst = append(dst, "<ObjectParts>"...)
	dst = appendNumber(dst, "PartsCount", uint64(a.PartCount))
	dst = appendNumber(dst, "PartNumberMarker", uint64(a.Params.Marker))
	dst = appendNumber(dst, "NextPartNumberMarker", uint64(lastPart(a.Parts, a.Params.Marker)))
	dst = appendNumber(dst, "MaxParts", uint64(a.Params.MaxParts))
	dst = appendBool(dst, "IsTruncated", a.Truncated)
	for i := range a.Parts {
		p := &a.Parts[i]
		if p.Checksum.IsZero() {
			continue
		}
		dst = append(dst, "<Part>"...)
		dst = appendNumber(dst, "PartNumber", uint64(p.Number))
		dst = appendNumber(dst, "Size", p.Size)
		dst = appendChecksum(dst, p.Checksum)
		dst = append(dst, "</Part>"...)
	}
	return append(dst, "</ObjectParts>"...)
}

package s3

import (
	"encoding/base64"
	"net/http"
	"strings"

	"minikv/internal/digest"
)

// Names of checksum headers.
const (
	HeaderChecksumAlgorithm    = "x-amz-checksum-algorithm"
	HeaderSDKChecksumAlgorithm = "x-amz-sdk-checksum-algorithm"
	HeaderChecksumType         = "x-amz-checksum-type"
	HeaderChecksumMode         = "x-amz-checksum-mode"
	HeaderTrailer              = "x-amz-trailer"
	HeaderObjectSize           = "x-amz-mp-object-size"
	checksumPrefix             = "x-amz-checksum-"
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
	// Algorithm is that of Value or Trailer; else what x-amz-checksum-algorithm asks for (CreateMultipartUpload, CopyObject). None:
	// the client says nothing.
	Algorithm digest.Algorithm
	// Type is x-amz-checksum-type, or for CreateMultipartUpload with an Algorithm its default.
	Type digest.Type
	// ObjectSize is x-amz-mp-object-size, of CompleteMultipartUpload; nil for none.
	ObjectSize *uint64
}

// ParseChecksums reads Content-MD5 and the checksum headers of an operation.
//
// 400 InvalidDigest: Content-MD5 is not 16 bytes. 400 InvalidRequest: two checksums; a value of the wrong length; an algorithm
// header without a checksum (operations with a body) or that names another algorithm; an unknown algorithm or type; a pair that
// cannot be; x-amz-trailer with a checksum header or naming no checksum; a malformed object size. 501: a checksum header of an
// algorithm this store does not have.
//
// DeleteObjects needs a digest: see Checksums.NeedDigest.
func ParseChecksums(op *Operation, h http.Header) (c Checksums, err error) {
	if err = c.parseMD5(h); err == nil {
		err = c.parseValue(op, h)
	}
	if err == nil {
		err = c.parseTrailer(h)
	}
	if err == nil {
		err = c.parseAlgorithm(op, h)
	}
	if err == nil {
		err = c.parseType(op, h)
	}
	if err == nil {
		err = c.parseSize(op, h)
	}
	return c, err
}

// NeedDigest is the 400 InvalidRequest for an operation that must be sent with a digest (DeleteObjects) and was not; else nil.
func (c *Checksums) NeedDigest() error {
	if c.HasMD5 || !c.Value.IsZero() || c.Trailer != digest.None {
		return nil
	}
	return NewError(CodeInvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
}

func (c *Checksums) parseMD5(h http.Header) error {
	v := headerValues(h, "Content-Md5")
	if len(v) == 0 {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.Trim(v[0], " "))
	if err != nil || len(b) != 16 || len(v) > 1 {
		return NewError(CodeInvalidDigest, "The Content-MD5 you specified was invalid.").With("Content-MD5", v[0])
	}
	c.HasMD5 = true
	copy(c.MD5[:], b)
	return nil
}

// parseValue finds the one x-amz-checksum-<algorithm> header.
func (c *Checksums) parseValue(op *Operation, h http.Header) error {
	for name, values := range h {
		if len(name) <= len(checksumPrefix) || !strings.EqualFold(name[:len(checksumPrefix)], checksumPrefix) {
			continue
		}
		switch low := strings.ToLower(name); low {
		case HeaderChecksumAlgorithm, HeaderChecksumType, HeaderChecksumMode:
			continue
		default:
			a, ok := digest.AlgorithmOfHeader(low)
			if !ok {
				return NotImplementedHeader(low)
			}
			if !c.Value.IsZero() || len(values) > 1 {
				return manyChecksums()
			}
			v, err := digest.Parse(a, strings.Trim(values[0], " "))
			if err != nil || (v.Type == digest.Composite && op.Name != "CompleteMultipartUpload") {
				return Errorf(CodeInvalidRequest, "Value for %s header is invalid.", low)
			}
			c.Value, c.Algorithm = v, a
		}
	}
	return nil
}

func manyChecksums() *Error {
	return NewError(CodeInvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

func (c *Checksums) parseTrailer(h http.Header) error {
	v := headerValues(h, HeaderTrailer)
	if len(v) == 0 {
		return nil
	}
	a, ok := digest.AlgorithmOfHeader(strings.Trim(v[0], " \t"))
	switch {
	case len(v) > 1 || strings.Contains(v[0], ","):
		return manyChecksums()
	case !ok && strings.HasPrefix(strings.ToLower(v[0]), checksumPrefix):
		return NotImplementedHeader(v[0])
	case !ok:
		return NewError(CodeInvalidRequest, "The value specified in the x-amz-trailer header is not supported").With("Header", HeaderTrailer)
	case !c.Value.IsZero():
		return manyChecksums()
	}
	c.Trailer, c.Algorithm = a, a
	return nil
}

// bodySummed are the operations whose SDK algorithm header promises a checksum of the body.
var bodySummed = map[string]bool{"PutObject": true, "UploadPart": true, "DeleteObjects": true, "PutObjectTagging": true}

func (c *Checksums) parseAlgorithm(op *Operation, h http.Header) error {
	for _, name := range [...]string{HeaderSDKChecksumAlgorithm, HeaderChecksumAlgorithm} {
		v := headerValue(h, name)
		if v == "" {
			continue
		}
		a, ok := digest.ParseAlgorithm(v)
		switch {
		case !ok:
			return NewError(CodeInvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
		case c.Algorithm != digest.None && a != c.Algorithm:
			return Errorf(CodeInvalidRequest, "Value for %s header is invalid.", name)
		case c.Algorithm == digest.None && bodySummed[op.Name]:
			return Errorf(CodeInvalidRequest, "%s specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.", name)
		}
		c.Algorithm = a
	}
	return nil
}

func (c *Checksums) parseType(op *Operation, h http.Header) error {
	if v := headerValue(h, HeaderChecksumType); v != "" {
		t, ok := digest.ParseType(v)
		if !ok {
			return Errorf(CodeInvalidRequest, "Value for %s header is invalid.", HeaderChecksumType)
		}
		c.Type = t
	}
	switch op.Name {
	case "CreateMultipartUpload":
		return c.createType()
	case "CompleteMultipartUpload":
		if c.Algorithm != digest.None && c.Type != digest.NoType && !digest.Possible(c.Algorithm, c.Type) {
			return impossible(c.Algorithm, c.Type)
		}
	default: // the body's own checksum
		if c.Type == digest.Composite {
			return Errorf(CodeInvalidRequest, "Value for %s header is invalid.", HeaderChecksumType)
		}
	}
	return nil
}

func (c *Checksums) createType() error {
	switch {
	case c.Algorithm == digest.None && c.Type != digest.NoType:
		return NewError(CodeInvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case c.Algorithm == digest.None:
		return nil
	case c.Type == digest.NoType:
		c.Type = digest.DefaultType(c.Algorithm)
	case !digest.Possible(c.Algorithm, c.Type):
		return impossible(c.Algorithm, c.Type)
	}
	return nil
}

func impossible(a digest.Algorithm, t digest.Type) *Error {
	return Errorf(CodeInvalidRequest, "The %s checksum type cannot be used with the %s checksum algorithm.", t, strings.ToLower(a.String()))
}

func (c *Checksums) parseSize(op *Operation, h http.Header) error {
	v := headerValue(h, HeaderObjectSize)
	if v == "" || op.Name != "CompleteMultipartUpload" {
		return nil
	}
	n, ok := parseUint(v)
	if !ok {
		return Errorf(CodeInvalidRequest, "Value for %s header is invalid.", HeaderObjectSize)
	}
	c.ObjectSize = &n
	return nil
}

// SetChecksumHeader writes a checksum and its type (x-amz-checksum-crc32, x-amz-checksum-type); a zero one writes nothing.
func SetChecksumHeader(h http.Header, c digest.Checksum) {
	if c.IsZero() {
		return
	}
	h[c.Algorithm.Header()] = []string{c.String()}
	h[HeaderChecksumType] = []string{c.Type.String()}
}

// ChecksumMode says whether x-amz-checksum-mode is ENABLED. Another value is 400 InvalidArgument.
func ChecksumMode(h http.Header) (bool, error) {
	switch v := headerValue(h, HeaderChecksumMode); {
	case v == "":
		return false, nil
	case strings.EqualFold(v, "ENABLED"):
		return true, nil
	default:
		return false, InvalidArgument(HeaderChecksumMode, v, "Value for x-amz-checksum-mode header is invalid.")
	}
}

// SetChecksumKind writes the algorithm and type of an upload (CreateMultipartUpload, ListParts); None writes nothing.
func SetChecksumKind(h http.Header, a digest.Algorithm, t digest.Type) {
	if a == digest.None {
		return
	}
	h[HeaderChecksumAlgorithm] = []string{a.String()}
	h[HeaderChecksumType] = []string{t.String()}
}

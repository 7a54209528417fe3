package sigv4

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// PayloadMode is how the body is authenticated and framed. The zero value is invalid.
type PayloadMode uint8

// The payload modes, by the value of x-amz-content-sha256.
const (
	payloadInvalid                PayloadMode = iota
	PayloadHash                               // 64 hex digits: the body's SHA-256
	PayloadUnsigned                           // UNSIGNED-PAYLOAD
	PayloadChunked                            // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
	PayloadChunkedTrailer                     // STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
	PayloadChunkedUnsignedTrailer             // STREAMING-UNSIGNED-PAYLOAD-TRAILER, or Java's aws-chunked UNSIGNED-PAYLOAD
)

// The payload lines that are not a hash.
const (
	UnsignedPayload              = "UNSIGNED-PAYLOAD"
	StreamingPayload             = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingPayloadTrailer      = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer     = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamingPrefix              = "STREAMING-"
	streamingECDSA               = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
	EmptySHA256                  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	headerDecodedLength          = "x-amz-decoded-content-length"
	headerTrailer                = "x-amz-trailer"
	trailerSignature             = "x-amz-trailer-signature"
	trailersMax                  = 16 // names in x-amz-trailer; S3 defines one checksum per request
	messageMissingContentSHA256  = "Missing required header for this request: x-amz-content-sha256"
	messageBadContentSHA256      = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."
	messageMissingDecodedLength  = "You must provide the x-amz-decoded-content-length HTTP header."
	messageHalfFramed            = "Content-Encoding: aws-chunked and x-amz-decoded-content-length belong together."
	messageStreamingNotSupported = "A header you provided implies functionality that is not implemented"
)

// String returns the value of x-amz-content-sha256 that stands for the mode; "sha256" for a hash.
func (m PayloadMode) String() string {
	switch m {
	case PayloadHash:
		return "sha256"
	case PayloadUnsigned:
		return UnsignedPayload
	case PayloadChunked:
		return StreamingPayload
	case PayloadChunkedTrailer:
		return StreamingPayloadTrailer
	case PayloadChunkedUnsignedTrailer:
		return StreamingUnsignedTrailer
	}
	return "invalid"
}

// Framed reports whether the body is aws-chunked.
func (m PayloadMode) Framed() bool { return m >= PayloadChunked }

// signed reports whether each chunk carries a signature.
func (m PayloadMode) signed() bool { return m == PayloadChunked || m == PayloadChunkedTrailer }

// Payload describes the body of a request.
type Payload struct {
	Mode PayloadMode
	Line string // the payload line of the canonical request

	SHA256        [32]byte // of the body, for PayloadHash
	DecodedLength int64    // bytes without framing, for framed modes; else -1
	Trailers      []string // lower-case names declared in x-amz-trailer, for framed modes
}

// parsePayload reads the payload headers; extra are query parameters that act as headers. fallback is the payload line
// of a request without x-amz-content-sha256.
func parsePayload(r *Request, extra http.Header, fallback string) (Payload, error) {
	if len(r.Header["X-Amz-Content-Sha256"]) > 1 {
		return Payload{}, newError(CodeInvalidArgument, "x-amz-content-sha256 is given twice.").
			with("ArgumentName", paramContentSHA256)
	}
	line, ok := r.amz(paramContentSHA256, extra)
	if !ok {
		line = fallback
	}
	p := Payload{Line: line, DecodedLength: -1}
	var err error
	if p.Mode, err = payloadMode(line, &p.SHA256); err != nil {
		return Payload{}, err
	}
	if p.Mode == PayloadHash && r.BodySHA256 != "" && !strings.EqualFold(r.BodySHA256, line) {
		return Payload{}, errContentMismatch(line, r.BodySHA256)
	}
	return p, p.parseFraming(r, extra)
}

func payloadMode(line string, sum *[32]byte) (PayloadMode, error) {
	switch line {
	case UnsignedPayload:
		return PayloadUnsigned, nil
	case StreamingPayload:
		return PayloadChunked, nil
	case StreamingPayloadTrailer:
		return PayloadChunkedTrailer, nil
	case StreamingUnsignedTrailer:
		return PayloadChunkedUnsignedTrailer, nil
	case streamingECDSA, streamingECDSA + "-TRAILER":
		return payloadInvalid, newError(CodeNotImplemented, messageStreamingNotSupported).with("Header", paramContentSHA256)
	}
	if len(line) == 2*len(sum) {
		if _, err := hex.Decode(sum[:], []byte(line)); err == nil {
			return PayloadHash, nil
		}
	}
	return payloadInvalid, newError(CodeInvalidArgument, messageBadContentSHA256).
		with("ArgumentName", paramContentSHA256).with("ArgumentValue", line)
}

// parseFraming fills DecodedLength and Trailers. STREAMING-* alone decides that a body is framed, since some clients
// omit Content-Encoding; under UNSIGNED-PAYLOAD the Java SDK shows framing by aws-chunked and the decoded length.
func (p *Payload) parseFraming(r *Request, extra http.Header) error {
	decoded, hasDecoded := r.amz(headerDecodedLength, extra)
	if p.Mode == PayloadUnsigned {
		if hasDecoded != isAWSChunked(r.Header) {
			return newError(CodeInvalidRequest, messageHalfFramed)
		}
		if hasDecoded {
			p.Mode = PayloadChunkedUnsignedTrailer
		}
	}
	if !p.Mode.Framed() {
		return nil
	}
	if !hasDecoded {
		return newError(CodeMissingContentLength, messageMissingDecodedLength)
	}
	n, err := strconv.ParseUint(decoded, 10, 63)
	if err != nil || len(r.Header["X-Amz-Decoded-Content-Length"]) > 1 {
		return newError(CodeInvalidArgument, "x-amz-decoded-content-length must be a number of bytes, once.").
			with("ArgumentName", headerDecodedLength).with("ArgumentValue", decoded)
	}
	p.DecodedLength = int64(n)
	p.Trailers, err = declaredTrailers(r, extra)
	if err == nil && p.Mode == PayloadChunked && len(p.Trailers) > 0 {
		err = newError(CodeInvalidRequest, "x-amz-trailer needs a payload mode with trailers.")
	}
	return err
}

// declaredTrailers parses x-amz-trailer, a list of header names.
func declaredTrailers(r *Request, extra http.Header) ([]string, error) {
	values := r.Header["X-Amz-Trailer"]
	if len(values) == 0 {
		values = extra["X-Amz-Trailer"]
	}
	var names []string
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			if !isLowerToken(name) || name == trailerSignature || slices.Contains(names, name) || len(names) == trailersMax {
				return nil, newError(CodeInvalidRequest, "The value specified in the x-amz-trailer header is not supported").
					with("ArgumentName", headerTrailer).with("ArgumentValue", value)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// isAWSChunked reports whether aws-chunked is among the content encodings.
func isAWSChunked(h http.Header) bool {
	for _, value := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(coding, " \t"), "aws-chunked") {
				return true
			}
		}
	}
	return false
}

func errContentMismatch(client, computed string) *Error {
	return newError(CodeXAmzContentSHA256Mismatch, "The provided 'x-amz-content-sha256' header does not match what was computed.").
		with("ClientComputedContentSHA256", client).
		with("S3ComputedContentSHA256", computed)
}

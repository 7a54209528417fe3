package sigv4

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// S3 error codes that this package returns. Source: "Error responses" in the Amazon S3 API Reference.
const (
	CodeAccessDenied              = "AccessDenied"
	CodeAuthorizationHeader       = "AuthorizationHeaderMalformed"
	CodeAuthorizationQuery        = "AuthorizationQueryParametersError"
	CodeIncompleteBody            = "IncompleteBody"
	CodeInvalidAccessKeyID        = "InvalidAccessKeyId"
	CodeInvalidArgument           = "InvalidArgument"
	CodeInvalidRequest            = "InvalidRequest"
	CodeInvalidToken              = "InvalidToken"
	CodeInvalidURI                = "InvalidURI"
	CodeMalformedTrailer          = "MalformedTrailerError"
	CodeMissingContentLength      = "MissingContentLength"
	CodeNotImplemented            = "NotImplemented"
	CodeRequestTimeTooSkewed      = "RequestTimeTooSkewed"
	CodeSignatureDoesNotMatch     = "SignatureDoesNotMatch"
	CodeXAmzContentSHA256Mismatch = "XAmzContentSHA256Mismatch"
)

// Field is one more element of an S3 error document, such as AWSAccessKeyId; or, in trailers, a name and its value.
type Field struct {
	Name  string
	Value string
}

// Error is a refusal in S3's terms. Fields carries the further elements that AWS puts into the error document, in order.
type Error struct {
	Code    string
	Message string

	// Region is the region the client should have signed for; set only when the scope named a wrong one. The answer
	// then also carries x-amz-bucket-region.
	Region string

	// CanonicalRequest and StringToSign are what the server computed; set only for SignatureDoesNotMatch of a request.
	CanonicalRequest string
	StringToSign     string

	Fields []Field

	// Cause is the error of the underlying reader, if one failed.
	Cause error
}

// Error names the code and the message.
func (e *Error) Error() string {
	if e.Cause != nil {
		return "sigv4: " + e.Code + ": " + e.Message + ": " + e.Cause.Error()
	}
	return "sigv4: " + e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Status returns the HTTP status of the code.
func (e *Error) Status() int {
	switch e.Code {
	case CodeAccessDenied, CodeInvalidAccessKeyID, CodeRequestTimeTooSkewed, CodeSignatureDoesNotMatch:
		return http.StatusForbidden
	case CodeMissingContentLength:
		return http.StatusLengthRequired
	case CodeNotImplemented:
		return http.StatusNotImplemented
	}
	return http.StatusBadRequest
}

func newError(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// with adds one field and returns e.
func (e *Error) with(name, value string) *Error {
	e.Fields = append(e.Fields, Field{name, value})
	return e
}

// credentialKind says which of the two carriers an error is about, since AWS gives them different codes.
type credentialKind bool

const (
	inHeader credentialKind = false
	inQuery  credentialKind = true
)

func (k credentialKind) errorf(format string, args ...any) *Error {
	if k == inQuery {
		return newError(CodeAuthorizationQuery, format, args...)
	}
	return newError(CodeAuthorizationHeader, "The authorization header is malformed; "+format, args...)
}

func errSeveralMechanisms(argument string) *Error {
	return newError(CodeInvalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "+
		"Signature query string parameter or the Authorization header should be specified").
		with("ArgumentName", argument)
}

func errV2() *Error {
	return newError(CodeInvalidRequest,
		"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

func errToken() *Error {
	return newError(CodeInvalidToken, "The provided token is malformed or otherwise invalid.")
}

func errUnsignedHeaders(names []string) *Error {
	return newError(CodeAccessDenied, "There were headers present in the request which were not signed").
		with("HeadersNotSigned", strings.Join(names, ", "))
}

func errUnknownKey(accessKey string) *Error {
	return newError(CodeInvalidAccessKeyID, "The AWS Access Key Id you provided does not exist in our records.").
		with("AWSAccessKeyId", accessKey)
}

func errSkewed(requestTime string, now time.Time) *Error {
	return newError(CodeRequestTimeTooSkewed,
		"The difference between the request time and the current time is too large.").
		with("RequestTime", requestTime).
		with("ServerTime", now.UTC().Format(time.RFC3339)).
		with("MaxAllowedSkewMilliseconds", strconv.FormatInt(skewMax.Milliseconds(), 10))
}

const messageMismatch = "The request signature we calculated does not match the signature you provided. " +
	"Check your key and signing method."

// errMismatch describes a wrong request signature; AWS returns both strings and their bytes in hex.
func errMismatch(accessKey, provided, stringToSign, canonicalRequest string) *Error {
	e := newError(CodeSignatureDoesNotMatch, messageMismatch).
		with("AWSAccessKeyId", accessKey).
		with("StringToSign", stringToSign).
		with("SignatureProvided", provided).
		with("StringToSignBytes", spacedHex(stringToSign)).
		with("CanonicalRequest", canonicalRequest).
		with("CanonicalRequestBytes", spacedHex(canonicalRequest))
	e.StringToSign, e.CanonicalRequest = stringToSign, canonicalRequest
	return e
}

// spacedHex formats bytes as AWS does in error documents: "41 57 53".
func spacedHex(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("% x", s)
}

package s3

import (
	"fmt"
	"net/http"
)

// Code is an S3 error code.
type Code string

// Field is a name and a value: an XML element of an error, or a header.
type Field struct{ Name, Value string }

// Error is an S3 error answer.
type Error struct {
	Code    Code
	Message string
	Status  int     // HTTP status
	Fields  []Field // further XML elements, in order
	Header  []Field // further response headers, names in exact case
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (%d): %s", e.Code, e.Status, e.Message)
}

// NewError makes an error with the status of its code and, when message is "", its usual message.
func NewError(code Code, message string) *Error {
	d, ok := codes[code]
	if !ok {
		d = codeInfo{http.StatusInternalServerError, "Internal error."}
	}
	if message == "" {
		message = d.message
	}
	return &Error{Code: code, Message: message, Status: d.status}
}

// Errorf makes an error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return NewError(code, fmt.Sprintf(format, args...))
}

// With appends an XML element to e and returns e.
func (e *Error) With(name, value string) *Error {
	e.Fields = append(e.Fields, Field{name, value})
	return e
}

// WithHeader appends a response header to e and returns e.
func (e *Error) WithHeader(name, value string) *Error {
	e.Header = append(e.Header, Field{name, value})
	return e
}

// InvalidArgument is the error of a bad argument, which it names.
func InvalidArgument(name, value, message string) *Error {
	return NewError(CodeInvalidArgument, message).With("ArgumentName", name).With("ArgumentValue", value)
}

// NotImplementedHeader is the 501 for a header that asks for what this store does not do. It names the header, in the
// message too, since clients show no more than that.
func NotImplementedHeader(name string) *Error {
	return Errorf(CodeNotImplemented, "A header you provided implies functionality that is not implemented: %s", name).With("Header", name)
}

// PreconditionFailed is the 412 that names the condition that is false ("If-Match").
func PreconditionFailed(condition string) *Error {
	return NewError(CodePreconditionFailed, "").With("Condition", condition)
}

// NotModified is the 304, which has no body.
func NotModified() *Error { return NewError(CodeNotModified, "") }

// AppendError appends the XML body of e. Empty resource, request and host ids leave their elements out. An answer to HEAD and a
// 304 have no body: the caller sees to that.
func AppendError(dst []byte, e *Error, resource, requestID, hostID string) []byte {
	dst = append(dst, xmlHeader...)
	dst = append(dst, "<Error>"...)
	dst = appendElement(dst, "Code", string(e.Code))
	dst = appendEcho(dst, "Message", e.Message)
	for _, f := range e.Fields {
		dst = appendEcho(dst, f.Name, f.Value)
	}
	for _, f := range [...]Field{{"Resource", resource}, {"RequestId", requestID}, {"HostId", hostID}} {
		if f.Value != "" {
			dst = appendElement(dst, f.Name, f.Value)
		}
	}
	return append(dst, "</Error>"...)
}

package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/sigv4"
)

// Error is the JSON body of every error. Code is S3's where S3 has one.
type Error struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
	Op        *int   `json:"op,omitempty"` // of a batch: the index of the operation that was refused

	status int
	header []s3.Field
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d): %s", e.Code, e.status, e.Message) }

// newError makes an error; an empty message is the usual one of an S3 code.
func newError(status int, code, message string) *Error {
	if message == "" {
		message = s3.NewError(s3.Code(code), "").Message
	}
	return &Error{Code: code, Message: message, status: status}
}

func badRequest(format string, args ...any) *Error {
	return newError(http.StatusBadRequest, "InvalidArgument", fmt.Sprintf(format, args...))
}

func keyError(name string, err error) error {
	switch {
	case name == "":
		return badRequest("The key is empty.")
	case errs.Is(err, errs.LimitExceeded):
		return newError(http.StatusBadRequest, "KeyTooLongError", fmt.Sprintf("The key has %d bytes; at most %d are allowed.", len(name), object.KeyBytesMax))
	}
	return newError(http.StatusBadRequest, "InvalidURI", "The key is not UTF-8.")
}

// errorOf finds the answer for err: by its type, else by its kind in S3's table.
func errorOf(err error) *Error {
	var (
		own   *Error
		sig   *sigv4.Error
		batch *objects.BatchError
		large *http.MaxBytesError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &large):
		return newError(http.StatusRequestEntityTooLarge, "EntityTooLarge", fmt.Sprintf("The body has more than %d bytes.", large.Limit))
	case errors.As(err, &sig):
		return &Error{Code: sig.Code, Message: sig.Message, status: sig.Status()}
	case errors.As(err, &batch):
		e := errorOf(batch.Err)
		op := batch.Op
		e.Op = &op
		return e
	}
	x := s3.ErrorOf(err)
	e := &Error{Code: string(x.Code), Message: x.Message, status: x.Status, header: x.Header}
	if errs.Is(err, errs.LimitExceeded) || errs.Is(err, errs.EntityTooLarge) {
		e.Code, e.status = "EntityTooLarge", http.StatusRequestEntityTooLarge
	}
	return e
}

// fail answers an error, or breaks the connection when the answer has begun (R3).
func (c *call) fail(err error) {
	if c.w.cause == nil { // a handler may know more than it answers
		c.w.cause = err
	}
	if c.w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	e := *errorOf(err)
	e.RequestID = c.id
	if e.status != http.StatusNotModified {
		c.w.code = e.Code
	}
	h := c.w.Header()
	for _, name := range []string{"Content-Length", "Content-Range", "ETag", "Last-Modified", "Content-Encoding", "Content-Disposition"} {
		if e.status != http.StatusNotModified || name == "Content-Length" || name == "Content-Range" {
			delete(h, name)
		}
	}
	for _, f := range e.header {
		h[f.Name] = []string{f.Value}
	}
	if e.status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{`Basic realm="minikv", charset="UTF-8"`}
	}
	if e.status == http.StatusServiceUnavailable {
		h["Retry-After"] = []string{"1"}
	}
	if e.status == http.StatusNotModified {
		c.w.WriteHeader(e.status)
		return
	}
	_ = c.json(e.status, &e)
}

func methodNotAllowed(methods []string) handlerFunc {
	return func(*call) error {
		e := newError(http.StatusMethodNotAllowed, "MethodNotAllowed", "This path takes "+strings.Join(methods, ", ")+".")
		e.header = []s3.Field{{Name: "Allow", Value: strings.Join(methods, ", ")}}
		return e
	}
}

package rest

import (
	"errors"
	"net/http"
	"strings"

	"minikv/gateway/admin"
	"minikv/gateway/s3"
	"minikv/internal/errs"
)

// Admin sets who answers below /admin/v1/; nil: no one. Operations are answered from then on, before Start too.
func (s *Server) Admin(h *admin.Handler) *Server {
	s.admin.Store(h)
	return s
}

// operate hands an operation of root over.
func operate(c *call) error {
	if err := c.operator(); err != nil {
		return err
	}
	h := c.s.admin.Load()
	if h == nil {
		return newError(http.StatusNotFound, "NotFound", "There are no operations here.")
	}
	return operateError(h.Serve(c.w, c.r, strings.TrimPrefix(c.req.Path, admin.Prefix), c.body))
}

// operateError makes a failure of an operation an answer: the message says all there is to say, since only root sees it.
func operateError(err error) error {
	var own *admin.Error
	switch {
	case err == nil || errs.KindOf(err) == errs.Other && !errors.As(err, &own) && understood(err):
		return err
	case errors.As(err, &own):
		e := newError(own.Status, own.Code, own.Message)
		if own.Allow != "" {
			e.header = []s3.Field{{Name: "Allow", Value: own.Allow}}
		}
		return e
	}
	f := admin.FailureOf(err)
	return &opError{newError(f.Status, f.Code, f.Message), err}
}

// opError keeps what happened for the log.
type opError struct {
	answer *Error
	cause  error
}

func (e *opError) Error() string { return e.cause.Error() }
func (e *opError) Unwrap() error { return e.answer }

package s3

import "net/http"

// Route finds the operation of a request by method, level, query keys and headers. x-id never routes.
//
// The operation is never nil. The error, if any, is the answer to give once the request is authenticated: 501 NotImplemented
// for operations and subresources that are not supported, 405 MethodNotAllowed for unknown methods, 412 for a POST to a bucket
// that is not a form, 403 AccessForbidden for OPTIONS. Operations with State NoneAnswer come without error.
func Route(method string, level Level, q Query, h http.Header) (*Operation, error) { panic("todo") }

// Operations is the operation table. The caller must not change it.
func Operations() []Operation { return operations }

var operations []Operation

type noneAnswer struct {
	code Code   // an error, or
	text string // a 200 with this body; with a code, the message
}

var noneAnswers map[string]noneAnswer

// CheckHeaders refuses headers that ask an operation for what this store does not do: encryption, lock, grants, redirects, other
// storage classes, ... 501 NotImplemented naming the header; InvalidStorageClass for an unknown class.
func CheckHeaders(op *Operation, h http.Header) error { panic("todo") }

package admin

import (
	"net/http"

	"minikv/internal/errs"
)

// answers is the one table from kinds to what HTTP says. Kinds without a row are 500.
var answers = map[errs.Kind]struct {
	status int
	code   string
}{
	errs.Invalid:             {http.StatusBadRequest, "InvalidArgument"},
	errs.InvalidRequest:      {http.StatusBadRequest, "InvalidRequest"},
	errs.NoSuchKey:           {http.StatusNotFound, "NotFound"},
	errs.NoSuchBucket:        {http.StatusNotFound, "NoSuchBucket"},
	errs.AccessDenied:        {http.StatusForbidden, "AccessDenied"},
	errs.Precondition:        {http.StatusPreconditionFailed, "PreconditionFailed"},
	errs.Conflict:            {http.StatusConflict, "OperationAborted"},
	errs.LimitExceeded:       {http.StatusRequestEntityTooLarge, "EntityTooLarge"},
	errs.Unsupported:         {http.StatusNotImplemented, "NotImplemented"},
	errs.NotLeader:           {http.StatusServiceUnavailable, "ServiceUnavailable"},
	errs.NotProposed:         {http.StatusServiceUnavailable, "ServiceUnavailable"},
	errs.Unavailable:         {http.StatusServiceUnavailable, "ServiceUnavailable"},
	errs.Canceled:            {http.StatusServiceUnavailable, "ServiceUnavailable"},
	errs.Timeout:             {http.StatusServiceUnavailable, "ServiceUnavailable"},
	errs.IndeterminateResult: {http.StatusServiceUnavailable, "IndeterminateResult"},
	errs.SlowDown:            {http.StatusServiceUnavailable, "SlowDown"},
	errs.StorageFull:         {http.StatusInsufficientStorage, "InsufficientStorage"},
}

// FailureOf is the answer for an error. Only root sees it, so it says all there is to say.
func FailureOf(err error) Failure {
	a, ok := answers[errs.KindOf(err)]
	if !ok {
		a.status, a.code = http.StatusInternalServerError, "InternalError"
	}
	return Failure{Status: a.status, Code: a.code, Message: sentence(err)}
}

// sentence is the innermost message, or, when there is none, the whole chain.
func sentence(err error) string {
	if m := errs.Message(err); m != errs.KindOf(err).String() {
		return m
	}
	return err.Error()
}

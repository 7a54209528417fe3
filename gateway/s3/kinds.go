package s3

import (
	"errors"

	"minikv/internal/errs"
)

// kindCodes is the one table from kinds of failure to S3 codes. Kinds that are missing are InternalError.
var kindCodes = map[errs.Kind]Code{
	errs.Invalid:             CodeInvalidArgument,
	errs.NoSuchBucket:        CodeNoSuchBucket,
	errs.NoSuchKey:           CodeNoSuchKey,
	errs.NoSuchVersion:       CodeNoSuchVersion,
	errs.NoSuchUpload:        CodeNoSuchUpload,
	errs.BucketExists:        CodeBucketAlreadyExists,
	errs.BucketOwned:         CodeBucketAlreadyOwnedByYou,
	errs.BucketNotEmpty:      CodeBucketNotEmpty,
	errs.Precondition:        CodePreconditionFailed,
	errs.NotModified:         CodeNotModified,
	errs.InvalidPart:         CodeInvalidPart,
	errs.InvalidPartOrder:    CodeInvalidPartOrder,
	errs.EntityTooSmall:      CodeEntityTooSmall,
	errs.EntityTooLarge:      CodeEntityTooLarge,
	errs.BadDigest:           CodeBadDigest,
	errs.InvalidRequest:      CodeInvalidRequest,
	errs.AccessDenied:        CodeAccessDenied,
	errs.DeleteMarker:        CodeMethodNotAllowed,
	errs.Unavailable:         CodeServiceUnavailable,
	errs.SlowDown:            CodeSlowDown,
	errs.StorageFull:         CodeInsufficientStorage,
	errs.Conflict:            CodeConditionalRequestConflict,
	errs.StaleShardEpoch:     CodeServiceUnavailable,
	errs.StaleEpoch:          CodeRequestTimeout,
	errs.StaleBucket:         CodeNoSuchBucket,
	errs.StaleIAM:            CodeServiceUnavailable,
	errs.UnknownSession:      CodeServiceUnavailable,
	errs.NotLeader:           CodeServiceUnavailable,
	errs.NotProposed:         CodeServiceUnavailable,
	errs.BlobMissing:         CodeServiceUnavailable,
	errs.Unsupported:         CodeNotImplemented,
	errs.Canceled:            CodeRequestTimeout,
	errs.Timeout:             CodeServiceUnavailable,
	errs.InvalidBucketState:  CodeInvalidBucketState,
	errs.InvalidTag:          CodeInvalidTag,
	errs.MalformedBody:       CodeMalformedXML,
	errs.InvalidRange:        CodeInvalidRange,
	errs.InvalidPartNumber:   CodeInvalidPartNumber,
	errs.Aborted:             CodeServiceUnavailable,
	errs.LimitExceeded:       CodeInvalidRequest,
	errs.SourceChanged:       CodePreconditionFailed,
	errs.IndeterminateResult: CodeServiceUnavailable,
}

// clientKinds are the kinds whose message is about the request and may be shown to the client; all others get the usual message
// of their code, so that nothing internal leaks.
var clientKinds = map[errs.Kind]bool{
	errs.Invalid: true, errs.InvalidRequest: true, errs.InvalidTag: true, errs.MalformedBody: true, errs.LimitExceeded: true,
	errs.InvalidBucketState: true, errs.EntityTooLarge: true, errs.Unsupported: true,
}

// ErrorOf makes the S3 error of err: an *Error in its chain as it is, else by its kind. nil stays nil.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	kind := errs.KindOf(err)
	code, ok := kindCodes[kind]
	if !ok {
		return NewError(CodeInternalError, "")
	}
	message := ""
	if clientKinds[kind] {
		message = errs.Message(err)
	}
	return NewError(code, message)
}

package rpc

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"minikv/internal/errs"
	"minikv/proto/rpcpb"
)

// codeOf is the one table from kinds to gRPC codes. The code is for tools and proxies that do not know minikv; between its own
// nodes the kind travels in a detail. Kinds without a row are Internal.
var codeOf = map[errs.Kind]codes.Code{
	errs.Other:               codes.Internal,
	errs.Invalid:             codes.InvalidArgument,
	errs.NoSuchBucket:        codes.NotFound,
	errs.NoSuchKey:           codes.NotFound,
	errs.NoSuchVersion:       codes.NotFound,
	errs.NoSuchUpload:        codes.NotFound,
	errs.BucketExists:        codes.AlreadyExists,
	errs.BucketOwned:         codes.AlreadyExists,
	errs.BucketNotEmpty:      codes.FailedPrecondition,
	errs.Precondition:        codes.FailedPrecondition,
	errs.NotModified:         codes.FailedPrecondition,
	errs.InvalidPart:         codes.InvalidArgument,
	errs.InvalidPartOrder:    codes.InvalidArgument,
	errs.EntityTooSmall:      codes.InvalidArgument,
	errs.EntityTooLarge:      codes.InvalidArgument,
	errs.BadDigest:           codes.DataLoss,
	errs.InvalidRequest:      codes.InvalidArgument,
	errs.AccessDenied:        codes.PermissionDenied,
	errs.DeleteMarker:        codes.FailedPrecondition,
	errs.Unavailable:         codes.Unavailable,
	errs.SlowDown:            codes.ResourceExhausted,
	errs.StorageFull:         codes.ResourceExhausted,
	errs.Corrupt:             codes.DataLoss,
	errs.Conflict:            codes.Aborted,
	errs.StaleShardEpoch:     codes.FailedPrecondition,
	errs.StaleEpoch:          codes.FailedPrecondition,
	errs.StaleBucket:         codes.FailedPrecondition,
	errs.StaleIAM:            codes.FailedPrecondition,
	errs.UnknownSession:      codes.FailedPrecondition,
	errs.NotLeader:           codes.FailedPrecondition,
	errs.NotProposed:         codes.Unavailable,
	errs.BlobMissing:         codes.NotFound,
	errs.Unsupported:         codes.Unimplemented,
	errs.Canceled:            codes.Canceled,
	errs.Timeout:             codes.DeadlineExceeded,
	errs.InvalidBucketState:  codes.FailedPrecondition,
	errs.InvalidTag:          codes.InvalidArgument,
	errs.MalformedBody:       codes.InvalidArgument,
	errs.InvalidRange:        codes.OutOfRange,
	errs.InvalidPartNumber:   codes.OutOfRange,
	errs.Aborted:             codes.Aborted,
	errs.LimitExceeded:       codes.ResourceExhausted,
	errs.SourceChanged:       codes.Aborted,
	errs.IndeterminateResult: codes.Unknown,
}

// kindOf is the kind of a status that no handler of ours made.
func kindOf(c codes.Code) errs.Kind {
	switch c {
	case codes.Canceled:
		return errs.Canceled
	case codes.DeadlineExceeded:
		return errs.Timeout
	case codes.Unauthenticated, codes.PermissionDenied:
		return errs.AccessDenied
	case codes.Unimplemented:
		return errs.Unsupported
	case codes.ResourceExhausted:
		return errs.SlowDown
	case codes.Unavailable:
		return errs.Unavailable
	}
	return errs.Other
}

// causeMax bounds the text of a failure in bytes: details travel in trailers, which are bounded.
const causeMax = 1024

// encode makes err a status for the wire; leader goes with errs.NotLeader.
func encode(err error, leader string) error {
	if err == nil {
		return nil
	}
	kind := errs.KindOf(err)
	code, ok := codeOf[kind]
	if !ok {
		code = codes.Internal
	}
	f := &rpcpb.Failure{Kind: uint32(kind), Cause: clip(err.Error())}
	var e *errs.Error
	if errors.As(err, &e) {
		f.Op = clip(e.Op)
	}
	if m := errs.Message(err); m != kind.String() {
		f.Message = clip(m)
	}
	if kind == errs.NotLeader {
		f.Leader = leader
	}
	s := status.New(code, kind.String())
	if d, err := s.WithDetails(f); err == nil {
		s = d
	}
	return s.Err()
}

func clip(s string) string {
	if len(s) > causeMax {
		s = s[:causeMax]
	}
	return strings.ToValidUTF8(s, "")
}

// remote is an error as it came over the wire.
type remote struct {
	kind   errs.Kind
	ran    bool // a handler of ours answered
	leader string
}

// decode turns a call's error into one of our kinds. ctx is the caller's: its end is told as such.
func decode(ctx context.Context, method, peer string, err error) (remote, error) {
	if err == nil {
		return remote{ran: true}, nil
	}
	op := opOf(method)
	s, ok := status.FromError(err)
	if !ok {
		k := errs.KindOf(err)
		return remote{kind: k}, errs.Wrap(op, err)
	}
	for _, d := range s.Details() {
		f, ok := d.(*rpcpb.Failure)
		if !ok {
			continue
		}
		kind := errs.Kind(f.Kind)
		cause := &errs.Error{Op: f.Op, Kind: kind, Msg: f.Message}
		if f.Message == "" && f.Cause != "" {
			cause.Cause = errors.New(f.Cause)
		}
		return remote{kind: kind, ran: true, leader: f.Leader}, errs.WrapKind(op+" "+peer, kind, cause)
	}
	kind := kindOf(s.Code())
	if ctx.Err() != nil {
		return remote{kind: errs.KindOf(ctx.Err())}, errs.Wrap(op+" "+peer, ctx.Err())
	}
	return remote{kind: kind}, errs.E(op+" "+peer, kind, "%s", s.Message())
}

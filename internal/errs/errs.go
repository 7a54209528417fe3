// Package errs is minikv's vocabulary of failure: an operation, a kind and a cause.
//
// Kinds are data, not text: they travel through the Raft log (as recorded results) and over RPC by number, so numbers are
// never reused. S3 codes are made of kinds in one table in gateway/s3; gRPC codes in one table in internal/rpc.
package errs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind classifies an error. Its number is part of the wire and log format.
type Kind uint16

// The kinds. Append only.
const (
	Other               Kind = 0 // an unclassified internal failure
	Invalid             Kind = 1 // malformed argument
	NoSuchBucket        Kind = 2
	NoSuchKey           Kind = 3
	NoSuchVersion       Kind = 4
	NoSuchUpload        Kind = 5
	BucketExists        Kind = 6 // owned by another account
	BucketOwned         Kind = 7 // owned by the caller already
	BucketNotEmpty      Kind = 8
	Precondition        Kind = 9  // a condition of the request is false
	NotModified         Kind = 10 // a read condition says "you have it"
	InvalidPart         Kind = 11
	InvalidPartOrder    Kind = 12
	EntityTooSmall      Kind = 13
	EntityTooLarge      Kind = 14
	BadDigest           Kind = 15 // bytes do not match the digest the caller gave
	InvalidRequest      Kind = 16 // well-formed but contradictory
	AccessDenied        Kind = 17
	DeleteMarker        Kind = 18 // the addressed version is a delete marker
	Unavailable         Kind = 19 // no quorum, no leader, shutting down: retry
	SlowDown            Kind = 20 // over a limit of rate or memory: retry later
	StorageFull         Kind = 21
	Corrupt             Kind = 22 // stored bytes failed their checksum
	Conflict            Kind = 23 // lost a race with another request
	StaleShardEpoch     Kind = 24 // refresh the shard table and try again
	StaleEpoch          Kind = 25 // older than the fencing horizon
	StaleBucket         Kind = 26 // the bucket was recreated since it was authorized
	StaleIAM            Kind = 27 // IAM changed since it was authorized
	UnknownSession      Kind = 28 // the session expired or never was
	NotLeader           Kind = 29 // not proposed: ask the leader
	NotProposed         Kind = 30 // surely never entered the log
	BlobMissing         Kind = 31 // no such blob on this volume
	Unsupported         Kind = 32 // a newer format, level or feature
	Canceled            Kind = 33
	Timeout             Kind = 34
	InvalidBucketState  Kind = 35
	InvalidTag          Kind = 36
	MalformedBody       Kind = 37
	InvalidRange        Kind = 38
	InvalidPartNumber   Kind = 39
	Aborted             Kind = 40 // the blob was aborted or fenced: it can't be committed
	LimitExceeded       Kind = 41 // a bound of this store (slices per part, ...)
	SourceChanged       Kind = 42 // the copy source is not the version that was read
	IndeterminateResult Kind = 43 // may or may not have taken effect (I3)
	kindEnd             Kind = 44
)

var kindNames = [kindEnd]string{
	"internal error", "invalid argument", "no such bucket", "no such key", "no such version", "no such upload",
	"bucket exists", "bucket already owned by you", "bucket not empty", "precondition failed", "not modified",
	"invalid part", "invalid part order", "entity too small", "entity too large", "bad digest", "invalid request",
	"access denied", "delete marker", "unavailable", "slow down", "storage full", "corrupt", "conflict",
	"stale shard epoch", "stale epoch", "stale bucket", "stale iam", "unknown session", "not leader", "not proposed",
	"blob missing", "unsupported", "canceled", "timeout", "invalid bucket state", "invalid tag", "malformed body",
	"invalid range", "invalid part number", "aborted", "limit exceeded", "source changed", "indeterminate result",
}

// String is the kind in words.
func (k Kind) String() string {
	if k < kindEnd {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint16(k))
}

// Error is an operation that failed.
type Error struct {
	Op    string // what was being done: "store.Prepare"
	Kind  Kind
	Msg   string // for people; optional
	Cause error  // optional
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteString(": ")
	}
	if !e.toldBelow() && (e.Kind != Other || (e.Msg == "" && e.Cause == nil)) {
		b.WriteString(e.Kind.String())
		if e.Msg != "" || e.Cause != nil {
			b.WriteString(": ")
		}
	}
	b.WriteString(e.Msg)
	if e.Cause != nil {
		if e.Msg != "" {
			b.WriteString(": ")
		}
		b.WriteString(e.Cause.Error())
	}
	return b.String()
}

// toldBelow says that the text of the cause begins with the same kind, but for operations.
func (e *Error) toldBelow() bool {
	cause, ok := e.Cause.(*Error)
	return ok && e.Msg == "" && cause.Kind == e.Kind
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// E makes an error of a kind with a message.
func E(op string, kind Kind, format string, args ...any) error {
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	return &Error{Op: op, Kind: kind, Msg: msg}
}

// Wrap adds the operation to err and keeps its kind; nil stays nil.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Kind: KindOf(err), Cause: err}
}

// WrapKind adds the operation and sets the kind; nil stays nil.
func WrapKind(op string, kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Kind: kind, Cause: err}
}

// KindOf is the kind of the outermost classified error in err's chain. Context errors are Canceled and Timeout.
func KindOf(err error) Kind {
	for e := err; e != nil; {
		var x *Error
		if !errors.As(e, &x) {
			break
		}
		if x.Kind != Other {
			return x.Kind
		}
		e = x.Cause
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Other
}

// Is says whether err is of the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Uncoded is what ended a connection while a codec read or wrote it, for errors of codecs that keep it behind Cause() instead of Unwrap(), as that of
// hashicorp/raft does; any other error is given back.
func Uncoded(err error) error {
	var coded interface{ Cause() error }
	if errors.As(err, &coded) {
		if cause := coded.Cause(); cause != nil {
			return cause
		}
	}
	return err
}

// Message is the innermost message meant for people, or the kind in words.
func Message(err error) string {
	msg := ""
	for e := err; e != nil; {
		var x *Error
		if !errors.As(e, &x) {
			break
		}
		if x.Msg != "" {
			msg = x.Msg
		}
		e = x.Cause
	}
	if msg == "" {
		msg = KindOf(err).String()
	}
	return msg
}

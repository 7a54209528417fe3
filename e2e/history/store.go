package history

import (
	"context"
	"errors"
)

// What a Store's error may be, by errors.Is. All else means that the outcome is unknown.
var (
	ErrAbsent       = errors.New("no such key")
	ErrPrecondition = errors.New("a precondition is false")
	ErrRefused      = errors.New("surely nothing was done") // for example: no connection was made
)

// Condition of a write. The zero value is none.
type Condition struct {
	When When
	ETag string // with IfMatch
}

// Object is what a read or a listing told.
type Object struct {
	Key  string
	ETag string // without quotes
	Body []byte // of Get; in a batch nil if it was left out
}

// Page of a listing.
type Page struct {
	Objects []Object
	More    bool
}

// BatchOp is one operation of a batch: Get, Put or Delete.
type BatchOp struct {
	Kind Kind
	Key  string
	Body []byte
	Cond Condition
}

// BatchResult answers one operation of a batch.
type BatchResult struct {
	Found  Found  // of Get and Delete
	Object Object // of Get, with Found Yes
}

// Store is an S3-like store as one client reaches it, without retries of its own. Methods are called by one goroutine at a time.
type Store interface {
	Get(ctx context.Context, key string) (Object, error)
	Head(ctx context.Context, key string) (Object, error)
	Put(ctx context.Context, key string, body []byte, cond Condition) error
	Delete(ctx context.Context, key string, cond Condition) error
	Copy(ctx context.Context, from, to string) error
	// List gives the first limit keys with the prefix after the given one, in one request.
	List(ctx context.Context, prefix, after string, limit int) (Page, error)
	// Batch is all or nothing. A false precondition, If-Match on an absent key included, is ErrPrecondition.
	Batch(ctx context.Context, ops []BatchOp) ([]BatchResult, error)
}

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Done
	case errors.Is(err, ErrAbsent):
		return Absent
	case errors.Is(err, ErrPrecondition):
		return Precondition
	case errors.Is(err, ErrRefused):
		return Refused
	}
	return Unknown
}

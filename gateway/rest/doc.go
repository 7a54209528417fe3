// Package rest is the native HTTP API: keys as paths, ordered ranges, atomic batches, health and metrics. It shows the objects of one
// bucket, the same that S3 shows, through gateway/objects.
//
//	PUT GET HEAD DELETE  /{key}, /kv/{key}   one object; /kv/ reaches keys whose first segment is reserved
//	GET                  /range              ordered listing
//	POST                 /batch              all or nothing
//	GET                  /health/live, /health/ready, /metrics, /admin/status, /debug/pprof/
//	GET POST             /admin/v1/...       operations of root; see gateway/admin
//
// Invariants, cited by the tests:
//
//	R1 Every request is authenticated before its body is read, and authorized too unless its keys are in the body; only
//	   health is open to all.
//	R2 A key is decoded once from the wire and never cleaned: it is a name, not a path.
//	R3 An answer is complete, or the connection breaks: after the first byte nothing else is possible.
//	R4 Nothing of a request is ignored silently: unknown parameters, fields and conditions that cannot be evaluated are errors.
//	R5 Memory per request is bounded: bodies stream; batches and values in ranges have limits in bytes.
//	R6 A browser on another site cannot use what the user's browser may: cross-origin writes are refused, and an open
//	   server answers only to loopback names.
package rest

import "time"

// Limits, in bytes unless said.
const (
	batchBodyMax      = 32 << 20  // a batch's JSON, and with it its values
	batchFreeBytes    = 64 << 10  // of a batch that are read before memory is taken for it
	batchMemoryMax    = 192 << 20 // of all batches together: three times their bodies
	batchOpsMax       = 5000      // operations; the metadata's own bound on an entry may be met first
	batchGetBytesMax  = 32 << 20  // values that one batch answers
	answerMemoryMax   = 320 << 20 // of all answers with values together: answerCopies times the values
	answerCopies      = 5         // a value as bytes, as base64 and as JSON
	rangeLimitDefault = 100       // keys
	rangeLimitMax     = 1000      // keys
	rangeValueMax     = 1 << 20   // a larger value is left out of a range
	rangeBytesMax     = 8 << 20   // values of one page; the page ends early
	requestHeadMax    = 24 << 10  // request line and header section
)

// memoryWait is how long a batch or an answer waits for memory before 503 SlowDown.
const memoryWait = 30 * time.Second

// reserved are first segments that are not keys under /{key}; /kv/{key} reaches those keys. Some are kept for later.
var reserved = map[string]bool{
	"kv": true, "range": true, "batch": true, "watch": true, "health": true, "metrics": true, "debug": true, "admin": true,
	"console": true, "api": true, "favicon.ico": true, "robots.txt": true,
}

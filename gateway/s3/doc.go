// Package s3 is the wire of the S3 protocol, and nothing else: errors, targets, routing, headers, conditions, ranges, checksums
// and XML. It holds no server, no store and no state; of net/http it uses header types and status numbers only.
//
// Invariants:
//
//	W1  Every function that can refuse returns an *Error, with S3 code and status, as error; see ErrorOf.
//	W2  Nothing that came from a client is put into a header with CR, LF or another control character in it.
//	W3  Parsing takes time and memory linear in its input, which has a bound: a header section, a URI or a body cap.
//	W4  Writers append to a slice and, given room, do not allocate.
//	W5  A condition, subresource or header that is not understood is an error, never ignored.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/
package s3

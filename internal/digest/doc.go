// Package digest holds minikv's digests: the checksum algorithms of S3, their combination over parts, ETags, and a hasher that
// computes several digests in one pass while the bytes are hot.
//
// The package is pure and deterministic; the coordinator's state machine uses it too.
//
// Invariants:
//
//	D1  Numbers of algorithms and types are part of stored formats: append only, never reused.
//	D2  Combine(crc(a), crc(b), len(b)) = crc(a+b) for every CRC here.
//	D3  A composite digest is the digest of the concatenated digests of the parts, in order.
//	D4  A Hasher allocates nothing per block and, once pooled, nothing per stream but for the goroutines of Feed.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
package digest

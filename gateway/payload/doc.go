// Package payload turns bodies into blobs and back: it cuts and hashes what comes in, prepares the blobs on a write quorum, and
// reads ranges from any good replica.
package payload

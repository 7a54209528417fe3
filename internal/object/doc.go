// Package object holds the nouns of minikv: bucket, key, version, blob, run. Values are valid by construction: what comes from
// outside is parsed once, at the edge, by the Parse functions here.
//
// The package is pure: it imports nothing of HTTP, gRPC, Raft or disks.
package object

package s3

import (
	"net/http"

	"minikv/internal/digest"
)

// Match is a parsed If-Match or If-None-Match.
type Match struct {
	Set   bool          // the header is there
	Any   bool          // "*"
	ETags []digest.ETag // tags that are no ETag of this store are left out: they match nothing
}

// Matches says whether an existing object with the ETag is meant.
func (m Match) Matches(e digest.ETag) bool {
	if m.Any {
		return true
	}
	for _, t := range m.ETags {
		if t == e {
			return true
		}
	}
	return false
}

// ReadConditions are those of GET and HEAD, and with other header names those on a copy's source. Times are whole seconds since
// 1970; nil for none (a date that is not one is ignored, as RFC 9110 has it).
type ReadConditions struct {
	IfMatch           Match
	IfNoneMatch       Match
	IfModifiedSince   *int64
	IfUnmodifiedSince *int64
}

// ParseReadConditions reads If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since.
func ParseReadConditions(h http.Header) ReadConditions { panic("todo") }

// ParseCopyConditions reads the x-amz-copy-source-if-* headers.
func ParseCopyConditions(h http.Header) ReadConditions { panic("todo") }

// Any says whether there is a condition.
func (c *ReadConditions) Any() bool { panic("todo") }

// Check evaluates the conditions of GET and HEAD against an object that exists, with RFC 9110 precedence: nil, 412
// PreconditionFailed, or 304 NotModified.
func (c *ReadConditions) Check(e digest.ETag, modifiedMS int64) error { panic("todo") }

// CheckCopy evaluates conditions on a copy's source: nil or 412, never 304.
func (c *ReadConditions) CheckCopy(e digest.ETag, modifiedMS int64) error { panic("todo") }

// WriteConditions are those of PutObject, CompleteMultipartUpload, CopyObject (on the destination) and DeleteObject. They are to
// be evaluated where the write is decided.
type WriteConditions struct {
	IfMatch        Match // at most one ETag; Set with neither Any nor ETags matches nothing
	IfNoneMatchAny bool  // If-None-Match: *
	// of DeleteObject
	ModifiedSeconds *int64  // x-amz-if-match-last-modified-time: whole seconds since 1970
	Size            *uint64 // x-amz-if-match-size
}

// ParseWriteConditions reads the conditions of a writing operation, by its name. What the operation cannot evaluate is 501
// NotImplemented with the header named; a malformed time or size is 400 InvalidArgument.
func ParseWriteConditions(op *Operation, h http.Header) (WriteConditions, error) { panic("todo") }

// Any says whether there is a condition.
func (c *WriteConditions) Any() bool { panic("todo") }

// Check evaluates the conditions: exists says that the current version is an object (a delete marker is absence). nil, 412
// PreconditionFailed, or 404 NoSuchKey for If-Match on nothing.
func (c *WriteConditions) Check(exists bool, e digest.ETag, modifiedMS int64, size uint64) error {
	panic("todo")
}

package s3

import (
	"net/http"

	"minikv/internal/digest"
)

// WriteConditions are those of PutObject, CompleteMultipartUpload, CopyObject (on the destination) and DeleteObject. They are to
// be evaluated where the write is decided.
type WriteConditions struct {
	IfMatch        Match // at most one ETag; Set with neither Any nor ETags matches nothing
	IfNoneMatchAny bool  // If-None-Match: *
	// of DeleteObject
	ModifiedSeconds *int64  // x-amz-if-match-last-modified-time: whole seconds since 1970
	Size            *uint64 // x-amz-if-match-size
}

// Header names of the conditions of DeleteObject.
const (
	headerMatchModified  = "x-amz-if-match-last-modified-time"
	headerMatchSize      = "x-amz-if-match-size"
	headerMatchInitiated = "x-amz-if-match-initiated-time"
)

// writeConditionsOf lists what the writing operations can evaluate.
var writeConditionsOf = map[string][]string{
	"PutObject":               {"If-Match", "If-None-Match"},
	"CopyObject":              {"If-Match", "If-None-Match"},
	"CompleteMultipartUpload": {"If-Match", "If-None-Match"},
	"DeleteObject":            {"If-Match", headerMatchModified, headerMatchSize},
}

// allConditions are the conditions a write may carry.
var allConditions = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
	headerMatchModified, headerMatchSize, headerMatchInitiated}

// ParseWriteConditions reads the conditions of a writing operation. What the operation cannot evaluate is 501 NotImplemented with
// the header named; a malformed time or size is 400 InvalidArgument.
func ParseWriteConditions(op *Operation, h http.Header) (c WriteConditions, err error) {
	known := writeConditionsOf[op.Name]
	for _, name := range allConditions {
		if len(headerValues(h, name)) > 0 && !contains(known, name) {
			return c, NotImplementedHeader(name)
		}
	}
	if len(known) == 0 {
		return c, nil
	}
	if c.IfMatch, err = writeMatch(h); err != nil {
		return c, err
	}
	if none := headerValues(h, "If-None-Match"); len(none) > 0 {
		if len(none) > 1 || none[0] != "*" {
			return c, NotImplementedHeader("If-None-Match")
		}
		c.IfNoneMatchAny = true
	}
	if c.ModifiedSeconds, err = timeCondition(h, headerMatchModified); err != nil {
		return c, err
	}
	if v := headerValues(h, headerMatchSize); len(v) > 0 {
		n, ok := parseUint(v[0])
		if !ok {
			return c, InvalidArgument(headerMatchSize, v[0], "The size is not a number")
		}
		c.Size = &n
	}
	return c, nil
}

// writeMatch reads an If-Match of a write: one tag or "*".
func writeMatch(h http.Header) (Match, error) {
	v := headerValues(h, "If-Match")
	m := parseMatch(v, false)
	if len(v) > 1 || len(m.ETags) > 1 || (m.Any && len(m.ETags) > 0) {
		return Match{}, NotImplementedHeader("If-Match")
	}
	return m, nil
}

// Any says whether there is a condition.
func (c *WriteConditions) Any() bool {
	return c.IfMatch.Set || c.IfNoneMatchAny || c.ModifiedSeconds != nil || c.Size != nil
}

// Check evaluates the conditions: exists says that the current version is an object (a delete marker is absence). nil, 412
// PreconditionFailed, or 404 NoSuchKey for an If-Match against nothing; the conditions of DeleteObject on size and time hold for nothing.
func (c *WriteConditions) Check(exists bool, e digest.ETag, modifiedMS int64, size uint64) error {
	if !exists {
		if c.IfMatch.Set {
			return NewError(CodeNoSuchKey, "")
		}
		return nil
	}
	switch {
	case c.IfMatch.Set && !c.IfMatch.Matches(e):
		return PreconditionFailed("If-Match")
	case c.IfNoneMatchAny:
		return PreconditionFailed("If-None-Match")
	case c.ModifiedSeconds != nil && *c.ModifiedSeconds != floorSeconds(modifiedMS):
		return PreconditionFailed(headerMatchModified)
	case c.Size != nil && *c.Size != size:
		return PreconditionFailed(headerMatchSize)
	}
	return nil
}

package meta

import (
	"bytes"
	"encoding/hex"
	"strconv"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

const msPerSecond = 1000

// checkWrite evaluates a write's conditions against the current version; nil is absence. A condition that needs a version
// is errs.NoSuchKey without one; a false one is errs.Precondition, whose message is its name, for gateways to tell.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
func checkWrite(c *metapb.Conditions, cur *metapb.ObjectRow) error {
	if c == nil {
		return nil
	}
	if cur == nil {
		if needsVersion(c) {
			return refuse(errs.NoSuchKey, "the key does not exist")
		}
		return nil
	}
	switch {
	case c.IfNoneMatchAny:
		return refuse(errs.Precondition, "If-None-Match")
	case len(c.IfNoneMatch) > 0 && matchesAny(c.IfNoneMatch, cur):
		return refuse(errs.Precondition, "If-None-Match")
	case len(c.IfMatch) > 0 && !c.IfMatchAny && !matchesAny(c.IfMatch, cur):
		return refuse(errs.Precondition, "If-Match")
	case c.IfMatchSize != nil && *c.IfMatchSize != cur.Size:
		return refuse(errs.Precondition, "x-amz-if-match-size")
	case c.IfMatchModifiedS != nil && *c.IfMatchModifiedS != seconds(cur):
		return refuse(errs.Precondition, "x-amz-if-match-last-modified-time")
	case c.IfUnmodifiedSinceS != nil && seconds(cur) > *c.IfUnmodifiedSinceS:
		return refuse(errs.Precondition, "If-Unmodified-Since")
	case c.IfModifiedSinceS != nil && seconds(cur) <= *c.IfModifiedSinceS:
		return refuse(errs.Precondition, "If-Modified-Since")
	}
	return nil
}

// checkDelete is checkWrite for a delete: of an absent key, conditions count only when strict.
func checkDelete(c *metapb.Conditions, strict bool, cur *metapb.ObjectRow) error {
	if cur == nil && !strict {
		return nil
	}
	return checkWrite(c, cur)
}

// checkSource evaluates the conditions of a copy on its source: false is always errs.Precondition, never "not modified". As in
// RFC 9110, section 13.2.2, a true If-Match makes If-Unmodified-Since void, a present If-None-Match If-Modified-Since.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func checkSource(c *metapb.Conditions, row *metapb.ObjectRow) error {
	if c == nil {
		return nil
	}
	match := c.IfMatchAny || len(c.IfMatch) > 0
	noneMatch := c.IfNoneMatchAny || len(c.IfNoneMatch) > 0
	switch {
	case match && !c.IfMatchAny && !matchesAny(c.IfMatch, row):
		return refuse(errs.Precondition, "x-amz-copy-source-if-match")
	case !match && c.IfUnmodifiedSinceS != nil && seconds(row) > *c.IfUnmodifiedSinceS:
		return refuse(errs.Precondition, "x-amz-copy-source-if-unmodified-since")
	case noneMatch && (c.IfNoneMatchAny || matchesAny(c.IfNoneMatch, row)):
		return refuse(errs.Precondition, "x-amz-copy-source-if-none-match")
	case !noneMatch && c.IfModifiedSinceS != nil && seconds(row) <= *c.IfModifiedSinceS:
		return refuse(errs.Precondition, "x-amz-copy-source-if-modified-since")
	}
	return nil
}

func needsVersion(c *metapb.Conditions) bool {
	return c.IfMatchAny || len(c.IfMatch) > 0 || c.IfMatchSize != nil || c.IfMatchModifiedS != nil
}

// seconds is when the row was modified, in whole seconds as headers show it.
func seconds(o *metapb.ObjectRow) int64 { return o.ModifiedMs / msPerSecond }

func matchesAny(tags []string, o *metapb.ObjectRow) bool {
	var buf [64]byte
	etag := appendETag(buf[:0], o.Etag, o.EtagParts)
	for _, t := range tags {
		if t == "*" || sameETag(t, etag) {
			return true
		}
	}
	return false
}

// sameETag compares a tag as a client wrote it, quoted or not, with one of ours.
func sameETag(tag string, etag []byte) bool {
	if n := len(tag); n >= 2 && tag[0] == '"' && tag[n-1] == '"' {
		tag = tag[1 : n-1]
	}
	return bytes.EqualFold([]byte(tag), etag)
}

func appendETag(dst, sum []byte, parts uint32) []byte {
	dst = hex.AppendEncode(dst, sum)
	if parts > 0 {
		dst = strconv.AppendUint(append(dst, '-'), uint64(parts), 10)
	}
	return dst
}

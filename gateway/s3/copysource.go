package s3

import (
	"net/http"
	"strings"

	"minikv/internal/object"
)

const (
	headerCopySource      = "x-amz-copy-source"
	headerCopySourceRange = "x-amz-copy-source-range"
)

// CopySource is the source of CopyObject and UploadPartCopy.
type CopySource struct {
	Bucket    object.Bucket
	Key       object.Key
	VersionID string // "": the current version
}

// ParseCopySource reads x-amz-copy-source: "/bucket/key?versionId=id", with or without the first slash, percent-encoded ('+' is
// plus). Malformed: 400 InvalidArgument, a bad bucket name InvalidBucketName, a long key KeyTooLongError.
func ParseCopySource(header string) (CopySource, error) {
	path, version, hasVersion := cutVersion(header)
	p, ok1 := unescape(path, false)
	v, ok2 := unescape(version, false)
	bucket, key, ok3 := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	if !ok1 || !ok2 || !ok3 || bucket == "" || key == "" || (hasVersion && v == "") || strings.HasPrefix(bucket, "arn:") {
		return CopySource{}, InvalidArgument(headerCopySource, header, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	b, err := CheckBucket(bucket)
	if err != nil {
		return CopySource{}, err
	}
	k, err := CheckKey(key)
	if err != nil {
		return CopySource{}, err
	}
	return CopySource{Bucket: b, Key: k, VersionID: v}, nil
}

// cutVersion cuts "?versionId=id" off the end. Another '?' is part of the key, though clients should have encoded it.
func cutVersion(s string) (path, version string, found bool) {
	const mark = "?versionId="
	i := strings.LastIndex(s, mark)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(mark):], true
}

// ParseCopySourceRange reads x-amz-copy-source-range, "bytes=a-b" with both ends, of a source of size bytes. Malformed or past
// the source: 400 InvalidArgument; it is never clipped.
func ParseCopySourceRange(header string, size uint64) (Range, error) {
	a, b, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	first, ok1 := parseUint(a)
	last, ok2 := parseUint(b)
	if !ok || !ok1 || !ok2 || first > last || !strings.HasPrefix(header, "bytes=") {
		return Range{}, InvalidArgument(headerCopySourceRange, header,
			"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	if last >= size {
		return Range{}, InvalidArgument(headerCopySourceRange, header,
			"Range specified is not valid for source object of size: "+utoa(size))
	}
	return Range{first, last - first + 1}, nil
}

// Directives say what CopyObject takes from the request instead of the source.
type Directives struct{ ReplaceMetadata, ReplaceTags bool }

// ParseDirectives reads x-amz-metadata-directive and x-amz-tagging-directive: COPY (the default) or REPLACE, else 400
// InvalidArgument.
func ParseDirectives(h http.Header) (d Directives, err error) {
	if d.ReplaceMetadata, err = directive(h, "x-amz-metadata-directive"); err != nil {
		return d, err
	}
	d.ReplaceTags, err = directive(h, "x-amz-tagging-directive")
	return d, err
}

func directive(h http.Header, name string) (replace bool, err error) {
	switch v := headerValue(h, name); v {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	default:
		kind := strings.TrimSuffix(strings.TrimPrefix(name, "x-amz-"), "-directive")
		return false, InvalidArgument(name, v, "Unknown "+kind+" directive.")
	}
}

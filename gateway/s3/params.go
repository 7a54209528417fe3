package s3

import (
	"strconv"
	"strings"

	"minikv/internal/object"
)

// Page sizes, as AWS has them.
const (
	PageMax        = 1000  // keys, uploads, parts
	BucketsPageMax = 10000 // buckets
)

// ListParams are the parameters of ListObjects, ListObjectsV2 and ListObjectVersions, as sent and as they are to be used.
type ListParams struct {
	V2                bool
	Prefix, Delimiter string // delimiter of any length; "": none
	MaxKeys           int    // 0 to 1,000
	EncodingURL       bool   // encoding-type=url
	FetchOwner        bool   // owners are wanted: always in v1 and of versions
	Marker            string // marker of v1 or key-marker of versions, as sent
	VersionMarker     string // version-id-marker, as sent; only with Marker
	StartAfter        string // v2, as sent
	Token             string // v2 continuation-token, as sent
	HasToken          bool   // it was sent; an empty one is none, but is answered with

	// After is where the page begins: at the first key greater than it, "" for the start. With AfterPrefix it is a common
	// prefix and the page begins after all keys that have it as prefix.
	After       string
	AfterPrefix bool
}

// ParseList reads the parameters of ListObjects (v2 false) or ListObjectsV2. 400 InvalidArgument for a bad max-keys,
// encoding-type or continuation-token; max-keys over 1,000 is 1,000.
func ParseList(q Query, v2 bool) (p ListParams, err error) {
	p = ListParams{V2: v2, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), FetchOwner: !v2}
	if p.MaxKeys, err = pageSize(q, "max-keys"); err != nil {
		return p, err
	}
	if p.EncodingURL, err = encodingURL(q); err != nil {
		return p, err
	}
	if !v2 {
		p.Marker = q.Get("marker")
		p.After, p.AfterPrefix = p.Marker, isCommonPrefix(p.Marker, p.Prefix, p.Delimiter)
		return p, nil
	}
	p.FetchOwner = strings.EqualFold(q.Get("fetch-owner"), "true")
	p.StartAfter = q.Get("start-after")
	p.After, p.AfterPrefix = p.StartAfter, isCommonPrefix(p.StartAfter, p.Prefix, p.Delimiter)
	if token, ok := q.Lookup("continuation-token"); ok {
		p.Token, p.HasToken = token, true
		if token != "" {
			p.After, p.AfterPrefix, err = parseToken(token)
		}
	}
	return p, err
}

// ParseVersions reads the parameters of ListObjectVersions. Every object has one version, so that a page begins after the key of
// key-marker, whichever version the version-id-marker names. 400 InvalidArgument for a bad max-keys or encoding-type, and for a
// version-id-marker that is empty, no version id, or without key-marker.
func ParseVersions(q Query) (p ListParams, err error) {
	p = ListParams{Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), FetchOwner: true, Marker: q.Get("key-marker")}
	if p.MaxKeys, err = pageSize(q, "max-keys"); err != nil {
		return p, err
	}
	if p.EncodingURL, err = encodingURL(q); err != nil {
		return p, err
	}
	p.After, p.AfterPrefix = p.Marker, isCommonPrefix(p.Marker, p.Prefix, p.Delimiter)
	p.VersionMarker, err = versionMarker(q, p.Marker)
	return p, err
}

func versionMarker(q Query, keyMarker string) (string, error) {
	const name = "version-id-marker"
	v, given := q.Lookup(name)
	if !given {
		return "", nil
	}
	if v == "" {
		return "", InvalidArgument(name, v, "A version-id marker cannot be empty.")
	}
	if keyMarker == "" {
		return "", InvalidArgument(name, v, "A version-id marker cannot be specified without a key marker.")
	}
	if _, _, err := object.ParseVersion(v); err != nil {
		return "", InvalidArgument(name, v, "Invalid version id specified")
	}
	return v, nil
}

// isCommonPrefix says whether s is what a listing with prefix and delimiter would roll keys up to.
func isCommonPrefix(s, prefix, delimiter string) bool {
	if delimiter == "" || !strings.HasPrefix(s, prefix) {
		return false
	}
	i := strings.Index(s[len(prefix):], delimiter)
	return i >= 0 && len(prefix)+i+len(delimiter) == len(s)
}

// pageSize reads a page size: 0 or more, at most PageMax.
func pageSize(q Query, name string) (int, error) {
	n, err := boundedParam(q, name, PageMax)
	return min(n, PageMax), err
}

// boundedParam reads a number from 0 to 2^31-1; without a value it is def.
func boundedParam(q Query, name string, def int) (int, error) {
	v := q.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	switch {
	case err != nil || v[0] == '+':
		return 0, InvalidArgument(name, v, "Provided "+name+" not an integer or within integer range")
	case n < 0:
		if name == "max-keys" { // as S3 writes it here, and only here
			name = "maxKeys"
		}
		return 0, InvalidArgument(name, v, "Argument "+name+" must be an integer between 0 and 2147483647")
	}
	return int(n), nil
}

func encodingURL(q Query) (bool, error) {
	switch v := q.Get("encoding-type"); v {
	case "":
		return false, nil
	case "url":
		return true, nil
	default:
		return false, InvalidArgument("encoding-type", v, "Invalid Encoding Method specified in Request")
	}
}

// BucketsParams are the parameters of ListBuckets.
type BucketsParams struct {
	Prefix     string
	MaxBuckets int    // 1 to 10,000; 10,000 when not given
	After      string // buckets greater than it
	Region     string // bucket-region filter; "": all
	Paged      bool   // max-buckets was given
}

// ParseBuckets reads the parameters of ListBuckets. 400 InvalidArgument.
func ParseBuckets(q Query) (p BucketsParams, err error) {
	p = BucketsParams{Prefix: q.Get("prefix"), Region: q.Get("bucket-region"), Paged: q.Get("max-buckets") != ""}
	if p.MaxBuckets, err = boundedParam(q, "max-buckets", BucketsPageMax); err != nil {
		return p, err
	}
	if p.MaxBuckets < 1 || p.MaxBuckets > BucketsPageMax {
		return p, InvalidArgument("max-buckets", q.Get("max-buckets"), "max-buckets must be between 1 and 10000")
	}
	if token, ok := q.Lookup("continuation-token"); ok && token != "" {
		p.After, _, err = parseToken(token)
	}
	return p, err
}

// PartsParams are the parameters of ListParts.
type PartsParams struct {
	UploadID string
	MaxParts int    // 0 to 1,000
	Marker   uint32 // parts with a greater number
}

// ParseParts reads the parameters of ListParts. 400 InvalidArgument.
func ParseParts(q Query) (p PartsParams, err error) {
	p.UploadID = q.Get("uploadId")
	if p.MaxParts, err = pageSize(q, "max-parts"); err != nil {
		return p, err
	}
	marker, err := boundedParam(q, "part-number-marker", 0)
	p.Marker = uint32(marker)
	return p, err
}

// UploadsParams are the parameters of ListMultipartUploads.
type UploadsParams struct {
	Prefix, Delimiter string
	MaxUploads        int    // 0 to 1,000
	KeyMarker         string // as sent
	UploadIDMarker    string // as sent; ignored without KeyMarker
	EncodingURL       bool
	// AfterPrefix says that KeyMarker is a common prefix: begin after all keys that have it as prefix.
	AfterPrefix bool
}

// ParseUploads reads the parameters of ListMultipartUploads. 400 InvalidArgument.
func ParseUploads(q Query) (p UploadsParams, err error) {
	p = UploadsParams{Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), KeyMarker: q.Get("key-marker"),
		UploadIDMarker: q.Get("upload-id-marker")}
	if p.MaxUploads, err = pageSize(q, "max-uploads"); err != nil {
		return p, err
	}
	p.EncodingURL, err = encodingURL(q)
	p.AfterPrefix = isCommonPrefix(p.KeyMarker, p.Prefix, p.Delimiter)
	return p, err
}

// ParsePartNumber reads partNumber of UploadPart, GetObject and HeadObject: 1 to 10,000, else 400 InvalidArgument. 0: not given.
func ParsePartNumber(q Query) (uint32, error) {
	v, ok := q.Lookup("partNumber")
	if !ok {
		return 0, nil
	}
	n, ok := parseUint(v)
	if !ok || n < 1 || n > object.PartsMax {
		return 0, InvalidArgument("partNumber", v, "Part number must be an integer between 1 and 10000, inclusive")
	}
	return uint32(n), nil
}

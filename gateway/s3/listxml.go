package s3

import (
	"strconv"

	"minikv/internal/digest"
)

// Entry is one object of a listing.
type Entry struct {
	Key               string
	VersionID         string // written by AppendVersions
	ModifiedMS        int64  // milliseconds since 1970
	ETag              digest.ETag
	Size              uint64
	ChecksumAlgorithm digest.Algorithm // None: the object has no checksum
	ChecksumType      digest.Type
	OwnerID           string // written if the parameters ask for owners
	OwnerName         string
}

// ListResult is a page of ListObjects, ListObjectsV2 or ListObjectVersions.
type ListResult struct {
	Bucket    string
	Params    *ListParams
	Entries   []Entry
	Prefixes  []string // common prefixes, in order
	Truncated bool
	// Next is the last key or common prefix of a truncated page; NextPrefix says that it is a prefix.
	Next       string
	NextPrefix bool
}

// AppendList appends the answer of ListObjects or ListObjectsV2, as Params.V2 says. It does not allocate when dst has room.
func AppendList(dst []byte, r *ListResult) []byte {
	p := r.Params
	dst = appendRoot(dst, "ListBucketResult")
	dst = appendElement(dst, "Name", r.Bucket)
	dst = appendEncoded(dst, "Prefix", p.Prefix, p.EncodingURL)
	if p.V2 {
		dst = r.appendV2(dst)
	} else {
		dst = r.appendV1(dst)
	}
	dst = appendNumber(dst, "MaxKeys", uint64(p.MaxKeys))
	if p.Delimiter != "" {
		dst = appendEncoded(dst, "Delimiter", p.Delimiter, p.EncodingURL)
	}
	if p.EncodingURL {
		dst = append(dst, "<EncodingType>url</EncodingType>"...)
	}
	dst = appendBool(dst, "IsTruncated", r.Truncated)
	for i := range r.Entries {
		dst = r.Entries[i].append(dst, p)
	}
	dst = appendPrefixes(dst, r.Prefixes, p.EncodingURL)
	return append(dst, "</ListBucketResult>"...)
}

func (r *ListResult) appendV1(dst []byte) []byte {
	p := r.Params
	dst = appendEncoded(dst, "Marker", p.Marker, p.EncodingURL)
	if r.Truncated && p.Delimiter != "" {
		dst = appendEncoded(dst, "NextMarker", r.Next, p.EncodingURL)
	}
	return dst
}

func (r *ListResult) appendV2(dst []byte) []byte {
	p := r.Params
	if p.StartAfter != "" {
		dst = appendEncoded(dst, "StartAfter", p.StartAfter, p.EncodingURL)
	}
	if p.Token != "" || p.HasToken {
		dst = appendElement(dst, "ContinuationToken", p.Token)
	}
	if r.Truncated {
		dst = append(dst, "<NextContinuationToken>"...)
		dst = appendToken(dst, r.Next, r.NextPrefix)
		dst = append(dst, "</NextContinuationToken>"...)
	}
	return appendNumber(dst, "KeyCount", uint64(len(r.Entries)+len(r.Prefixes)))
}

func (e *Entry) append(dst []byte, p *ListParams) []byte {
	dst = append(dst, "<Contents>"...)
	dst = appendEncoded(dst, "Key", e.Key, p.EncodingURL)
	dst = appendModified(dst, e.ModifiedMS)
	dst = appendETag(dst, e.ETag)
	dst = appendChecksumKind(dst, e.ChecksumAlgorithm, e.ChecksumType)
	dst = appendNumber(dst, "Size", e.Size)
	if p.FetchOwner {
		dst = appendOwner(dst, "Owner", e.OwnerID, e.OwnerName)
	}
	return append(dst, "<StorageClass>STANDARD</StorageClass></Contents>"...)
}

func appendPrefixes(dst []byte, prefixes []string, url bool) []byte {
	for _, s := range prefixes {
		dst = append(dst, "<CommonPrefixes>"...)
		dst = appendEncoded(dst, "Prefix", s, url)
		dst = append(dst, "</CommonPrefixes>"...)
	}
	return dst
}

func appendModified(dst []byte, ms int64) []byte {
	dst = append(dst, "<LastModified>"...)
	dst = AppendTime(dst, ms)
	return append(dst, "</LastModified>"...)
}

// appendETag appends the tag in quotes, which are escaped.
func appendETag(dst []byte, e digest.ETag) []byte {
	dst = append(dst, "<ETag>&quot;"...)
	dst = e.Append(dst)
	return append(dst, "&quot;</ETag>"...)
}

func appendChecksumKind(dst []byte, a digest.Algorithm, t digest.Type) []byte {
	if a == digest.None {
		return dst
	}
	dst = appendElement(dst, "ChecksumAlgorithm", a.String())
	return appendElement(dst, "ChecksumType", t.String())
}

func appendOwner(dst []byte, name, id, display string) []byte {
	dst = appendOpen(dst, name)
	dst = appendElement(dst, "ID", id)
	dst = appendElement(dst, "DisplayName", display)
	return appendClose(dst, name)
}

func appendNumber(dst []byte, name string, n uint64) []byte {
	dst = strconv.AppendUint(appendOpen(dst, name), n, 10)
	return appendClose(dst, name)
}

func appendBool(dst []byte, name string, b bool) []byte {
	dst = strconv.AppendBool(appendOpen(dst, name), b)
	return appendClose(dst, name)
}

package s3

// AppendVersions appends the answer of ListObjectVersions: a <Version> per entry, each of them its key's latest. After a page that
// ends with a common prefix there is no NextVersionIdMarker. It does not allocate when dst has room.
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
func AppendVersions(dst []byte, r *ListResult) []byte {
	p := r.Params
	dst = appendRoot(dst, "ListVersionsResult")
	dst = appendElement(dst, "Name", r.Bucket)
	dst = appendEncoded(dst, "Prefix", p.Prefix, p.EncodingURL)
	dst = appendEncoded(dst, "KeyMarker", p.Marker, p.EncodingURL)
	dst = appendElement(dst, "VersionIdMarker", p.VersionMarker)
	if r.Truncated {
		dst = r.appendNextVersion(dst)
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
		dst = r.Entries[i].appendVersion(dst, p.EncodingURL)
	}
	dst = appendPrefixes(dst, r.Prefixes, p.EncodingURL)
	return append(dst, "</ListVersionsResult>"...)
}

func (r *ListResult) appendNextVersion(dst []byte) []byte {
	dst = appendEncoded(dst, "NextKeyMarker", r.Next, r.Params.EncodingURL)
	if r.NextPrefix || len(r.Entries) == 0 {
		return dst
	}
	return appendElement(dst, "NextVersionIdMarker", r.Entries[len(r.Entries)-1].VersionID)
}

func (e *Entry) appendVersion(dst []byte, url bool) []byte {
	dst = append(dst, "<Version>"...)
	dst = appendEncoded(dst, "Key", e.Key, url)
	dst = appendElement(dst, "VersionId", e.VersionID)
	dst = append(dst, "<IsLatest>true</IsLatest>"...)
	dst = appendModified(dst, e.ModifiedMS)
	dst = appendETag(dst, e.ETag)
	dst = appendChecksumKind(dst, e.ChecksumAlgorithm, e.ChecksumType)
	dst = appendNumber(dst, "Size", e.Size)
	dst = appendOwner(dst, "Owner", e.OwnerID, e.OwnerName)
	return append(dst, "<StorageClass>STANDARD</StorageClass></Version>"...)
}

package s3

import "minikv/internal/digest"

// Part is one part of ListParts or GetObjectAttributes.
type Part struct {
	Number     uint32
	ModifiedMS int64 // ListParts only
	ETag       digest.ETag
	Size       uint64
	Checksum   digest.Checksum // zero: none
}

// PartsResult is the answer of ListParts.
type PartsResult struct {
	Bucket, Key        string
	Params             *PartsParams
	OwnerID, OwnerName string
	ChecksumAlgorithm  digest.Algorithm // of the upload
	ChecksumType       digest.Type
	Parts              []Part
	Truncated          bool
}

// AppendParts appends the answer of ListParts.
func AppendParts(dst []byte, r *PartsResult) []byte {
	dst = appendRoot(dst, "ListPartsResult")
	dst = appendElement(dst, "Bucket", r.Bucket)
	dst = appendEcho(dst, "Key", r.Key)
	dst = appendElement(dst, "UploadId", r.Params.UploadID)
	dst = appendOwner(dst, "Initiator", r.OwnerID, r.OwnerName)
	dst = appendOwner(dst, "Owner", r.OwnerID, r.OwnerName)
	dst = append(dst, "<StorageClass>STANDARD</StorageClass>"...)
	dst = appendNumber(dst, "PartNumberMarker", uint64(r.Params.Marker))
	dst = appendNumber(dst, "NextPartNumberMarker", uint64(lastPart(r.Parts, r.Params.Marker)))
	dst = appendNumber(dst, "MaxParts", uint64(r.Params.MaxParts))
	dst = appendBool(dst, "IsTruncated", r.Truncated)
	dst = appendChecksumKind(dst, r.ChecksumAlgorithm, r.ChecksumType)
	for i := range r.Parts {
		p := &r.Parts[i]
		dst = append(dst, "<Part>"...)
		dst = appendNumber(dst, "PartNumber", uint64(p.Number))
		dst = appendModified(dst, p.ModifiedMS)
		dst = appendETag(dst, p.ETag)
		dst = appendNumber(dst, "Size", p.Size)
		dst = appendChecksum(dst, p.Checksum)
		dst = append(dst, "</Part>"...)
	}
	return append(dst, "</ListPartsResult>"...)
}

// lastPart is the marker of the next page.
func lastPart(parts []Part, marker uint32) uint32 {
	if len(parts) == 0 {
		return marker
	}
	return parts[len(parts)-1].Number
}

// appendChecksum appends a checksum's own element; none for a zero one.
func appendChecksum(dst []byte, c digest.Checksum) []byte {
	if c.IsZero() {
		return dst
	}
	name := c.Algorithm.Element()
	return appendClose(c.Append(appendOpen(dst, name)), name)
}

// appendTypedChecksum appends a checksum and its type.
func appendTypedChecksum(dst []byte, c digest.Checksum) []byte {
	if c.IsZero() {
		return dst
	}
	return appendElement(appendChecksum(dst, c), "ChecksumType", c.Type.String())
}

// Upload is one upload of ListMultipartUploads.
type Upload struct {
	Key, UploadID      string
	InitiatedMS        int64
	OwnerID, OwnerName string
	ChecksumAlgorithm  digest.Algorithm
	ChecksumType       digest.Type
}

// UploadsResult is the answer of ListMultipartUploads.
type UploadsResult struct {
	Bucket    string
	Params    *UploadsParams
	Uploads   []Upload
	Prefixes  []string
	Truncated bool
	// NextKey and NextUploadID are the markers of the next page: the last key or common prefix, and its upload id ("" for a prefix).
	NextKey, NextUploadID string
}

// AppendUploads appends the answer of ListMultipartUploads.
func AppendUploads(dst []byte, r *UploadsResult) []byte {
	p := r.Params
	dst = appendRoot(dst, "ListMultipartUploadsResult")
	dst = appendElement(dst, "Bucket", r.Bucket)
	dst = appendEncoded(dst, "KeyMarker", p.KeyMarker, p.EncodingURL)
	dst = appendElement(dst, "UploadIdMarker", p.UploadIDMarker)
	if r.Truncated {
		dst = appendEncoded(dst, "NextKeyMarker", r.NextKey, p.EncodingURL)
		dst = appendElement(dst, "NextUploadIdMarker", r.NextUploadID)
	}
	dst = appendEncoded(dst, "Prefix", p.Prefix, p.EncodingURL)
	if p.Delimiter != "" {
		dst = appendEncoded(dst, "Delimiter", p.Delimiter, p.EncodingURL)
	}
	if p.EncodingURL {
		dst = append(dst, "<EncodingType>url</EncodingType>"...)
	}
	dst = appendNumber(dst, "MaxUploads", uint64(p.MaxUploads))
	dst = appendBool(dst, "IsTruncated", r.Truncated)
	for i := range r.Uploads {
		dst = r.Uploads[i].append(dst, p.EncodingURL)
	}
	dst = appendPrefixes(dst, r.Prefixes, p.EncodingURL)
	return append(dst, "</ListMultipartUploadsResult>"...)
}

func (u *Upload) append(dst []byte, url bool) []byte {
	dst = append(dst, "<Upload>"...)
	dst = appendEncoded(dst, "Key", u.Key, url)
	dst = appendElement(dst, "UploadId", u.UploadID)
	dst = appendOwner(dst, "Initiator", u.OwnerID, u.OwnerName)
	dst = appendOwner(dst, "Owner", u.OwnerID, u.OwnerName)
	dst = append(dst, "<StorageClass>STANDARD</StorageClass><Initiated>"...)
	dst = AppendTime(dst, u.InitiatedMS)
	dst = append(dst, "</Initiated>"...)
	dst = appendChecksumKind(dst, u.ChecksumAlgorithm, u.ChecksumType)
	return append(dst, "</Upload>"...)
}

// AppendInitiate appends the answer of CreateMultipartUpload. Algorithm and type go into headers: see SetChecksumKind.
func AppendInitiate(dst []byte, bucket, key, uploadID string) []byte {
	dst = appendRoot(dst, "InitiateMultipartUploadResult")
	dst = appendElement(dst, "Bucket", bucket)
	dst = appendEcho(dst, "Key", key)
	dst = appendElement(dst, "UploadId", uploadID)
	return append(dst, "</InitiateMultipartUploadResult>"...)
}

// AppendComplete appends the answer of CompleteMultipartUpload.
func AppendComplete(dst []byte, location, bucket, key string, e digest.ETag, c digest.Checksum) []byte {
	dst = appendRoot(dst, "CompleteMultipartUploadResult")
	dst = appendElement(dst, "Location", location)
	dst = appendElement(dst, "Bucket", bucket)
	dst = appendEcho(dst, "Key", key)
	dst = appendETag(dst, e)
	dst = appendTypedChecksum(dst, c)
	return append(dst, "</CompleteMultipartUploadResult>"...)
}

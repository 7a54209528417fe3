package s3

import "minikv/internal/digest"

// DeleteResult is the answer for one key of DeleteObjects.
type DeleteResult struct {
	Key       string
	VersionID string // as asked for
	Err       *Error // nil: deleted
	// DeleteMarker says that a marker was made or removed; MarkerVersionID names it.
	DeleteMarker    bool
	MarkerVersionID string
}

// AppendDeleteResults appends the answer of DeleteObjects; quiet leaves out what was deleted.
func AppendDeleteResults(dst []byte, results []DeleteResult, quiet bool) []byte {
	dst = appendRoot(dst, "DeleteResult")
	for i := range results {
		r := &results[i]
		switch {
		case r.Err != nil:
			dst = r.appendError(dst)
		case !quiet:
			dst = r.appendDeleted(dst)
		}
	}
	return append(dst, "</DeleteResult>"...)
}

func (r *DeleteResult) appendDeleted(dst []byte) []byte {
	dst = append(dst, "<Deleted>"...)
	dst = appendElement(dst, "Key", r.Key)
	if r.VersionID != "" {
		dst = appendElement(dst, "VersionId", r.VersionID)
	}
	if r.DeleteMarker {
		dst = append(dst, "<DeleteMarker>true</DeleteMarker>"...)
		dst = appendElement(dst, "DeleteMarkerVersionId", r.MarkerVersionID)
	}
	return append(dst, "</Deleted>"...)
}

func (r *DeleteResult) appendError(dst []byte) []byte {
	dst = append(dst, "<Error>"...)
	dst = appendElement(dst, "Key", r.Key)
	if r.VersionID != "" {
		dst = appendElement(dst, "VersionId", r.VersionID)
	}
	dst = appendElement(dst, "Code", string(r.Err.Code))
	dst = appendElement(dst, "Message", r.Err.Message)
	return append(dst, "</Error>"...)
}

// AppendCopyObject appends the answer of CopyObject.
func AppendCopyObject(dst []byte, e digest.ETag, modifiedMS int64, c digest.Checksum) []byte {
	return appendCopy(dst, "CopyObjectResult", e, modifiedMS, appendTypedChecksum, c)
}

// AppendCopyPart appends the answer of UploadPartCopy.
func AppendCopyPart(dst []byte, e digest.ETag, modifiedMS int64, c digest.Checksum) []byte {
	return appendCopy(dst, "CopyPartResult", e, modifiedMS, appendChecksum, c)
}

func appendCopy(dst []byte, root string, e digest.ETag, modifiedMS int64,
	sum func([]byte, digest.Checksum) []byte, c digest.Checksum) []byte {
	dst = appendRoot(dst, root)
	dst = appendModified(dst, modifiedMS)
	dst = appendETag(dst, e)
	return appendClose(sum(dst, c), root)
}

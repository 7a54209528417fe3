package s3

import "minikv/internal/digest"

// Entry is one object of a listing.
type Entry struct {
	Key               string
	ModifiedMS        int64 // milliseconds since 1970
	ETag              digest.ETag
	Size              uint64
	ChecksumAlgorithm digest.Algorithm // None: the object has no checksum
	ChecksumType      digest.Type
	OwnerID           string // "": no Owner element
	OwnerName         string
}

// ListResult is a page of ListObjects or ListObjectsV2.
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
func AppendList(dst []byte, r *ListResult) []byte { panic("todo") }

// BucketEntry is one bucket of ListBuckets.
type BucketEntry struct {
	Name      string
	CreatedMS int64
	Region    string
}

// BucketsResult is the answer of ListBuckets.
type BucketsResult struct {
	Params             *BucketsParams
	OwnerID, OwnerName string
	Buckets            []BucketEntry
	Next               string // last bucket of a truncated page; "" on the last page
}

// AppendBuckets appends the answer of ListBuckets.
func AppendBuckets(dst []byte, r *BucketsResult) []byte { panic("todo") }

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
func AppendParts(dst []byte, r *PartsResult) []byte { panic("todo") }

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
func AppendUploads(dst []byte, r *UploadsResult) []byte { panic("todo") }

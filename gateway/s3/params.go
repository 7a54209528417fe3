package s3

// ListParams are the parameters of ListObjects and ListObjectsV2, as sent and as they are to be used.
type ListParams struct {
	V2                bool
	Prefix, Delimiter string // delimiter of any length; "": none
	MaxKeys           int    // 0 to 1,000
	EncodingURL       bool   // encoding-type=url
	FetchOwner        bool   // owners are wanted: always in v1
	Marker            string // v1, as sent
	StartAfter        string // v2, as sent
	Token             string // v2 continuation-token, as sent

	// After is where the page begins: at the first key greater than it, "" for the start. With AfterPrefix it is a common
	// prefix and the page begins after all keys that have it as prefix.
	After       string
	AfterPrefix bool
}

// ParseList reads the parameters of ListObjects (v2 false) or ListObjectsV2. 400 InvalidArgument for a bad max-keys,
// encoding-type or continuation-token; max-keys over 1,000 is 1,000.
func ParseList(q Query, v2 bool) (ListParams, error) { panic("todo") }

// NextToken makes the continuation token that begins after the last thing of a page: a key, or a common prefix.
func NextToken(last string, prefix bool) string { panic("todo") }

// BucketsParams are the parameters of ListBuckets.
type BucketsParams struct {
	Prefix     string
	MaxBuckets int    // 1 to 10,000; 10,000 when not given
	After      string // buckets greater than it
	Region     string // bucket-region filter; "": all
	Paged      bool   // max-buckets was given
}

// ParseBuckets reads the parameters of ListBuckets. 400 InvalidArgument.
func ParseBuckets(q Query) (BucketsParams, error) { panic("todo") }

// PartsParams are the parameters of ListParts.
type PartsParams struct {
	UploadID    string
	MaxParts    int    // 0 to 1,000
	Marker      uint32 // parts with a greater number
	EncodingURL bool
}

// ParseParts reads the parameters of ListParts. 400 InvalidArgument.
func ParseParts(q Query) (PartsParams, error) { panic("todo") }

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
func ParseUploads(q Query) (UploadsParams, error) { panic("todo") }

// ParsePartNumber reads partNumber of UploadPart, GetObject and HeadObject: 1 to 10,000, else 400 InvalidArgument. 0: not given.
func ParsePartNumber(q Query) (uint32, error) { panic("todo") }

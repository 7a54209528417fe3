package s3

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
func AppendBuckets(dst []byte, r *BucketsResult) []byte {
	dst = appendRoot(dst, "ListAllMyBucketsResult")
	dst = appendOwner(dst, "Owner", r.OwnerID, r.OwnerName)
	dst = append(dst, "<Buckets>"...)
	for _, b := range r.Buckets {
		dst = append(dst, "<Bucket>"...)
		dst = appendElement(dst, "Name", b.Name)
		dst = append(dst, "<CreationDate>"...)
		dst = AppendTime(dst, b.CreatedMS)
		dst = append(dst, "</CreationDate>"...)
		if b.Region != "" {
			dst = appendElement(dst, "BucketRegion", b.Region)
		}
		dst = append(dst, "</Bucket>"...)
	}
	dst = append(dst, "</Buckets>"...)
	if r.Params.Prefix != "" {
		dst = appendElement(dst, "Prefix", r.Params.Prefix)
	}
	if r.Next != "" {
		dst = append(dst, "<ContinuationToken>"...)
		dst = appendToken(dst, r.Next, false)
		dst = append(dst, "</ContinuationToken>"...)
	}
	return append(dst, "</ListAllMyBucketsResult>"...)
}

// AppendLocation appends the answer of GetBucketLocation; us-east-1 is an empty element.
func AppendLocation(dst []byte, region string) []byte {
	if region == "us-east-1" {
		region = ""
	}
	dst = appendRoot(dst, "LocationConstraint")
	dst = appendText(dst, region)
	return append(dst, "</LocationConstraint>"...)
}

// AppendACL appends the answer of GetBucketAcl and GetObjectAcl for a private ACL: FULL_CONTROL for the owner.
func AppendACL(dst []byte, ownerID, ownerName string) []byte {
	dst = appendRoot(dst, "AccessControlPolicy")
	dst = appendOwner(dst, "Owner", ownerID, ownerName)
	dst = append(dst, `<AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`...)
	dst = appendElement(dst, "ID", ownerID)
	dst = appendElement(dst, "DisplayName", ownerName)
	return append(dst, "</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"...)
}

package gateway

// operations are the handlers, by name in gateway/s3's operation table. A handler answers, or returns an error before it has
// begun to answer.
var operations = map[string]func(c *call) error{
	"ListBuckets":       (*call).listBuckets,
	"CreateBucket":      (*call).createBucket,
	"HeadBucket":        (*call).headBucket,
	"DeleteBucket":      (*call).deleteBucket,
	"GetBucketLocation": (*call).getBucketLocation,
	"GetBucketAcl":      (*call).getBucketACL,

	"PutObject":           (*call).putObject,
	"GetObject":           (*call).getObject,
	"HeadObject":          (*call).headObject,
	"DeleteObject":        (*call).deleteObject,
	"DeleteObjects":       (*call).deleteObjects,
	"CopyObject":          (*call).copyObject,
	"ListObjects":         (*call).listObjects,
	"ListObjectsV2":       (*call).listObjectsV2,
	"ListObjectVersions":  (*call).listVersions,
	"GetObjectAttributes": (*call).getObjectAttributes,
	"GetObjectAcl":        (*call).getObjectACL,
	"GetObjectTagging":    (*call).getObjectTagging,
	"PutObjectTagging":    (*call).putObjectTagging,
	"DeleteObjectTagging": (*call).deleteObjectTagging,

	"CreateMultipartUpload":   (*call).createUpload,
	"UploadPart":              (*call).uploadPart,
	"UploadPartCopy":          (*call).uploadPartCopy,
	"CompleteMultipartUpload": (*call).completeUpload,
	"AbortMultipartUpload":    (*call).abortUpload,
	"ListParts":               (*call).listParts,
	"ListMultipartUploads":    (*call).listUploads,
}

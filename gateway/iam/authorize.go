package iam

import "minikv/internal/errs"

// Action is what a request does, in AWS's words.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
type Action string

// The actions of the supported operations.
const (
	ListAllMyBuckets           Action = "s3:ListAllMyBuckets"
	CreateBucket               Action = "s3:CreateBucket"
	DeleteBucket               Action = "s3:DeleteBucket"
	ListBucket                 Action = "s3:ListBucket"
	ListBucketVersions         Action = "s3:ListBucketVersions"
	GetBucketLocation          Action = "s3:GetBucketLocation"
	GetBucketACL               Action = "s3:GetBucketAcl"
	ListBucketMultipartUploads Action = "s3:ListBucketMultipartUploads"
	GetObject                  Action = "s3:GetObject"
	GetObjectAttributes        Action = "s3:GetObjectAttributes"
	GetObjectTagging           Action = "s3:GetObjectTagging"
	GetObjectACL               Action = "s3:GetObjectAcl"
	PutObject                  Action = "s3:PutObject"
	PutObjectTagging           Action = "s3:PutObjectTagging"
	DeleteObject               Action = "s3:DeleteObject"
	DeleteObjectTagging        Action = "s3:DeleteObjectTagging"
	AbortMultipartUpload       Action = "s3:AbortMultipartUpload"
	ListMultipartUploadParts   Action = "s3:ListMultipartUploadParts"
	GetBucketConfiguration     Action = "s3:GetBucketConfiguration" // any configuration that was never set
)

// Resource is what an action is done to.
type Resource struct {
	Bucket string
	Owner  string // canonical id of the bucket's owner; empty for what has no bucket yet
	Key    string // empty: the bucket itself
}

// Authorize decides whether an account may do something; nil is the anonymous one. It is the one place that decides, and pure:
// what it looks at comes in as arguments. So far the owner of a bucket may do everything with it, and nobody else anything.
// No match denies. The refusal is errs.AccessDenied.
func Authorize(who *Account, action Action, on Resource) error {
	const op = "iam.Authorize"
	switch {
	case who == nil:
		return errs.E(op, errs.AccessDenied, "anonymous requests may not do %s", action)
	case action == "":
		return errs.E(op, errs.AccessDenied, "no action")
	case on.Bucket == "" && action == ListAllMyBuckets, on.Owner == "" && action == CreateBucket:
		return nil
	case on.Owner != "" && on.Owner == who.CanonicalID:
		return nil
	}
	return errs.E(op, errs.AccessDenied, "%s is not allowed on the bucket %s", action, on.Bucket)
}

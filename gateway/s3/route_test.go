package s3

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoute(t *testing.T) {
	copySource := http.Header{"X-Amz-Copy-Source": {"/b/k"}}
	form := http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}
	for _, c := range []struct {
		method string
		level  Level
		query  string
		h      http.Header
		op     string
		code   Code // "": no error
		status int
	}{
		{"GET", LevelService, "", nil, "ListBuckets", "", 0},
		{"GET", LevelBucket, "", nil, "ListObjects", "", 0},
		{"GET", LevelBucket, "list-type=2&prefix=a", nil, "ListObjectsV2", "", 0},
		{"GET", LevelBucket, "list-type=3", nil, "ListObjects", "", 0}, // as S3: whatever is not 2
		{"GET", LevelBucket, "uploads", nil, "ListMultipartUploads", "", 0},
		{"GET", LevelBucket, "unknown-of-tomorrow", nil, "ListObjects", "", 0},
		{"GET", LevelBucket, "acl&policy", nil, "Unknown", CodeInvalidArgument, 400},
		{"GET", LevelBucket, "versioning", nil, "GetBucketVersioning", "", 0},
		{"GET", LevelBucket, "versions", nil, "ListObjectVersions", "", 0},
		{"PUT", LevelBucket, "versioning", nil, "PutBucketVersioning", CodeNotImplemented, 501},
		{"PUT", LevelBucket, "location", nil, "Unknown", CodeMethodNotAllowed, 405},
		{"PUT", LevelBucket, "analytics", nil, "Unknown", CodeInvalidArgument, 400}, // without id: never CreateBucket
		{"DELETE", LevelBucket, "metrics", nil, "Unknown", CodeInvalidArgument, 400},
		{"DELETE", LevelBucket, "uploads", nil, "Unknown", CodeMethodNotAllowed, 405},
		{"DELETE", LevelBucket, "newthing", nil, "Unknown", CodeNotImplemented, 501},
		{"HEAD", LevelBucket, "", nil, "HeadBucket", "", 0},
		{"HEAD", LevelBucket, "list-type=2&unknown-of-tomorrow", nil, "HeadBucket", "", 0},
		{"HEAD", LevelObject, "versionId=1&partNumber=2&response-expires=x&x-id=HeadObject", nil, "HeadObject", "", 0},
		{"HEAD", LevelObject, "acl", nil, "Unknown", CodeMethodNotAllowed, 405},
		{"HEAD", LevelBucket, "acl&policy", nil, "Unknown", CodeInvalidArgument, 400},
		{"GET", LevelObject, "x-id=PutObject", nil, "GetObject", "", 0},
		{"GET", LevelObject, "versionId=1&partNumber=2", nil, "GetObject", "", 0},
		{"GET", LevelObject, "uploadId=x", nil, "ListParts", "", 0},
		{"GET", LevelObject, "tagging&versionId=1", nil, "GetObjectTagging", "", 0},
		{"PUT", LevelObject, "", nil, "PutObject", "", 0},
		{"PUT", LevelObject, "X-Amz-Signature=1&x-amz-acl=private&x-id=PutObject", nil, "PutObject", "", 0},
		{"PUT", LevelObject, "", copySource, "CopyObject", "", 0},
		{"PUT", LevelObject, "partNumber=1&uploadId=x", nil, "UploadPart", "", 0},
		{"PUT", LevelObject, "partNumber=1&uploadId=x", copySource, "UploadPartCopy", "", 0},
		{"PUT", LevelObject, "partNumber=1", nil, "PutObject", CodeInvalidArgument, 400},
		{"PUT", LevelObject, "uploadId=x", nil, "PutObject", CodeInvalidArgument, 400},
		{"PUT", LevelObject, "versionId=x", nil, "PutObject", CodeInvalidArgument, 400},
		{"PUT", LevelObject, "acl", nil, "PutObjectAcl", CodeNotImplemented, 501},
		{"PUT", LevelObject, "acl", copySource, "PutObjectAcl", CodeNotImplemented, 501},
		{"PUT", LevelObject, "tagging", nil, "PutObjectTagging", "", 0},
		{"PUT", LevelObject, "newthing", nil, "Unknown", CodeNotImplemented, 501},
		{"PUT", LevelObject, "website", nil, "Unknown", CodeMethodNotAllowed, 405},
		{"POST", LevelObject, "uploads", nil, "CreateMultipartUpload", "", 0},
		{"POST", LevelObject, "uploadId=x", nil, "CompleteMultipartUpload", "", 0},
		{"POST", LevelObject, "", nil, "Unknown", CodeMethodNotAllowed, 405},
		{"POST", LevelObject, "select", nil, "Unknown", CodeInvalidArgument, 400},
		{"POST", LevelBucket, "delete", nil, "DeleteObjects", "", 0},
		{"POST", LevelBucket, "", form, "PostObject", CodeNotImplemented, 501},
		{"POST", LevelBucket, "", nil, "Unknown", CodePreconditionFailed, 412},
		{"DELETE", LevelObject, "versionId=1", nil, "DeleteObject", "", 0},
		{"DELETE", LevelObject, "uploadId=1", nil, "AbortMultipartUpload", "", 0},
		{"PATCH", LevelObject, "", nil, "Unknown", CodeMethodNotAllowed, 405},
		{"PUT", LevelService, "", nil, "Unknown", CodeMethodNotAllowed, 405},
		{"PUT", LevelObject, "partNumber=1&uploadId=x&partNumber=2", nil, "UploadPart", CodeInvalidArgument, 400},
		{"DELETE", LevelObject, "versionId=1&versionId=2", nil, "DeleteObject", CodeInvalidArgument, 400},
		{"GET", LevelBucket, "list-type=2&prefix=a&prefix=b", nil, "ListObjectsV2", CodeInvalidArgument, 400},
		{"GET", LevelObject, "response-expires=a&response-expires=b", nil, "GetObject", CodeInvalidArgument, 400},
		{"GET", LevelBucket, "list-type=2&list-type=2&x=1&x=2", nil, "ListObjectsV2", "", 0},
		{"OPTIONS", LevelObject, "", nil, "Preflight", CodeAccessForbidden, 403},
	} {
		what := c.method + " " + c.level.String() + "?" + c.query
		q, err := ParseQuery(c.query)
		require.NoError(t, err, what)
		op, err := Route(c.method, c.level, q, c.h)
		require.Equal(t, c.op, op.Name, what)
		if c.code == "" {
			require.NoError(t, err, what)
		} else {
			requireCode(t, err, c.code, c.status, what)
		}
	}
}

// A 405 lists the methods that there are for the subresource, if there are any on that level.
func TestAllowedMethods(t *testing.T) {
	for _, c := range []struct {
		method string
		level  Level
		query  string
		want   string
	}{
		{"HEAD", LevelBucket, "location", "GET"},
		{"HEAD", LevelBucket, "uploads", "GET"},
		{"HEAD", LevelBucket, "versioning", "GET, PUT"},
		{"HEAD", LevelBucket, "policy", "GET, PUT, DELETE"},
		{"HEAD", LevelObject, "acl", "GET, PUT"},
		{"HEAD", LevelObject, "attributes", "GET"},
		{"GET", LevelBucket, "delete", "POST"},
		{"DELETE", LevelBucket, "location", "GET"},
		{"GET", LevelBucket, "torrent", "GET, HEAD, PUT, POST, DELETE"},
		{"PATCH", LevelObject, "", "GET, HEAD, PUT, POST, DELETE"},
	} {
		_, err := Route(c.method, c.level, query(t, c.query), nil)
		e := requireCode(t, err, CodeMethodNotAllowed, 405, c.query)
		require.Equal(t, []Field{{"Allow", c.want}}, e.Header, "%s ?%s", c.method, c.query)
	}
}

// A subresource on PUT, POST or DELETE never reaches a plain operation, whatever it is called.
func TestSubresourcesNeverFallThrough(t *testing.T) {
	for sub := range subresources {
		for _, level := range []Level{LevelBucket, LevelObject} {
			for _, method := range []string{"PUT", "POST", "DELETE"} {
				op, err := Route(method, level, Query{{sub, ""}}, nil)
				require.True(t, err != nil || op.Query == sub, "%s %s?%s is %s", method, level, sub, op.Name)
			}
		}
	}
}

func TestNoneAnswers(t *testing.T) {
	for _, op := range Operations() {
		body, err := op.None()
		if op.State != NoneAnswer {
			requireCode(t, err, CodeNotImplemented, 501, op.Name)
			continue
		}
		var e *Error
		if err != nil {
			require.ErrorAs(t, err, &e)
			require.Contains(t, []int{400, 404}, e.Status, op.Name)
			continue
		}
		require.Contains(t, string(body), "2006-03-01", op.Name)
	}
}

func TestCheckHeaders(t *testing.T) {
	for _, c := range []struct {
		name, value string
		code        Code
		status      int
	}{
		{"X-Amz-Acl", "private", "", 0},
		{"X-Amz-Acl", "bucket-owner-full-control", "", 0}, // the bucket's owner is who writes, and has it
		{"X-Amz-Acl", "bucket-owner-read", "", 0},
		{"X-Amz-Optional-Object-Attributes", "RestoreStatus", "", 0},
		{"X-Amz-Optional-Object-Attributes", "RestoreStatus,Colour", CodeInvalidArgument, 400},
		{"X-Amz-Acl", "public-read", CodeNotImplemented, 501},
		{"X-Amz-Acl", "nonsense", CodeInvalidArgument, 400},
		{"X-Amz-Storage-Class", "STANDARD", "", 0},
		{"X-Amz-Storage-Class", "GLACIER", CodeNotImplemented, 501},
		{"X-Amz-Storage-Class", "CHEAP", CodeInvalidStorageClass, 400},
		{"X-Amz-Server-Side-Encryption", "AES256", CodeNotImplemented, 501},
		{"X-Amz-Server-Side-Encryption-Customer-Key", "k", CodeNotImplemented, 501},
		{"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm", "AES256", CodeNotImplemented, 501},
		{"X-Amz-Object-Lock-Mode", "GOVERNANCE", CodeNotImplemented, 501},
		{"X-Amz-Grant-Read", "id=1", CodeNotImplemented, 501},
		{"X-Amz-Website-Redirect-Location", "/x", CodeNotImplemented, 501},
		{"X-Amz-Bucket-Object-Lock-Enabled", "true", CodeNotImplemented, 501},
		{"X-Amz-Bucket-Object-Lock-Enabled", "False", "", 0},
		{"X-Amz-Object-Ownership", "ObjectWriter", "", 0},
		{"X-Amz-Object-Ownership", "BucketOwnerEnforced", CodeNotImplemented, 501},
		{"X-Amz-Object-Ownership", "Nobody", CodeInvalidArgument, 400},
		{"X-Amz-Mfa", "1 2", CodeNotImplemented, 501},
		{"X-Amz-Write-Offset-Bytes", "5", CodeNotImplemented, 501},
		{"x-amz-grant-write", "id=1", CodeNotImplemented, 501}, // not canonical
		{"X-Amz-Grant-Read", "", "", 0},
		{"X-Amz-Date", "x", "", 0},
		{"X-Amz-User-Agent", "x", "", 0},
		{"X-Amz-Meta-Grant-Read", "x", "", 0},
		{"Accept", "x", "", 0},
	} {
		err := CheckHeaders(&operations[0], http.Header{c.name: {c.value}})
		if c.code == "" {
			require.NoError(t, err, c.name)
			continue
		}
		requireCode(t, err, c.code, c.status, c.name)
		if c.status == 501 {
			require.Equal(t, "Header", ErrorOf(err).Fields[0].Name)
		}
	}
	for name, ok := range map[string]bool{"X-Amz-Tagging": false, "X-Amz-Copy-Source": false, "X-Amz-Meta-A": true, "X-Amz-Object-Attributes": true} {
		err := CheckHeaders(&operations[0], http.Header{name: {"a", "b"}})
		require.Equal(t, ok, err == nil, name)
	}
}

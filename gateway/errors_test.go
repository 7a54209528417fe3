package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

// One row of S3.md's error table each: code and status through the real front door.
func TestErrorTable(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("hello"))
	f.expect(200, "", "PUT", "/bkt/copied", []byte("hello"))
	f.expect(200, "", "PUT", "/bkt/empty", nil)
	etag := `"5d41402abc4b2a76b9719d911017c592"`
	hello := []byte("hello")
	del := []byte("<Delete><Object><Key>k</Key></Object></Delete>")
	upload := "uploadId=" + strings.Repeat("0", 32)
	for _, c := range []struct {
		status         int
		code           string
		method, target string
		body           []byte
		header         []string
	}{
		{304, "NotModified", "GET", "/bkt/k", nil, []string{"if-none-match", etag}},
		{304, "NotModified", "HEAD", "/bkt/k", nil, []string{"if-modified-since", "Tue, 01 Jan 2199 00:00:00 GMT"}},
		{412, "PreconditionFailed", "GET", "/bkt/k", nil, []string{"if-match", `"other"`}},
		{412, "PreconditionFailed", "GET", "/bkt/k", nil, []string{"if-unmodified-since", "Thu, 01 Jan 1998 00:00:00 GMT"}},
		{200, "", "GET", "/bkt/k", nil, []string{"if-match", etag, "if-unmodified-since", "Thu, 01 Jan 1998 00:00:00 GMT"}},
		{412, "PreconditionFailed", "PUT", "/bkt/k", hello, []string{"if-none-match", "*"}},
		{412, "PreconditionFailed", "PUT", "/bkt/k", hello, []string{"if-match", `"00000000000000000000000000000000"`}},
		{412, "PreconditionFailed", "PUT", "/bkt/k", hello, []string{"if-match", `"never"`}},
		{404, "NoSuchKey", "PUT", "/bkt/none", hello, []string{"if-match", etag}},
		{501, "NotImplemented", "PUT", "/bkt/k", hello, []string{"if-none-match", etag}},
		{501, "NotImplemented", "PUT", "/bkt/k", hello, []string{"if-modified-since", "Thu, 01 Jan 1998 00:00:00 GMT"}},
		{412, "PreconditionFailed", "DELETE", "/bkt/k", nil, []string{"if-match", `"00000000000000000000000000000000"`}},
		{412, "PreconditionFailed", "DELETE", "/bkt/k", nil, []string{"x-amz-if-match-size", "6"}},
		{404, "NoSuchKey", "DELETE", "/bkt/none", nil, []string{"if-match", etag}},
		{400, "InvalidArgument", "GET", "/bkt?max-keys=x", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt?max-keys=-1", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt?encoding-type=xml", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt?list-type=2&continuation-token=bad", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt?versions&max-keys=x", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt?versions&version-id-marker=null", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt?versions&key-marker=k&version-id-marker=", nil, nil},
		{404, "NoSuchBucket", "GET", "/no-such-bucket?versions", nil, nil},
		{404, "NoSuchBucket", "GET", "/no-such-bucket?versions&max-keys=0", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt/k?partNumber=0", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt/k?partNumber=10001", nil, nil},
		{400, "InvalidArgument", "GET", "/bkt/k?versionId=", nil, nil},
		{400, "InvalidArgument", "PUT", "/bkt/k?partNumber=0&" + upload, hello, nil},
		{400, "InvalidArgument", "PUT", "/bkt/c", nil, []string{"x-amz-copy-source", "nokey"}},
		{400, "InvalidArgument", "PUT", "/bkt/c?partNumber=1&" + upload, nil, []string{"x-amz-copy-source", "/bkt/k", "x-amz-copy-source-range", "bytes=1-"}},
		{400, "InvalidArgument", "PUT", "/bkt/c", nil, []string{"x-amz-copy-source", "/bkt/k", "x-amz-metadata-directive", "MOVE"}},
		{400, "InvalidRequest", "PUT", "/bkt/k", nil, []string{"x-amz-copy-source", "/bkt/k"}},
		{400, "InvalidRequest", "PUT", "/bkt/k", hello, []string{"x-amz-checksum-crc32", "NhCmhg==", "x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="}},
		{400, "InvalidRequest", "PUT", "/bkt/k", hello, []string{"x-amz-sdk-checksum-algorithm", "CRC32"}},
		{400, "InvalidRequest", "PUT", "/bkt/k", hello, []string{"x-amz-trailer", "x-amz-checksum-crc32"}},
		{400, "InvalidRequest", "POST", "/bkt?delete", del, nil},
		{400, "InvalidRequest", "GET", "/bkt/k?partNumber=1", nil, []string{"range", "bytes=0-1"}},
		{400, "InvalidRequest", "GET", "/bkt/k?attributes", nil, nil},
		{400, "BadDigest", "PUT", "/bkt/bad", hello, []string{"content-md5", md5Of([]byte("other"))}},
		{400, "BadDigest", "PUT", "/bkt/bad", hello, []string{"x-amz-checksum-crc32", "AAAAAA=="}},
		{400, "BadDigest", "POST", "/bkt?delete", del, []string{"content-md5", md5Of([]byte("other"))}},
		{400, "BadDigest", "PUT", "/bkt/k?tagging", []byte("<Tagging><TagSet/></Tagging>"), []string{"content-md5", md5Of([]byte("other"))}},
		{400, "InvalidDigest", "PUT", "/bkt/bad", hello, []string{"content-md5", "bm90IDE2"}},
		{400, "MalformedXML", "POST", "/bkt?delete", []byte("<Delete>"), []string{"content-md5", md5Of([]byte("<Delete>"))}},
		{400, "MalformedXML", "PUT", "/new-bucket", []byte("<Nonsense/>"), nil},
		{400, "MalformedXML", "PUT", "/bkt/k?tagging", []byte("<!DOCTYPE x><Tagging/>"), nil},
		{400, "MaxMessageLengthExceeded", "PUT", "/bkt/k?tagging", bytes.Repeat([]byte(" "), 300<<10), nil},
		{400, "KeyTooLongError", "PUT", "/bkt/" + strings.Repeat("k", 1025), hello, nil},
		{200, "", "PUT", "/bkt/" + strings.Repeat("k", 1024), hello, nil},
		{200, "", "PUT", "/bkt/" + strings.Repeat("%C3%BC", 512), hello, nil},
		{400, "InvalidBucketName", "PUT", "/Bad_Bucket", nil, nil},
		{400, "InvalidBucketName", "PUT", "/ab", nil, nil},
		{400, "InvalidLocationConstraint", "PUT", "/new-bucket", []byte("<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>"), nil},
		{400, "MetadataTooLarge", "PUT", "/bkt/k", hello, []string{"x-amz-meta-a", strings.Repeat("v", 2100)}},
		{400, "InvalidTag", "PUT", "/bkt/k", hello, []string{"x-amz-tagging", strings.Repeat("k", 129) + "=v"}},
		{400, "InvalidTag", "PUT", "/bkt/k?tagging", []byte("<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>a</Key><Value>2</Value></Tag></TagSet></Tagging>"), nil},
		{400, "BadRequest", "PUT", "/bkt/k", hello, []string{"x-amz-tagging", "a=&b=&c=&d=&e=&f=&g=&h=&i=&j=&k="}},
		{400, "InvalidStorageClass", "PUT", "/bkt/k", hello, []string{"x-amz-storage-class", "NONSENSE"}},
		{501, "NotImplemented", "PUT", "/bkt/k", hello, []string{"x-amz-storage-class", "GLACIER"}},
		{501, "NotImplemented", "PUT", "/bkt/k", hello, []string{"x-amz-server-side-encryption", "AES256"}},
		{501, "NotImplemented", "PUT", "/bkt/k", hello, []string{"x-amz-object-lock-legal-hold", "ON"}},
		{501, "NotImplemented", "PUT", "/bkt/k", hello, []string{"x-amz-grant-read", "id=x"}},
		{501, "NotImplemented", "PUT", "/bkt/k", hello, []string{"x-amz-website-redirect-location", "/x"}},
		{200, "", "PUT", "/bkt/k", hello, []string{"x-amz-storage-class", "STANDARD", "x-amz-acl", "private"}},
		{403, "AccessDenied", "GET", "/bkt/k", nil, []string{"x-amz-expected-bucket-owner", "222222222222"}},
		{200, "", "GET", "/bkt/k", nil, []string{"x-amz-expected-bucket-owner", "111111111111"}},
		{400, "InvalidBucketOwnerAWSAccountID", "GET", "/bkt/k", nil, []string{"x-amz-expected-bucket-owner", "alice-id"}},
		{400, "InvalidBucketOwnerAWSAccountID", "GET", "/bkt", nil, []string{"x-amz-expected-bucket-owner", ""}},
		{400, "InvalidBucketOwnerAWSAccountID", "PUT", "/bkt/c", nil, []string{"x-amz-copy-source", "/bkt/k", "x-amz-source-expected-bucket-owner", "1111111111112"}},
		{403, "AccessDenied", "PUT", "/bkt/c", nil, []string{"x-amz-copy-source", "/bkt/k", "x-amz-source-expected-bucket-owner", "222222222222"}},
		{404, "NoSuchBucket", "GET", "/no-such-bucket", nil, nil},
		{404, "NoSuchBucket", "PUT", "/no-such-bucket/k", hello, nil},
		{404, "NoSuchBucket", "PUT", "/bkt/c", nil, []string{"x-amz-copy-source", "/no-such-bucket/k"}},
		{404, "NoSuchKey", "GET", "/bkt/none", nil, nil},
		{404, "NoSuchKey", "GET", "/bkt/none?tagging", nil, nil},
		{404, "NoSuchUpload", "PUT", "/bkt/k?partNumber=1&uploadId=nonsense", hello, nil},
		{404, "NoSuchUpload", "PUT", "/bkt/k?partNumber=1&" + upload, hello, nil},
		{404, "NoSuchUpload", "GET", "/bkt/k?uploadId=nonsense", nil, nil},
		{404, "NoSuchUpload", "DELETE", "/bkt/k?uploadId=nonsense", nil, nil},
		{404, "NoSuchUpload", "POST", "/bkt/k?uploadId=nonsense", []byte("<x/>"), nil},
		{404, "NoSuchBucketPolicy", "GET", "/bkt?policy", nil, nil},
		{404, "NoSuchLifecycleConfiguration", "GET", "/bkt?lifecycle", nil, nil},
		{404, "NoSuchCORSConfiguration", "GET", "/bkt?cors", nil, nil},
		{404, "NoSuchTagSet", "GET", "/bkt?tagging", nil, nil},
		{404, "NoSuchWebsiteConfiguration", "GET", "/bkt?website", nil, nil},
		{404, "NoSuchPublicAccessBlockConfiguration", "GET", "/bkt?publicAccessBlock", nil, nil},
		{404, "OwnershipControlsNotFoundError", "GET", "/bkt?ownershipControls", nil, nil},
		{404, "ObjectLockConfigurationNotFoundError", "GET", "/bkt?object-lock", nil, nil},
		{404, "ReplicationConfigurationNotFoundError", "GET", "/bkt?replication", nil, nil},
		{404, "ServerSideEncryptionConfigurationNotFoundError", "GET", "/bkt?encryption", nil, nil},
		{200, "", "GET", "/bkt?versioning", nil, nil},
		{200, "", "GET", "/bkt?notification", nil, nil},
		{200, "", "GET", "/bkt?logging", nil, nil},
		{200, "", "GET", "/bkt?accelerate", nil, nil},
		{200, "", "GET", "/bkt?acl", nil, nil},
		{200, "", "GET", "/bkt/k?acl", nil, nil},
		{200, "", "GET", "/bkt?location", nil, nil},
		{405, "MethodNotAllowed", "PATCH", "/bkt/k", nil, nil},
		{405, "MethodNotAllowed", "PUT", "/", nil, nil},
		{405, "MethodNotAllowed", "HEAD", "/bkt?versioning", nil, nil},
		{405, "MethodNotAllowed", "HEAD", "/none/k?tagging", nil, nil},
		{409, "BucketNotEmpty", "DELETE", "/bkt", nil, nil},
		{200, "", "PUT", "/bkt", nil, nil}, // one's own again, in us-east-1
		{412, "PreconditionFailed", "POST", "/bkt", hello, nil},
		{416, "InvalidRange", "GET", "/bkt/k", nil, []string{"range", "bytes=5-"}},
		{416, "InvalidRange", "GET", "/bkt/k", nil, []string{"range", "bytes=-0"}},
		{416, "InvalidPartNumber", "GET", "/bkt/k?partNumber=2", nil, nil},
		{416, "InvalidPartNumber", "HEAD", "/bkt/k?partNumber=10000", nil, nil},
		{200, "", "GET", "/bkt/empty?partNumber=1", nil, nil}, // no range has no bytes
		{200, "", "HEAD", "/bkt/empty?partNumber=1", nil, nil},
		{416, "InvalidPartNumber", "GET", "/bkt/empty?partNumber=2", nil, nil},
		{206, "", "HEAD", "/bkt/k?partNumber=1", nil, nil},
		{200, "", "GET", "/bkt/k", nil, []string{"range", "bytes=4-2"}},
		{200, "", "GET", "/bkt/k", nil, []string{"range", "bytes=0-1,3-4"}},
		{200, "", "GET", "/bkt/k", nil, []string{"range", "bytes=0-1", "if-range", `"00000000000000000000000000000000"`}},
		{206, "", "GET", "/bkt/k", nil, []string{"range", "bytes=0-1", "if-range", etag}},
		{206, "", "GET", "/bkt/k?partNumber=1", nil, nil},
	} {
		name := fmt.Sprintf("%d_%s_%s_%s_%v", c.status, c.code, c.method, c.target, c.header)
		t.Run(name[:min(len(name), 120)], func(t *testing.T) {
			defer func(outer *testing.T) { f.t = outer }(f.t)
			f.t = t
			f.expect(c.status, c.code, c.method, c.target, c.body, c.header...)
		})
	}
	f.expect(404, "NoSuchKey", "GET", "/bkt/bad", nil)
	require.Equal(t, "hello", string(f.expect(200, "", "GET", "/bkt/k", nil).body))
}

func TestRangeAnswers(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("0123456789"))
	f.expect(200, "", "PUT", "/bkt/empty", nil)
	a := f.expect(416, "InvalidRange", "GET", "/bkt/k", nil, "range", "bytes=10-")
	require.Equal(t, "bytes */10", a.Header.Get("Content-Range"))
	require.Contains(t, string(a.body), "<ActualObjectSize>10</ActualObjectSize>")
	a = f.expect(416, "InvalidPartNumber", "GET", "/bkt/k?partNumber=2", nil)
	require.Equal(t, "bytes */10", a.Header.Get("Content-Range"))
	require.Contains(t, string(a.body), "<PartNumberRequested>2</PartNumberRequested><ActualPartCount>1</ActualPartCount><ActualObjectSize>10</ActualObjectSize>")
	require.Equal(t, "bytes */10", f.expect(416, "", "HEAD", "/bkt/k?partNumber=2", nil).Header.Get("Content-Range"))
	f.expect(416, "InvalidRange", "GET", "/bkt/empty", nil, "range", "bytes=0-0")
	f.expect(200, "", "GET", "/bkt/empty", nil, "range", "bytes=-5")
	a = f.expect(206, "", "HEAD", "/bkt/k", nil, "range", "bytes=-3")
	require.Equal(t, "bytes 7-9/10", a.Header.Get("Content-Range"))
	require.EqualValues(t, 3, a.ContentLength)
	a = f.expect(206, "", "GET", "/bkt/k?partNumber=1", nil)
	require.Equal(t, "bytes 0-9/10", a.Header.Get("Content-Range"))
	require.Empty(t, a.Header.Get("x-amz-mp-parts-count"))
	a = f.expect(206, "", "GET", "/bkt/k", nil, "range", "bytes=0-3", "x-amz-checksum-mode", "ENABLED")
	require.Empty(t, a.Header.Get("x-amz-checksum-crc64nvme"), "a whole-object value on a range makes clients fail")
	a = f.expect(200, "", "GET", "/bkt/k", nil, "x-amz-checksum-mode", "ENABLED")
	require.NotEmpty(t, a.Header.Get("x-amz-checksum-crc64nvme"))
	require.Equal(t, "FULL_OBJECT", a.Header.Get("x-amz-checksum-type"))
	require.Empty(t, f.expect(200, "", "GET", "/bkt/k", nil).Header.Get("x-amz-checksum-crc64nvme"))
	a = f.expect(304, "NotModified", "GET", "/bkt/k", nil, "if-none-match", "*")
	require.NotEmpty(t, a.Header.Get("ETag"))
	require.NotEmpty(t, a.Header.Get("Last-Modified"))
}

// What the state machine and the volumes refuse, by kind.
func TestErrorsOfTheStore(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	for kind, want := range map[errs.Kind]struct {
		status int
		code   string
	}{
		errs.Unavailable:        {503, "ServiceUnavailable"},
		errs.SlowDown:           {503, "SlowDown"},
		errs.StorageFull:        {507, "InsufficientStorage"},
		errs.Conflict:           {409, "ConditionalRequestConflict"},
		errs.InvalidBucketState: {409, "InvalidBucketState"},
		errs.Other:              {500, "InternalError"},
	} {
		f.store.mu.Lock()
		f.store.doErr = errs.E("some.secret.detail", kind, "a detail for operators")
		f.store.mu.Unlock()
		a := f.expect(want.status, want.code, "DELETE", "/bkt/k", nil)
		if kind != errs.InvalidBucketState {
			require.NotContains(t, string(a.body), "detail", "internals stay in the log")
		}
	}
	found := false
	for _, e := range f.logs.FilterMessage("request").All() {
		found = found || strings.Contains(fmt.Sprint(e.ContextMap()["error"]), "a detail for operators")
	}
	require.True(t, found, "the log has the cause")
}

func TestAnothersBucket(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("x"))
	f.want(f.doBob("PUT", "/bobs", nil), 200, "")
	for _, c := range []struct {
		method, target string
		header         []string
	}{
		{"GET", "/bkt", nil}, {"HEAD", "/bkt", nil}, {"DELETE", "/bkt", nil}, {"GET", "/bkt?location", nil}, {"GET", "/bkt?acl", nil},
		{"GET", "/bkt/k", nil}, {"HEAD", "/bkt/k", nil}, {"GET", "/bkt/none", nil}, {"PUT", "/bkt/k", nil}, {"DELETE", "/bkt/k", nil},
		{"GET", "/bkt/k?tagging", nil}, {"GET", "/bkt/k?acl", nil}, {"GET", "/bkt?uploads", nil}, {"GET", "/bkt?versions", nil}, {"GET", "/bkt?versions&max-keys=0", nil},
		{"POST", "/bkt/k?uploads", nil},
		{"PUT", "/bobs/k", []string{"x-amz-copy-source", "/bkt/k"}}, {"PUT", "/bkt/c", []string{"x-amz-copy-source", "/bkt/k"}},
		{"PUT", "/bkt/k?partNumber=1&uploadId=0", nil}, {"DELETE", "/bkt/k?uploadId=0", nil}, {"POST", "/bkt/k?uploadId=0", nil},
		{"GET", "/bkt/k", []string{"if-match", `"x"`}}, // not 412: authorization comes first
	} {
		f.want(f.doBob(c.method, c.target, nil, c.header...), 403, "AccessDenied")
	}
	require.Contains(t, string(f.want(f.doBob("PUT", "/bkt", nil), 409, "BucketAlreadyExists").body), "<BucketName>bkt</BucketName>")
	f.want(f.doBob("HEAD", "/no-such-bucket", nil), 404, "")
	list := f.want(f.doBob("GET", "/", nil), 200, "")
	require.Contains(t, string(list.body), "bobs")
	require.NotContains(t, string(list.body), "bkt")
}

func TestAnonymous(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("x"))
	f.want(f.send(f.request("GET", "/bkt/k", nil)), 403, "AccessDenied")
	f.want(f.send(f.request("GET", "/bkt/none", nil)), 403, "AccessDenied")
	f.want(f.send(f.request("PUT", "/bkt/k", []byte("y"))), 403, "AccessDenied")
	f.want(f.send(f.request("PUT", "/new-bucket", nil)), 403, "AccessDenied")
	f.want(f.send(f.request("GET", "/", nil)), 403, "AccessDenied")
	f.want(f.send(f.request("GET", "/no-such-bucket/k", nil)), 404, "NoSuchBucket")
	f.want(f.send(f.request("OPTIONS", "/bkt/k", nil, "Origin", "http://x", "Access-Control-Request-Method", "GET")), 403, "AccessForbidden")
	f.want(f.send(f.request("OPTIONS", "/bkt/k", nil)), 400, "BadRequest")
	f.want(f.send(f.request("GET", "/bkt/k", nil, "Authorization", "")), 403, "AccessDenied") // a field, so not anonymous; but it names no type
}

// TestLocationConstraints: a region's own name everywhere, us-east-1 included, and EU for eu-west-1 only.
func TestLocationConstraints(t *testing.T) {
	body := func(location string) []byte {
		return []byte("<CreateBucketConfiguration><LocationConstraint>" + location + "</LocationConstraint></CreateBucketConfiguration>")
	}
	for region, takes := range map[string][]string{"us-east-1": {"", "us-east-1"}, "eu-west-1": {"", "EU", "eu-west-1"}, "eu-test-1": {"", "eu-test-1"}} {
		f := newFront(t, func(c *Config) { c.Region = region })
		for i, location := range []string{"", "us-east-1", "EU", "eu-west-1", "eu-test-1", "eu"} {
			name := fmt.Sprintf("/bkt-%d", i)
			if !slices.Contains(takes, location) {
				f.expect(400, "InvalidLocationConstraint", "PUT", name, body(location))
				continue
			}
			f.expect(200, "", "PUT", name, body(location))
			told := string(f.expect(200, "", "GET", name+"?location", nil).body)
			require.Equal(t, region != "us-east-1", strings.Contains(told, ">"+region+"<"), told)
		}
	}
}

func TestOtherRegion(t *testing.T) {
	f := newFront(t, func(c *Config) { c.Region = "eu-test-1" })
	a := f.expect(200, "", "PUT", "/bkt", nil) // signed for us-east-1, which works everywhere
	require.Equal(t, "/bkt", a.Header.Get("Location"))
	f.expect(409, "BucketAlreadyOwnedByYou", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt2", []byte("<CreateBucketConfiguration><LocationConstraint>eu-test-1</LocationConstraint></CreateBucketConfiguration>"))
	require.Equal(t, "eu-test-1", f.expect(200, "", "HEAD", "/bkt", nil).Header.Get("x-amz-bucket-region"))
	require.Contains(t, string(f.expect(200, "", "GET", "/bkt?location", nil).body), "eu-test-1")
	require.Equal(t, http.StatusOK, a.StatusCode)
}

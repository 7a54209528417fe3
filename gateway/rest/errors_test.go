package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

// Each row of the error table that this API can answer: status and JSON code through the front door. The heads that are refused
// below net/http are tested in cmd/minikv/node.
func TestErrorTable(t *testing.T) {
	f := newFixture(t)
	require.Equal(t, 200, f.do("PUT", "/k", "hello").StatusCode)
	for _, c := range []struct {
		status       int
		code         string
		method, path string
		body         string
		header       []string
	}{
		{304, "", "GET", "/k", "", []string{"If-None-Match", tag("hello")}},
		{304, "", "HEAD", "/k", "", []string{"If-Modified-Since", "Tue, 01 Jan 2199 00:00:00 GMT"}},
		{400, "InvalidArgument", "GET", "/range?limit=x", "", nil},
		{400, "InvalidArgument", "GET", "/range?cursor=%20", "", nil},
		{400, "InvalidArgument", "GET", "/k?colour=red", "", nil},
		{400, "InvalidArgument", "GET", "/kv/", "", nil},
		{400, "InvalidRequest", "PUT", "/x", "hello", []string{"X-Amz-Checksum-Crc32", "NhCmhg==", "X-Amz-Checksum-Sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="}},
		{400, "InvalidRequest", "PUT", "/x", "hello", []string{"X-Amz-Sdk-Checksum-Algorithm", "CRC32"}},
		{400, "BadDigest", "PUT", "/x", "hello", []string{"X-Amz-Checksum-Crc32", "AAAAAA=="}},
		{400, "BadDigest", "PUT", "/x", "hello", []string{"Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA=="}},
		{400, "InvalidDigest", "PUT", "/x", "hello", []string{"Content-Md5", "bm90IDE2"}},
		{400, "KeyTooLongError", "PUT", "/" + strings.Repeat("k", object.KeyBytesMax+1), "x", nil},
		{400, "InvalidURI", "GET", "/%ff", "", nil},
		{400, "MetadataTooLarge", "PUT", "/x", "x", []string{"X-Amz-Meta-A", strings.Repeat("v", 2100)}},
		{400, "MalformedJSON", "POST", "/batch", "{", nil},
		{404, "NoSuchKey", "GET", "/none", "", nil},
		{404, "NoSuchKey", "PUT", "/none", "x", []string{"If-Match", tag("x")}},
		{404, "NoSuchKey", "DELETE", "/none", "", []string{"If-Match", tag("x")}},
		{404, "ReservedPath", "GET", "/watch", "", nil},
		{404, "NotFound", "GET", "/metrics", "", nil},
		{405, "MethodNotAllowed", "PATCH", "/k", "", nil},
		{405, "MethodNotAllowed", "PUT", "/range", "x", nil},
		{405, "MethodNotAllowed", "GET", "/batch", "", nil},
		{412, "PreconditionFailed", "GET", "/k", "", []string{"If-Match", tag("x")}},
		{412, "PreconditionFailed", "GET", "/k", "", []string{"If-Unmodified-Since", "Thu, 01 Jan 1998 00:00:00 GMT"}},
		{412, "PreconditionFailed", "PUT", "/k", "x", []string{"If-None-Match", "*"}},
		{412, "PreconditionFailed", "DELETE", "/k", "", []string{"If-Match", tag("x")}},
		{412, "PreconditionFailed", "POST", "/batch", `[{"op":"put","key":"k","value":"x","if_none_match":"*"}]`, nil},
		{415, "", "POST", "/batch", "[]", []string{"Content-Type", "image/png"}},
		{416, "InvalidRange", "GET", "/k", "", []string{"Range", "bytes=5-"}},
		{416, "InvalidRange", "GET", "/k", "", []string{"Range", "bytes=-0"}},
		{501, "NotImplemented", "PUT", "/k", "x", []string{"Content-Range", "bytes 0-0/5"}},
		{501, "NotImplemented", "PUT", "/k", "x", []string{"If-Modified-Since", "Thu, 01 Jan 1998 00:00:00 GMT"}},
		{501, "NotImplemented", "PUT", "/k", "x", []string{"X-Amz-Server-Side-Encryption", "AES256"}},
	} {
		name := c.method + " " + c.path[:min(len(c.path), 20)] + " " + strings.Join(c.header, " ")
		a := f.do(c.method, c.path, c.body, c.header...)
		require.Equal(t, c.status, a.StatusCode, "%s: %s", name, a.text)
		switch {
		case c.code != "":
			require.Equal(t, c.code, errorCode(t, a), name)
		case c.status == http.StatusNotModified:
			require.Equal(t, tag("hello"), a.Header.Get("ETag"))
			require.NotEmpty(t, a.Header.Get("Last-Modified"))
			require.Empty(t, a.text)
		}
		if c.status == http.StatusMethodNotAllowed {
			require.NotEmpty(t, a.Header.Get("Allow"), name)
		}
		if c.status == http.StatusRequestedRangeNotSatisfiable {
			require.Equal(t, "bytes */5", a.Header.Get("Content-Range"), name)
		}
	}
	require.Equal(t, "hello", f.do("GET", "/k", "").text, "nothing of that changed it")
	require.Equal(t, 1, f.store.puts)
}

// signedAnswer sends a request that was signed, and changed before or after that.
func (f *fixture) signedAnswer(s sigv4.Signer, at time.Time, payload, body string, before, after func(*http.Request)) answer {
	f.t.Helper()
	req, err := http.NewRequest("PUT", f.url+"/signed", strings.NewReader(body))
	require.NoError(f.t, err)
	if before != nil {
		before(req)
	}
	_, err = s.Sign(req, payload, at)
	require.NoError(f.t, err)
	if after != nil {
		after(req)
	}
	return f.send(req)
}

// The rows of the table about signatures and credentials.
func TestErrorTableOfCredentials(t *testing.T) {
	f := newFixture(t)
	good := sigv4.Signer{AccessKey: rootKey, SecretKey: rootSecret, Region: "us-east-1"}
	sum := sha256.Sum256([]byte("hello"))
	hash, now := hex.EncodeToString(sum[:]), time.Now()
	with := func(change func(*sigv4.Signer)) sigv4.Signer { s := good; change(&s); return s }
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		a      answer
		status int
		code   string
	}{
		"region":         {f.signedAnswer(with(func(s *sigv4.Signer) { s.Region = "eu-west-1" }), now, hash, "hello", nil, nil), 400, "AuthorizationHeaderMalformed"},
		"service":        {f.signedAnswer(with(func(s *sigv4.Signer) { s.Service = "sts" }), now, hash, "hello", nil, nil), 400, "AuthorizationHeaderMalformed"},
		"unknown key":    {f.signedAnswer(with(func(s *sigv4.Signer) { s.AccessKey = "nobody" }), now, hash, "hello", nil, nil), 403, "InvalidAccessKeyId"},
		"wrong secret":   {f.signedAnswer(with(func(s *sigv4.Signer) { s.SecretKey = "wrong" }), now, hash, "hello", nil, nil), 403, "SignatureDoesNotMatch"},
		"old":            {f.signedAnswer(good, now.Add(-16*time.Minute), hash, "hello", nil, nil), 403, "RequestTimeTooSkewed"},
		"session token":  {f.signedAnswer(good, now, hash, "hello", set("X-Amz-Security-Token", "t"), nil), 400, "InvalidToken"},
		"other body":     {f.signedAnswer(good, now, hash, "hallo", nil, nil), 400, "XAmzContentSHA256Mismatch"},
		"not signed":     {f.signedAnswer(good, now, hash, "hello", nil, set("X-Amz-Meta-A", "b")), 403, "AccessDenied"},
		"another's":      {f.signedAnswer(sigv4.Signer{AccessKey: bobKey, SecretKey: bobSecret, Region: "us-east-1"}, now, hash, "hello", nil, nil), 403, "AccessDenied"},
		"no length":      {f.signedAnswer(good, now, sigv4.PayloadChunkedUnsignedTrailer.String(), "0\r\n\r\n", set("X-Amz-Trailer", "x-amz-checksum-crc32"), nil), 411, "MissingContentLength"},
		"no credentials": {f.doAs("", "", "PUT", "/signed", "x"), 401, "AccessDenied"},
		"wrong password": {f.doAs(rootKey, "wrong", "PUT", "/signed", "x"), 401, "AccessDenied"},
		"two":            {f.do("GET", "/signed?X-Amz-Signature=x", ""), 400, "InvalidArgument"},
	} {
		require.Equal(t, c.status, c.a.StatusCode, "%s: %s", name, c.a.text)
		require.Equal(t, c.code, errorCode(t, c.a), name)
	}
	presigned := func(expires string, at time.Time) answer {
		u, err := good.Presign("GET", f.url+"/signed", http.Header{"Host": {strings.TrimPrefix(f.url, "http://")}}, time.Minute, at)
		require.NoError(t, err)
		req, err := http.NewRequest("GET", strings.Replace(u, "X-Amz-Expires=60", "X-Amz-Expires="+expires, 1), nil)
		require.NoError(t, err)
		return f.send(req)
	}
	require.Equal(t, "AuthorizationQueryParametersError", errorCode(t, presigned("604801", now)))
	a := presigned("60", now.Add(-2*time.Minute))
	require.Equal(t, 403, a.StatusCode)
	require.Equal(t, "AccessDenied", errorCode(t, a))
	require.Zero(t, f.store.puts)
}

// noBucket is a store whose bucket is gone.
type noBucket struct{ *fakeStore }

func (noBucket) Bucket(context.Context, object.Bucket) (*metapb.BucketRow, error) {
	return nil, errs.E("test", errs.NoSuchBucket, "")
}

// What the store refuses, by kind; the rest is in TestKindsBecomeStatuses.
func TestErrorTableOfTheStore(t *testing.T) {
	f := newFixture(t)
	for kind, want := range map[errs.Kind]struct {
		status int
		code   string
	}{
		errs.Conflict:       {409, "ConditionalRequestConflict"},
		errs.EntityTooLarge: {413, "EntityTooLarge"},
		errs.NotLeader:      {503, "ServiceUnavailable"},
		errs.Timeout:        {503, "ServiceUnavailable"},
		errs.Other:          {500, "InternalError"},
	} {
		f.store.err = errs.E("fake", kind, "an inner secret")
		a := f.do("GET", "/k", "")
		require.Equal(t, want.status, a.StatusCode, kind)
		require.Equal(t, want.code, errorCode(t, a))
		if want.status == http.StatusServiceUnavailable {
			require.Equal(t, "1", a.Header.Get("Retry-After"))
		}
	}
	f = newFixture(t, func(c *Config) { c.Store = noBucket{c.Store.(*fakeStore)} })
	a := f.do("PUT", "/k", "x")
	require.Equal(t, 404, a.StatusCode)
	require.Equal(t, "NoSuchBucket", errorCode(t, a))
}

package rest

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/sigv4"
)

func tag(s string) string {
	sum := md5.Sum([]byte(s))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func errorCode(t *testing.T, a answer) string {
	t.Helper()
	var e Error
	require.NoError(t, json.Unmarshal([]byte(a.text), &e), "%s", a.text)
	require.Equal(t, a.Header.Get("x-amz-request-id"), e.RequestID)
	require.NotEmpty(t, e.Message)
	return e.Code
}

func TestPutGetHeadDelete(t *testing.T) {
	f := newFixture(t)
	a := f.do("PUT", "/a/b", "hello", "Content-Type", "text/plain", "X-Amz-Meta-Colour", "red")
	require.Equal(t, 200, a.StatusCode, a.text)
	require.Equal(t, tag("hello"), a.Header.Get("ETag"))
	require.JSONEq(t, `{"key":"a/b","etag":"5d41402abc4b2a76b9719d911017c592","size":5,"modified":"2023-11-14T22:13:20.000Z"}`, a.text)

	a = f.do("GET", "/a/b", "")
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, "hello", a.text)
	require.Equal(t, "text/plain", a.Header.Get("Content-Type"))
	require.Equal(t, "red", a.Header.Get("x-amz-meta-colour"))
	require.Equal(t, "5", a.Header.Get("Content-Length"))
	require.Equal(t, "bytes", a.Header.Get("Accept-Ranges"))
	require.Contains(t, a.Header.Get("Content-Security-Policy"), "sandbox")
	require.Equal(t, "Tue, 14 Nov 2023 22:13:20 GMT", a.Header.Get("Last-Modified"))

	a = f.do("HEAD", "/kv/a/b", "")
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, tag("hello"), a.Header.Get("ETag"))
	require.Equal(t, "5", a.Header.Get("Content-Length"))

	require.Equal(t, 204, f.do("DELETE", "/a/b", "").StatusCode)
	require.Equal(t, 204, f.do("DELETE", "/a/b", "").StatusCode)
	a = f.do("GET", "/a/b", "")
	require.Equal(t, 404, a.StatusCode)
	require.Equal(t, "NoSuchKey", errorCode(t, a))
	require.Empty(t, a.Header.Get("ETag"))
	require.Equal(t, "", f.do("HEAD", "/a/b", "").text)
}

// R2
func TestKeysAreNamesNotPaths(t *testing.T) {
	f := newFixture(t)
	for path, key := range map[string]string{
		"//x": "/x", "/a//b": "a//b", "/./x": "./x", "/../x": "../x", "/a/../b/.": "a/../b/.", "/%2e%2e/y": "../y", "/a%2Fb": "a/b",
		"/sp%20ace+plus": "sp ace+plus", "/per%25cent": "per%cent", "/%C3%BC": "ü", "/q%3F%23": "q?#", "/nl%0Ax": "nl\nx", "/nul%00": "nul\x00",
		"/kv/range": "range", "/kv//x": "/x", "/kv/kv/x": "kv/x", "/ranges": "ranges", "/Health": "Health", "/trailing/": "trailing/",
		"/a;b": "a;b", "/b&c=d": "b&c=d",
	} {
		a := f.do("PUT", path, key)
		require.Equal(t, 200, a.StatusCode, "%s: %s", path, a.text)
		require.Contains(t, f.store.rows, key, path)
		require.Equal(t, key, f.do("GET", path, "").text, path)
	}
	for path, code := range map[string]string{
		"/range/x": "ReservedPath", "/health": "ReservedPath", "/%68ealth/x": "ReservedPath", "/kv%2Fx": "ReservedPath", "/metrics/": "ReservedPath",
		"/kv/": "InvalidArgument", "/%FF": "InvalidURI", "/" + strings.Repeat("k", 1025): "KeyTooLongError", "/k?versionId=1": "InvalidArgument",
	} {
		a := f.do("PUT", path, "x")
		require.Equal(t, code, errorCode(t, a), path)
		require.GreaterOrEqual(t, a.StatusCode, 400)
	}
	require.Equal(t, 200, f.do("PUT", "/"+strings.Repeat("k", 1024), "x").StatusCode)
	require.Equal(t, 405, f.do("PATCH", "/x", "").StatusCode)
	require.Equal(t, "POST", f.do("GET", "/batch", "").Header.Get("Allow"))
}

func TestRangesAndConditions(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/k", "0123456789")
	e := tag("0123456789")
	const before, after = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:20 GMT"
	for name, tc := range map[string]struct {
		headers []string
		status  int
		body    string
		rng     string
	}{
		"middle":                    {[]string{"Range", "bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		"suffix":                    {[]string{"Range", "bytes=-3"}, 206, "789", "bytes 7-9/10"},
		"open":                      {[]string{"Range", "bytes=8-"}, 206, "89", "bytes 8-9/10"},
		"past the end":              {[]string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
		"malformed":                 {[]string{"Range", "bytes=x"}, 200, "0123456789", ""},
		"several":                   {[]string{"Range", "bytes=0-1,3-4"}, 200, "0123456789", ""},
		"match":                     {[]string{"If-Match", e}, 200, "0123456789", ""},
		"match any":                 {[]string{"If-Match", "*"}, 200, "0123456789", ""},
		"mismatch":                  {[]string{"If-Match", tag("x")}, 412, "", ""},
		"foreign tag":               {[]string{"If-Match", `"abc"`}, 412, "", ""},
		"none match":                {[]string{"If-None-Match", e}, 304, "", ""},
		"weak none match":           {[]string{"If-None-Match", "W/" + e}, 304, "", ""},
		"none match other":          {[]string{"If-None-Match", tag("x")}, 200, "0123456789", ""},
		"not modified since":        {[]string{"If-Modified-Since", after}, 304, "", ""},
		"modified since":            {[]string{"If-Modified-Since", before}, 200, "0123456789", ""},
		"unmodified since":          {[]string{"If-Unmodified-Since", before}, 412, "", ""},
		"condition before range":    {[]string{"If-None-Match", e, "Range", "bytes=99-"}, 304, "", ""},
		"if-range the same":         {[]string{"If-Range", e, "Range", "bytes=0-1"}, 206, "01", "bytes 0-1/10"},
		"if-range other":            {[]string{"If-Range", tag("x"), "Range", "bytes=0-1"}, 200, "0123456789", ""},
		"if-range date":             {[]string{"If-Range", after, "Range", "bytes=0-1"}, 206, "01", "bytes 0-1/10"},
		"if-range other date":       {[]string{"If-Range", before, "Range", "bytes=0-1"}, 200, "0123456789", ""},
		"two ranges on two lines":   {[]string{"Range", "bytes=0-1", "Range", "bytes=3-4"}, 200, "0123456789", ""},
		"a date that is not a date": {[]string{"If-Modified-Since", "yesterday"}, 400, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.do("GET", "/k", "", tc.headers...)
			require.Equal(t, tc.status, a.StatusCode, a.text)
			require.Equal(t, tc.rng, a.Header.Get("Content-Range"))
			if tc.status < 300 {
				require.Equal(t, tc.body, a.text)
			}
			if tc.status == 304 {
				require.Equal(t, e, a.Header.Get("ETag"))
				require.NotEmpty(t, a.Header.Get("Last-Modified"))
			}
			h := f.do("HEAD", "/k", "", tc.headers...)
			require.Equal(t, tc.status, h.StatusCode)
			if tc.status < 300 {
				require.Equal(t, a.Header.Get("Content-Length"), h.Header.Get("Content-Length"))
			}
		})
	}
}

func TestWriteConditions(t *testing.T) {
	f := newFixture(t)
	put := func(body string, h ...string) int { return f.do("PUT", "/k", body, h...).StatusCode }
	require.Equal(t, 404, put("0", "If-Match", tag("x")))
	require.Equal(t, 200, put("1", "If-None-Match", "*"))
	require.Equal(t, 412, put("2", "If-None-Match", "*"))
	require.Equal(t, 412, put("2", "If-Match", tag("x")))
	require.Equal(t, 412, put("2", "If-Match", `"not-an-md5"`), "a tag that is none of ours matches nothing")
	require.Equal(t, 200, put("2", "If-Match", tag("1")))
	require.Equal(t, 412, put("3", "If-None-Match", tag("2")))
	require.Equal(t, 501, put("3", "If-Unmodified-Since", "Tue, 14 Nov 2023 22:13:19 GMT"), "R4")
	require.Equal(t, 412, f.do("DELETE", "/k", "", "If-Match", tag("1")).StatusCode)
	require.Equal(t, 204, f.do("DELETE", "/k", "", "If-Match", tag("2")).StatusCode)
	require.Equal(t, 404, f.do("DELETE", "/k", "", "If-Match", tag("2")).StatusCode)
}

func TestDigestsOfABody(t *testing.T) {
	f := newFixture(t)
	sum := md5.Sum([]byte("hello"))
	good := base64.StdEncoding.EncodeToString(sum[:])
	require.Equal(t, 200, f.do("PUT", "/good", "hello", "Content-Md5", good).StatusCode)
	a := f.do("PUT", "/bad", "hallo", "Content-Md5", good)
	require.Equal(t, "BadDigest", errorCode(t, a))
	a = f.do("PUT", "/bad", "hallo", "Content-Md5", "x")
	require.Equal(t, "InvalidDigest", errorCode(t, a))
	require.Equal(t, 200, f.do("PUT", "/crc", "hello", "X-Amz-Checksum-Crc32c", "mnG7TA==").StatusCode)
	a = f.do("PUT", "/bad", "hallo", "X-Amz-Checksum-Crc32c", "mnG7TA==")
	require.Equal(t, "BadDigest", errorCode(t, a))
	require.NotContains(t, f.store.rows, "bad")
}

func TestKindsBecomeStatuses(t *testing.T) {
	f := newFixture(t)
	for kind, want := range map[errs.Kind]struct {
		status int
		code   string
	}{
		errs.StorageFull:         {507, "InsufficientStorage"},
		errs.Unavailable:         {503, "ServiceUnavailable"},
		errs.SlowDown:            {503, "SlowDown"},
		errs.IndeterminateResult: {503, "ServiceUnavailable"},
		errs.Corrupt:             {500, "InternalError"},
		errs.AccessDenied:        {403, "AccessDenied"},
		errs.LimitExceeded:       {413, "EntityTooLarge"},
	} {
		f.store.err = errs.E("fake", kind, "an inner secret")
		a := f.do("GET", "/k", "")
		require.Equal(t, want.status, a.StatusCode, kind)
		require.Equal(t, want.code, errorCode(t, a))
		if kind != errs.LimitExceeded {
			require.NotContains(t, a.text, "inner secret")
		}
	}
}

// R3
func TestBrokenBodyBreaksTheConnection(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/k", strings.Repeat("x", 1<<20))
	f.store.short = true
	req, err := http.NewRequest("GET", f.url+"/k", nil)
	require.NoError(t, err)
	req.SetBasicAuth(rootKey, rootSecret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestSignedRequests(t *testing.T) {
	f := newFixture(t)
	signer := sigv4.Signer{AccessKey: rootKey, SecretKey: rootSecret, Region: "us-east-1"}
	send := func(payload, body string) answer {
		req, err := http.NewRequest("PUT", f.url+"/s%20x", strings.NewReader(body))
		require.NoError(t, err)
		_, err = signer.Sign(req, payload, time.Now())
		require.NoError(t, err)
		return f.send(req)
	}
	require.Equal(t, 200, send(sigv4.UnsignedPayload, "hello").StatusCode)
	require.Equal(t, 200, send("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "hello").StatusCode)
	require.Equal(t, "XAmzContentSHA256Mismatch", errorCode(t, send("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "hallo")))
	u, err := signer.Presign("GET", f.url+"/s%20x", http.Header{"Host": {strings.TrimPrefix(f.url, "http://")}}, time.Minute, time.Now())
	require.NoError(t, err)
	req, err := http.NewRequest("GET", u, nil)
	require.NoError(t, err)
	a := f.send(req)
	require.Equal(t, "hello", a.text)
	req.URL.RawQuery += "0"
	require.Equal(t, 403, f.send(req).StatusCode)
}

// A client that sends nothing for the idle time is let go; one that is slow but moving is served.
func TestStalledUploadEnds(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.IdleTimeout = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	auth := base64.StdEncoding.EncodeToString([]byte(rootKey + ":" + rootSecret))
	_, err = io.WriteString(conn, "PUT /slow HTTP/1.1\r\nHost: x\r\nAuthorization: Basic "+auth+"\r\nContent-Length: 10\r\n\r\n01234")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(all), "RequestTimeout")
	require.NotContains(t, f.store.rows, "slow")
}

func TestLargeBodyStreams(t *testing.T) {
	f := newFixture(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	req, err := http.NewRequest("PUT", f.url+"/big", io.MultiReader(bytes.NewReader(body))) // no length: chunked
	require.NoError(t, err)
	req.SetBasicAuth(rootKey, rootSecret)
	require.Equal(t, 200, f.send(req).StatusCode)
	require.Equal(t, string(body), f.do("GET", "/big", "").text)
}

// R4
func TestHeadersOfS3ThatAreNotKnownAreRefused(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"X-Amz-Tagging", "X-Amz-Server-Side-Encryption", "X-Amz-Copy-Source", "X-Amz-Expected-Bucket-Owner"} {
		a := f.do("PUT", "/k", "x", name, "x")
		require.Equal(t, 501, a.StatusCode, name)
		require.Contains(t, a.text, strings.ToLower(name))
	}
	require.Equal(t, 501, f.do("GET", "/k", "", "X-Amz-Meta-A", "x").StatusCode)
	require.Zero(t, f.store.puts)
	signer := sigv4.Signer{AccessKey: rootKey, SecretKey: rootSecret, Region: "us-east-1"}
	u, err := signer.Presign("PUT", f.url+"/k?x-amz-tagging=a%3Db", http.Header{"Host": {strings.TrimPrefix(f.url, "http://")}}, time.Minute, time.Now())
	require.NoError(t, err)
	req, err := http.NewRequest("PUT", u, strings.NewReader("x"))
	require.NoError(t, err)
	require.Equal(t, 501, f.send(req).StatusCode)
	require.Zero(t, f.store.puts)
}

package s3

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
)

const (
	tagA = "0cc175b9c0f1b6a831c399e269772661"
	tagB = "92eb5ffee6ae2fec3ad71c777531578f"
	// modified is 2024-02-29 12:00:05.678 UTC
	modified = 1709208005678
	exact    = "Thu, 29 Feb 2024 12:00:05 GMT"
	earlier  = "Thu, 29 Feb 2024 12:00:04 GMT"
	later    = "Thu, 29 Feb 2024 12:00:06 GMT"
)

func etag(t testing.TB, s string) digest.ETag {
	e, ok := digest.ParseETag(s)
	require.True(t, ok)
	return e
}

func header(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestReadConditions(t *testing.T) {
	a := etag(t, tagA)
	for _, c := range []struct {
		h          http.Header
		read, copy int // status; 0: passes
	}{
		{header(), 0, 0},
		{header("If-Match", `"`+tagA+`"`), 0, 0},
		{header("If-Match", tagA), 0, 0},
		{header("If-Match", "*"), 0, 0},
		{header("If-Match", `"`+tagB+`", "`+tagA+`"`), 0, 0},
		{header("If-Match", tagB, "If-Match", tagA), 0, 0},
		{header("If-Match", tagB), 412, 412},
		{header("If-Match", tagA+"-1"), 412, 412},
		{header("If-Match", "W/\""+tagA+"\""), 412, 412}, // strong comparison
		{header("If-Match", "rubbish"), 412, 412},
		{header("If-Match", ""), 412, 412},
		{header("If-None-Match", tagB), 0, 0},
		{header("If-None-Match", tagA), 304, 412},
		{header("If-None-Match", "W/\""+tagA+"\""), 304, 412},
		{header("If-None-Match", "*"), 304, 412},
		{header("If-Modified-Since", earlier), 0, 0},
		{header("If-Modified-Since", exact), 304, 412}, // whole seconds
		{header("If-Modified-Since", later), 304, 412},
		{header("If-Unmodified-Since", earlier), 412, 412},
		{header("If-Unmodified-Since", exact), 0, 0},
		{header("If-Unmodified-Since", "Thursday, 29-Feb-24 12:00:04 GMT"), 412, 412},
		{header("If-Unmodified-Since", "Thu Feb 29 12:00:04 2024"), 412, 412},
		{header("If-Match", tagA, "If-Unmodified-Since", earlier), 0, 0},  // If-Match wins
		{header("If-None-Match", tagB, "If-Modified-Since", later), 0, 0}, // If-None-Match wins
		{header("If-None-Match", tagA, "If-Modified-Since", earlier), 304, 412},
		{header("If-Match", tagB, "If-None-Match", tagA), 412, 412}, // 412 before 304
	} {
		r, err := ParseReadConditions(c.h)
		require.NoError(t, err)
		require.Equal(t, len(c.h) > 0, r.Any(), c.h)
		requireStatus(t, r.Check(a, modified), c.read, c.h)

		prefixed := make(http.Header)
		for name, v := range c.h {
			prefixed[http.CanonicalHeaderKey("x-amz-copy-source-"+name)] = v
		}
		r, err = ParseCopyConditions(prefixed)
		require.NoError(t, err)
		requireStatus(t, r.CheckCopy(a, modified), c.copy, prefixed)
	}
	_, err := ParseReadConditions(header("If-Modified-Since", "yesterday"))
	requireCode(t, err, CodeInvalidArgument, 400)
	_, err = ParseCopyConditions(header("x-amz-copy-source-if-unmodified-since", "yesterday"))
	requireCode(t, err, CodeInvalidArgument, 400)
}

func requireStatus(t testing.TB, err error, status int, msg ...any) {
	t.Helper()
	if status == 0 {
		require.NoError(t, err, msg...)
		return
	}
	var e *Error
	require.ErrorAs(t, err, &e, msg...)
	require.Equal(t, status, e.Status, msg...)
}

func TestWriteConditions(t *testing.T) {
	a := etag(t, tagA)
	for _, c := range []struct {
		op              string
		h               http.Header
		parse           int // status of parsing
		present, absent int // status of the check
	}{
		{"PutObject", header(), 0, 0, 0},
		{"PutObject", header("If-None-Match", "*"), 0, 412, 0},
		{"PutObject", header("If-None-Match", tagA), 501, 0, 0},
		{"PutObject", header("If-None-Match", "*", "If-None-Match", "*"), 501, 0, 0},
		{"PutObject", header("If-Match", tagA), 0, 0, 404},
		{"PutObject", header("If-Match", tagB), 0, 412, 404},
		{"PutObject", header("If-Match", "rubbish"), 0, 412, 404},
		{"PutObject", header("If-Match", tagA+", "+tagB), 501, 0, 0},
		{"PutObject", header("If-Modified-Since", exact), 501, 0, 0},
		{"PutObject", header("If-Unmodified-Since", exact), 501, 0, 0},
		{"PutObject", header("x-amz-if-match-size", "5"), 501, 0, 0},
		{"CopyObject", header("If-None-Match", "*"), 0, 412, 0},
		{"CompleteMultipartUpload", header("If-Match", tagB), 0, 412, 404},
		{"UploadPart", header("If-None-Match", "*"), 501, 0, 0},
		{"AbortMultipartUpload", header("x-amz-if-match-initiated-time", exact), 501, 0, 0},
		{"DeleteObject", header("If-Match", "*"), 0, 0, 404},
		{"DeleteObject", header("If-Match", tagB), 0, 412, 404},
		{"DeleteObject", header("If-None-Match", "*"), 501, 0, 0},
		{"DeleteObject", header("x-amz-if-match-size", "5"), 0, 0, 0},
		{"DeleteObject", header("x-amz-if-match-size", "6"), 0, 412, 0},
		{"DeleteObject", header("x-amz-if-match-size", "-6"), 400, 0, 0},
		{"DeleteObject", header("x-amz-if-match-last-modified-time", exact), 0, 0, 0},
		{"DeleteObject", header("x-amz-if-match-last-modified-time", "2024-02-29T12:00:05Z"), 0, 0, 0},
		{"DeleteObject", header("x-amz-if-match-last-modified-time", earlier), 0, 412, 0},
		{"DeleteObject", header("x-amz-if-match-last-modified-time", "x"), 400, 0, 0},
	} {
		w, err := ParseWriteConditions(&Operation{Name: c.op}, c.h)
		requireStatus(t, err, c.parse, c.op, c.h)
		if c.parse != 0 {
			continue
		}
		require.Equal(t, len(c.h) > 0, w.Any())
		requireStatus(t, w.Check(true, a, modified, 5), c.present, c.op, c.h)
		requireStatus(t, w.Check(false, digest.ETag{}, 0, 0), c.absent, c.op, c.h)
	}
}

func TestTimes(t *testing.T) {
	require.Equal(t, exact, FormatHTTPTime(modified))
	require.Equal(t, "2024-02-29T12:00:05.000Z", string(AppendTime(nil, modified)))
	for _, ms := range []int64{-1, -86400001, 0, 999, 951782400000, 4107542399999, 253402300799999, 253402300800000, 1 << 50} {
		want := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
		want = want[:len(want)-4] + "000Z"
		require.Equal(t, want, string(AppendTime(nil, ms)))
	}
	for day := int64(0); day < 2932896; day += 37 {
		want := time.Unix(day*86400, 0).UTC().Format("2006-01-02")
		require.Equal(t, want, string(AppendTime(nil, day*86400000))[:10])
	}
}

package s3

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseMetadata(t *testing.T) {
	m, err := ParseMetadata(header("Content-Type", "text/plain", "Content-Encoding", "aws-chunked,gzip", "Cache-Control", "no-cache",
		"Content-Disposition", `attachment; filename="ü"`, "Content-Language", "de", "Expires", "whenever",
		"X-Amz-Meta-Foo", "1", "x-amz-meta-foo", "2", "X-AMZ-META-Bar_x", "=?UTF-8?B?w7w=?=", "X-Amz-Meta-Latin", "gr\xfcn", "X-Amz-Acl", "private"))
	require.NoError(t, err)
	require.Equal(t, Metadata{ContentType: "text/plain", ContentEncoding: "gzip", CacheControl: "no-cache",
		ContentDisposition: `attachment; filename="ü"`, ContentLanguage: "de", Expires: "whenever",
		User: []Field{{"bar_x", "ü"}, {"foo", "1,2"}, {"latin", "grün"}}}, m)

	h := make(http.Header)
	m.SetHeader(h)
	require.Equal(t, []string{"1,2"}, asWritten(h, "x-amz-meta-foo")) // exact case
	require.Equal(t, []string{"=?UTF-8?B?w7w=?="}, asWritten(h, "x-amz-meta-bar_x"))
	require.Equal(t, []string{"gzip"}, h["Content-Encoding"])
	again, err := ParseMetadata(h.Clone())
	require.NoError(t, err)
	require.Equal(t, m.ContentType, again.ContentType)
}

// asWritten looks a header up without making its name canonical.
func asWritten(h http.Header, name string) []string { return h[name] }

func TestContentEncodingLosesFraming(t *testing.T) {
	for in, want := range map[string]string{
		"aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip,aws-chunked": "gzip", "gzip, AWS-Chunked, br": "gzip,br", "gzip": "gzip",
		"gzip, br": "gzip, br",
	} {
		m, err := ParseMetadata(header("Content-Encoding", in))
		require.NoError(t, err)
		require.Equal(t, want, m.ContentEncoding, in)
		require.Equal(t, DefaultContentType, m.ContentType)
		h := make(http.Header)
		m.SetHeader(h)
		require.Equal(t, want != "", len(h["Content-Encoding"]) > 0, in)
	}
}

func TestMetadataLimit(t *testing.T) {
	_, err := ParseMetadata(header("x-amz-meta-a", strings.Repeat("v", 2046), "x-amz-meta-b", ""))
	require.NoError(t, err) // 1 + 2046 + 1
	_, err = ParseMetadata(header("x-amz-meta-a", strings.Repeat("v", 2046), "x-amz-meta-b", "1"))
	requireCode(t, err, CodeMetadataTooLarge, 400)
	_, err = ParseMetadata(http.Header{"X-Amz-Meta-": {"v"}})
	requireCode(t, err, CodeInvalidArgument, 400)
	_, err = ParseMetadata(http.Header{"Cache-Control": {"a\r\nb"}})
	requireCode(t, err, CodeInvalidArgument, 400)
}

// W2: an encoded word can hide a line break; it never comes out as one.
func TestMetadataNeverBreaksLines(t *testing.T) {
	for _, v := range []string{"=?UTF-8?Q?a=0D=0AX-Evil:_1?=", "=?UTF-8?B?DQpYLUV2aWw6IDE=?=", "a\x00b"} {
		m, err := ParseMetadata(http.Header{"X-Amz-Meta-A": {v}})
		require.NoError(t, err)
		h := make(http.Header)
		m.SetHeader(h)
		require.False(t, hasControl(asWritten(h, "x-amz-meta-a")[0]), h)
	}
}

func TestOverrides(t *testing.T) {
	q := Query{{"response-content-type", "text/x"}, {"response-cache-control", "no-store"}, {"response-unknown", "x"}, {"response-expires", ""}}
	o, err := ParseOverrides(q, true)
	require.NoError(t, err)
	h := header("Content-Type", "binary/octet-stream")
	o.Apply(h)
	require.Equal(t, header("Content-Type", "text/x", "Cache-Control", "no-store"), h)
	_, err = ParseOverrides(q, false)
	requireCode(t, err, CodeInvalidRequest, 400)
	_, err = ParseOverrides(Query{{"response-content-disposition", "a\r\nSet-Cookie: x"}}, true)
	requireCode(t, err, CodeInvalidArgument, 400)
	_, err = ParseOverrides(Query{{"versionId", "1"}}, false)
	require.NoError(t, err)
}

func TestTagHeader(t *testing.T) {
	tags, err := ParseTagHeader("a=1&b%20c=x+y&empty")
	require.NoError(t, err)
	require.Equal(t, []Tag{{"a", "1"}, {"b c", "x y"}, {"empty", ""}}, tags)
	eleven := "a&b&c&d&e&f&g&h&i&j&k"
	for s, code := range map[string]Code{
		"a=1&a=2": CodeInvalidArgument, "=v": CodeInvalidArgument, "aws:x=1": CodeInvalidTag, "a=<b>": CodeInvalidTag, "a=%zz": CodeInvalidArgument,
		eleven: CodeBadRequest, strings.Repeat("k", 129) + "=v": CodeInvalidTag, "k=" + strings.Repeat("v", 257): CodeInvalidTag,
	} {
		_, err := ParseTagHeader(s)
		requireCode(t, err, code, 400, s)
	}
	_, err = ParseTagHeader(strings.Repeat("ü", 128) + "=" + strings.Repeat("ü", 256)) // characters, not bytes
	require.NoError(t, err)
}

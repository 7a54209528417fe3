package s3

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func query(t testing.TB, raw string) Query {
	q, err := ParseQuery(raw)
	require.NoError(t, err)
	return q
}

func TestParseList(t *testing.T) {
	p, err := ParseList(query(t, "prefix=a/&delimiter=/&marker=a/b/&max-keys=5000&encoding-type=url"), false)
	require.NoError(t, err)
	require.Equal(t, ListParams{Prefix: "a/", Delimiter: "/", MaxKeys: 1000, EncodingURL: true, FetchOwner: true, Marker: "a/b/",
		After: "a/b/", AfterPrefix: true}, p)

	p, err = ParseList(query(t, "list-type=2&start-after=k%2B1&fetch-owner=true&max-keys=0&delimiter="), true)
	require.NoError(t, err)
	require.Equal(t, ListParams{V2: true, MaxKeys: 0, FetchOwner: true, StartAfter: "k+1", After: "k+1"}, p)

	p, err = ParseList(query(t, "start-after=a&continuation-token="+NextToken("b/", true)), true)
	require.NoError(t, err)
	require.Equal(t, "b/", p.After)
	require.True(t, p.AfterPrefix)
	require.Equal(t, "a", p.StartAfter)
	require.Equal(t, 1000, p.MaxKeys)
	require.Contains(t, string(AppendList(nil, &ListResult{Params: &p})), "<StartAfter>a</StartAfter>", "it is included if it was sent")

	p, err = ParseList(query(t, "start-after=a&continuation-token="), true) // an empty token is none, but is echoed
	require.NoError(t, err)
	require.Equal(t, "a", p.After)
	require.Contains(t, string(AppendList(nil, &ListResult{Params: &p})), "<StartAfter>a</StartAfter><ContinuationToken></ContinuationToken>")
	require.NotContains(t, string(AppendList(nil, &ListResult{Params: &ListParams{V2: true}})), "ContinuationToken")

	for _, raw := range []string{"max-keys=-1", "max-keys=x", "max-keys=1.5", "max-keys=+1", "max-keys=99999999999999999999", "max-keys=2147483648",
		"encoding-type=base64"} {
		for _, v2 := range []bool{false, true} {
			_, err := ParseList(query(t, raw), v2)
			requireCode(t, err, CodeInvalidArgument, 400, raw)
		}
	}
}

// S3 tells numbers that are too small from what is no number.
func TestNegativePageSizes(t *testing.T) {
	for raw, want := range map[string][2]string{
		"max-keys=-1": {"maxKeys", "Argument maxKeys must be an integer between 0 and 2147483647"},
		"max-keys=-x": {"max-keys", "Provided max-keys not an integer or within integer range"},
		"max-keys=-":  {"max-keys", "Provided max-keys not an integer or within integer range"},
	} {
		_, err := ParseList(query(t, raw), true)
		e := requireCode(t, err, CodeInvalidArgument, 400, raw)
		require.Equal(t, want[1], e.Message)
		require.Equal(t, want[0], e.Fields[0].Value)
	}
	_, err := ParseUploads(query(t, "max-uploads=-1"))
	require.Equal(t, "max-uploads", requireCode(t, err, CodeInvalidArgument, 400, "uploads").Fields[0].Value)
}

func TestIsCommonPrefix(t *testing.T) {
	for _, c := range []struct {
		s, prefix, delimiter string
		want                 bool
	}{
		{"a/", "", "/", true}, {"a/b", "", "/", false}, {"a/b/", "", "/", false}, {"a/b/", "a/", "/", true}, {"a/", "a/", "/", false},
		{"", "", "/", false}, {"a/", "", "", false}, {"aXXb", "", "XX", false}, {"aXX", "", "XX", true}, {"b/", "a", "/", false},
	} {
		require.Equal(t, c.want, isCommonPrefix(c.s, c.prefix, c.delimiter), c)
	}
}

func TestTokens(t *testing.T) {
	for _, key := range []string{"k", "", "ü\x01\n", strings.Repeat("k", 1024)} {
		for _, prefix := range []bool{false, true} {
			last, p, err := parseToken(NextToken(key, prefix))
			require.NoError(t, err)
			require.Equal(t, key, last)
			require.Equal(t, prefix, p)
		}
	}
	good := NextToken("some/key", false)
	for _, bad := range []string{"", "x", "AQA", good[:len(good)-1], good + "A", good + "=", "B" + good[1:], strings.Repeat("A", 5000), good[:3] + "%" + good[4:]} {
		_, _, err := parseToken(bad)
		requireCode(t, err, CodeInvalidArgument, 400, bad)
		_, err = ParseList(Query{{"continuation-token", bad}}, true)
		if bad == "" {
			require.NoError(t, err)
			continue
		}
		requireCode(t, err, CodeInvalidArgument, 400, bad)
	}
}

func TestOtherListParameters(t *testing.T) {
	b, err := ParseBuckets(query(t, "prefix=p&max-buckets=2&bucket-region=eu&continuation-token="+NextToken("bkt", false)))
	require.NoError(t, err)
	require.Equal(t, BucketsParams{Prefix: "p", MaxBuckets: 2, Region: "eu", After: "bkt", Paged: true}, b)
	b, err = ParseBuckets(nil)
	require.NoError(t, err)
	require.Equal(t, BucketsParams{MaxBuckets: 10000}, b)
	for _, raw := range []string{"max-buckets=0", "max-buckets=10001", "max-buckets=x", "continuation-token=x"} {
		_, err = ParseBuckets(query(t, raw))
		requireCode(t, err, CodeInvalidArgument, 400, raw)
	}

	p, err := ParseParts(query(t, "uploadId=u&max-parts=2000&part-number-marker=7"))
	require.NoError(t, err)
	require.Equal(t, PartsParams{UploadID: "u", MaxParts: 1000, Marker: 7}, p)
	for _, raw := range []string{"max-parts=-1", "part-number-marker=x"} {
		_, err = ParseParts(query(t, raw))
		requireCode(t, err, CodeInvalidArgument, 400, raw)
	}

	u, err := ParseUploads(query(t, "prefix=a&delimiter=/&key-marker=a/&upload-id-marker=u&max-uploads=0&encoding-type=url"))
	require.NoError(t, err)
	require.Equal(t, UploadsParams{Prefix: "a", Delimiter: "/", KeyMarker: "a/", UploadIDMarker: "u", EncodingURL: true, AfterPrefix: true}, u)
	for _, raw := range []string{"max-uploads=-1", "encoding-type=x"} {
		_, err = ParseUploads(query(t, raw))
		requireCode(t, err, CodeInvalidArgument, 400, raw)
	}

	n, err := ParsePartNumber(query(t, "partNumber=10000"))
	require.NoError(t, err)
	require.Equal(t, uint32(10000), n)
	n, err = ParsePartNumber(nil)
	require.NoError(t, err)
	require.Zero(t, n)
	for _, raw := range []string{"partNumber=0", "partNumber=10001", "partNumber=", "partNumber=-1", "partNumber=x"} {
		_, err = ParsePartNumber(query(t, raw))
		requireCode(t, err, CodeInvalidArgument, 400, raw)
	}
}

func TestParseAttributes(t *testing.T) {
	p, err := ParseAttributes(header("x-amz-object-attributes", "ETag, Checksum,ObjectParts", "x-amz-object-attributes", "ObjectSize,StorageClass",
		"x-amz-max-parts", "5000", "x-amz-part-number-marker", "3"))
	require.NoError(t, err)
	require.Equal(t, AttributesParams{ETag: true, Checksum: true, Parts: true, Size: true, StorageClass: true, MaxParts: 1000, Marker: 3}, p)
	_, err = ParseAttributes(header())
	requireCode(t, err, CodeInvalidRequest, 400)
	_, err = ParseAttributes(header("x-amz-object-attributes", ","))
	requireCode(t, err, CodeInvalidRequest, 400)
	_, err = ParseAttributes(header("x-amz-object-attributes", "ETag,Colour"))
	requireCode(t, err, CodeInvalidArgument, 400)
	_, err = ParseAttributes(header("x-amz-object-attributes", "ETag", "x-amz-max-parts", "-1"))
	requireCode(t, err, CodeInvalidArgument, 400)
}

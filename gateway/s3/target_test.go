package s3

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseTarget(t *testing.T) {
	domains := []string{"s3.example.com", "example.com"}
	for _, c := range []struct {
		uri, host   string
		level       Level
		bucket, key string
		virtual     bool
	}{
		{"/", "localhost:9000", LevelService, "", "", false},
		{"/?x-id=ListBuckets", "localhost", LevelService, "", "", false},
		{"/b", "localhost", LevelBucket, "b", "", false},
		{"/b/", "localhost", LevelBucket, "b", "", false},
		{"/b?list-type=2", "localhost", LevelBucket, "b", "", false},
		{"/b/k", "localhost", LevelObject, "b", "k", false},
		{"/b//k", "localhost", LevelObject, "b", "/k", false},
		{"/b/a/../b/./c", "localhost", LevelObject, "b", "a/../b/./c", false},
		{"/b/%2e%2e/x", "localhost", LevelObject, "b", "../x", false},
		{"/b/a+b%20c%25%2B%3F%23", "localhost", LevelObject, "b", "a+b c%+?#", false},
		{"/b/%2541", "localhost", LevelObject, "b", "%41", false}, // decoded once
		{"/b/a%2Fb", "localhost", LevelObject, "b", "a/b", false},
		{"/b/\xc3\xbc%C3%BC\"", "localhost", LevelObject, "b", "üü\"", false},
		{"/b/k/", "localhost", LevelObject, "b", "k/", false},
		{"//k", "localhost", LevelObject, "", "k", false},
		{"//", "localhost", LevelBucket, "", "", false},
		{"http://other:1/b/k?acl", "localhost", LevelObject, "b", "k", false},
		{"HTTPS://other", "localhost", LevelService, "", "", false},
		{"/k", "b.s3.example.com", LevelObject, "b", "k", true},
		{"/", "b.s3.example.com:9000", LevelBucket, "b", "", true},
		{"/x/y", "My.Bucket.S3.Example.COM:9000", LevelObject, "my.bucket", "x/y", true},
		{"//k", "b.s3.example.com", LevelObject, "b", "/k", true},
		{"/b/k", "s3.example.com", LevelObject, "b", "k", false}, // a domain itself, though below another
		{"/k", "b.example.com", LevelObject, "b", "k", true},
		{"/b/k", "xs3.example.org", LevelObject, "b", "k", false},
		{"/b/k", "127.0.0.1:9000", LevelObject, "b", "k", false},
		{"/b/k", "[::1]:9000", LevelObject, "b", "k", false},
		{"/b/k", "", LevelObject, "b", "k", false},
		{"http://b.example.com/k", "localhost", LevelObject, "b", "k", true},
	} {
		got, err := ParseTarget(c.uri, c.host, domains)
		require.NoError(t, err, c.uri)
		require.Equal(t, c.level, got.Level, c.uri)
		require.Equal(t, c.bucket, got.Bucket, c.uri)
		require.Equal(t, c.key, got.Key, c.uri)
		require.Equal(t, c.virtual, got.VirtualHost, c.uri)
	}
	got, err := ParseTarget("http://b.example.com:80/k%2F?a=b?c", "localhost", nil)
	require.NoError(t, err)
	require.Equal(t, Target{RawPath: "/k%2F", RawQuery: "a=b?c", Host: "b.example.com:80", Level: LevelObject, Bucket: "k", Key: ""},
		Target{RawPath: got.RawPath, RawQuery: got.RawQuery, Host: got.Host, Level: LevelObject, Bucket: got.Bucket, Key: got.Key})
}

func TestParseTargetRefuses(t *testing.T) {
	for _, uri := range []string{"", "*", "b/k", "/b/%", "/b/%4", "/b/%zz", "/b/%ff", "/b/\xff", "ftp://h/b", "http:///b", "http://u@h/b", "/b/k#f"} {
		_, err := ParseTarget(uri, "localhost", nil)
		requireCode(t, err, CodeInvalidURI, 400, uri)
	}
}

func TestNames(t *testing.T) {
	name := func(bucket, key string) error {
		_, _, err := (&Target{Level: LevelObject, Bucket: bucket, Key: key}).Names()
		return err
	}
	require.NoError(t, name("abc", strings.Repeat("k", 1024)))
	requireCode(t, name("abc", strings.Repeat("k", 1025)), CodeKeyTooLongError, 400)
	for _, b := range []string{"", "ab", "A-bucket", "a_b_c", "-abc", "abc-", "a..b", "a.-b", "a-.b", "1.2.3.4", "xn--abc", strings.Repeat("a", 64), "abc-s3alias"} {
		requireCode(t, name(b, "k"), CodeInvalidBucketName, 400, b)
	}
	_, _, err := (&Target{Level: LevelService}).Names()
	require.NoError(t, err)
}

func TestParseQuery(t *testing.T) {
	q, err := ParseQuery("prefix=a+b%2Bc&acl&x=1;y=2&&=v&x=3&k%20=")
	require.NoError(t, err)
	require.Equal(t, Query{{"prefix", "a b+c"}, {"acl", ""}, {"x", "1;y=2"}, {"", "v"}, {"x", "3"}, {"k ", ""}}, q)
	require.True(t, q.Has("acl"))
	require.False(t, q.Has("y"))
	require.Equal(t, "1;y=2", q.Get("x"))
	for _, raw := range []string{"a=%", "a=%4", "%zz", "a=%ff", "a=\xff", strings.Repeat("a&", 300)} {
		_, err := ParseQuery(raw)
		requireCode(t, err, CodeInvalidURI, 400, raw)
	}
}

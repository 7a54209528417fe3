package s3

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResolveRange(t *testing.T) {
	for _, c := range []struct {
		h       string
		size    uint64
		want    Range
		partial bool
		status  int
	}{
		{"", 10, Range{0, 10}, false, 0},
		{"bytes=0-0", 10, Range{0, 1}, true, 0},
		{"bytes=2-5", 10, Range{2, 4}, true, 0},
		{"Bytes=2-", 10, Range{2, 8}, true, 0},
		{"bytes=2-100", 10, Range{2, 8}, true, 0},
		{"bytes=0-99999999999999999999999", 10, Range{0, 10}, true, 0},
		{"bytes=-3", 10, Range{7, 3}, true, 0},
		{"bytes=-30", 10, Range{0, 10}, true, 0},
		{"bytes= 1 - 2 ", 10, Range{1, 2}, true, 0},
		{"bytes=10-", 10, Range{}, false, 416},
		{"bytes=99999999999999999999999-", 10, Range{}, false, 416},
		{"bytes=-0", 10, Range{}, false, 416},
		{"bytes=-0", 0, Range{}, false, 416},
		{"bytes=0-0", 0, Range{}, false, 416},
		{"bytes=0-", 0, Range{}, false, 416},
		{"bytes=-5", 0, Range{0, 0}, false, 0},
		{"bytes=5-2", 10, Range{0, 10}, false, 0},
		{"bytes=0-1,3-4", 10, Range{0, 10}, false, 0},
		{"bytes=", 10, Range{0, 10}, false, 0},
		{"bytes=-", 10, Range{0, 10}, false, 0},
		{"bytes=a-b", 10, Range{0, 10}, false, 0},
		{"bytes=1-+2", 10, Range{0, 10}, false, 0},
		{"bytes=--1", 10, Range{0, 10}, false, 0},
		{"items=0-1", 10, Range{0, 10}, false, 0},
	} {
		r, partial, err := ResolveRange(c.h, c.size)
		requireStatus(t, err, c.status, c.h)
		require.Equal(t, c.want, r, c.h)
		require.Equal(t, c.partial, partial, c.h)
		if err != nil {
			e := ErrorOf(err)
			require.Equal(t, CodeInvalidRange, e.Code)
			require.Equal(t, Field{"Content-Range", "bytes */" + utoa(c.size)}, e.Header[0])
			require.Contains(t, e.Fields, Field{"ActualObjectSize", utoa(c.size)})
		}
	}
	require.Equal(t, "bytes 2-5/10", Range{2, 4}.ContentRange(10))
	requireCode(t, InvalidPartNumber(7, 3, 10), CodeInvalidPartNumber, 416)
}

func TestParseCopySource(t *testing.T) {
	for _, c := range []struct {
		h           string
		bucket, key string
		version     string
		code        Code
	}{
		{"/bkt/k", "bkt", "k", "", ""},
		{"bkt/k", "bkt", "k", "", ""},
		{"/bkt/a/b//c", "bkt", "a/b//c", "", ""},
		{"bkt/a%20b%2Bc+d%C3%BC", "bkt", "a b+c+dü", "", ""},
		{"bkt%2Fk%2Fx", "bkt", "k/x", "", ""},
		{"bkt/k?versionId=null", "bkt", "k", "null", ""},
		{"bkt/what%3F?versionId=3%2B4", "bkt", "what?", "3+4", ""},
		{"bkt/raw?mark", "bkt", "raw?mark", "", ""},
		{"bkt/%2541", "bkt", "%41", "", ""},
		{"", "", "", "", CodeInvalidArgument},
		{"/", "", "", "", CodeInvalidArgument},
		{"bkt", "", "", "", CodeInvalidArgument},
		{"bkt/", "", "", "", CodeInvalidArgument},
		{"//k", "", "", "", CodeInvalidArgument},
		{"bkt/%zz", "", "", "", CodeInvalidArgument},
		{"bkt/%ff", "", "", "", CodeInvalidArgument},
		{"bkt/k?versionId=", "", "", "", CodeInvalidArgument},
		{"arn:aws:s3:us-east-1:1:accesspoint/x/object/k", "", "", "", CodeInvalidArgument},
		{"B_/k", "", "", "", CodeInvalidBucketName},
	} {
		s, err := ParseCopySource(c.h)
		if c.code != "" {
			requireCode(t, err, c.code, 400, c.h)
			continue
		}
		require.NoError(t, err, c.h)
		require.Equal(t, []string{c.bucket, c.key, c.version}, []string{string(s.Bucket), string(s.Key), s.VersionID}, c.h)
	}
}

func TestParseCopySourceRange(t *testing.T) {
	r, err := ParseCopySourceRange("bytes=2-9", 10)
	require.NoError(t, err)
	require.Equal(t, Range{2, 8}, r)
	for _, h := range []string{"bytes=2-10", "bytes=5-2", "bytes=2-", "bytes=-2", "2-3", "bytes=a-b", "bytes=1-2,3-4", "bytes= 1-2", "bytes=", "", "bytes=+1-2"} {
		_, err := ParseCopySourceRange(h, 10)
		requireCode(t, err, CodeInvalidArgument, 400, h)
	}
	_, err = ParseCopySourceRange("bytes=0-0", 0)
	requireCode(t, err, CodeInvalidArgument, 400)
}

func TestDirectives(t *testing.T) {
	d, err := ParseDirectives(header("x-amz-metadata-directive", "REPLACE", "x-amz-tagging-directive", "COPY"))
	require.NoError(t, err)
	require.Equal(t, Directives{ReplaceMetadata: true}, d)
	_, err = ParseDirectives(header("x-amz-tagging-directive", "MERGE"))
	requireCode(t, err, CodeInvalidArgument, 400)
}

package e2e

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

func putAll(t *testing.T, c *s3.Client, bucket string, keys ...string) {
	t.Helper()
	for _, k := range keys {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &k, Body: strings.NewReader(k)})
		require.NoError(t, err, "put %q", k)
	}
}

// versionRows pages through a listing of versions and shows it as rows; every page has at most size of them.
func versionRows(t *testing.T, c *s3.Client, in *s3.ListObjectVersionsInput) (out []row, pages int) {
	t.Helper()
	p := s3.NewListObjectVersionsPaginator(c, in)
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		require.NoError(t, err)
		require.Empty(t, page.DeleteMarkers)
		objects := make([]types.Object, len(page.Versions))
		for i, v := range page.Versions {
			require.Equal(t, "null", *v.VersionId)
			require.True(t, *v.IsLatest)
			objects[i].Key = v.Key
		}
		rows := rowsOf(objects, page.CommonPrefixes)
		require.LessOrEqual(t, len(rows), int(*page.MaxKeys))
		if *page.IsTruncated {
			require.Equal(t, strings.Trim(string(rows[len(rows)-1]), "()"), *page.NextKeyMarker)
			require.Equal(t, rows[len(rows)-1][0] == '(', page.NextVersionIdMarker == nil)
		}
		out, pages = append(out, rows...), pages+1
		require.LessOrEqual(t, pages, 100, "paging does not end")
	}
	return out, pages
}

func TestS3APIVersionsPaging(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	keys := []string{"a", "a/", "a/b", "a/c", "b", "c/d/e", "c/d/f", "c/g", "z z", "ü/1", "ü/2"}
	putAll(t, c, bucket, keys...)
	for _, prefix := range []string{"", "a", "a/", "c/", "none"} {
		for _, delimiter := range []string{"", "/", "d/"} {
			for _, size := range []int32{1, 2, 1000} {
				for _, marker := range []string{"", "a", "a/", "a/b", "c/d/e"} {
					in := &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix, Delimiter: &delimiter, MaxKeys: &size, KeyMarker: &marker}
					want := naiveList(keys, prefix, delimiter, marker)
					got, pages := versionRows(t, c, in)
					require.Equal(t, want, got, "prefix %q delimiter %q by %d after %q", prefix, delimiter, size, marker)
					require.Equal(t, max(1, (len(want)+int(size)-1)/int(size)), pages)
					if marker == "" {
						continue
					}
					in.VersionIdMarker = aws.String("null") // after the key's only version is after the key
					got, _ = versionRows(t, c, in)
					require.Equal(t, want, got)
				}
			}
		}
	}
}

func TestS3APIVersionsDetails(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	putAll(t, c, bucket, "k", "k", "sp ace") // the first k was replaced: no version of it is left
	list := func(in s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
		in.Bucket = &bucket
		return c.ListObjectVersions(t.Context(), &in)
	}
	out, err := list(s3.ListObjectVersionsInput{MaxKeys: aws.Int32(5000)})
	require.NoError(t, err)
	require.EqualValues(t, 1000, *out.MaxKeys)
	require.False(t, *out.IsTruncated)
	require.Len(t, out.Versions, 2)
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("k"), VersionId: aws.String("null")})
	require.NoError(t, err)
	v := out.Versions[0]
	require.Equal(t, *head.ETag, *v.ETag)
	require.True(t, head.LastModified.Equal(*v.LastModified))
	require.EqualValues(t, 1, *v.Size)
	require.NotEmpty(t, *v.Owner.ID)
	require.Len(t, v.ChecksumAlgorithm, 1) // the SDK sent one
	require.Equal(t, types.ObjectVersionStorageClassStandard, v.StorageClass)

	out, err = list(s3.ListObjectVersionsInput{EncodingType: types.EncodingTypeUrl, Prefix: aws.String("sp "), KeyMarker: aws.String("a b")})
	require.NoError(t, err)
	require.Equal(t, "sp%20ace", *out.Versions[0].Key)
	require.Equal(t, "sp%20", *out.Prefix)
	require.Equal(t, "a%20b", *out.KeyMarker)

	out, err = list(s3.ListObjectVersionsInput{MaxKeys: aws.Int32(0)})
	require.NoError(t, err)
	require.Empty(t, out.Versions)
	require.False(t, *out.IsTruncated)
	for _, in := range []s3.ListObjectVersionsInput{
		{MaxKeys: aws.Int32(-1)}, {VersionIdMarker: aws.String("null")}, {KeyMarker: aws.String("k"), VersionIdMarker: aws.String("v1")},
		{EncodingType: "base64"},
	} {
		_, err = list(in)
		requireStatus(t, err, 400, "InvalidArgument")
	}
	_, err = c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String("no-such-bucket")})
	requireStatus(t, err, 404, "NoSuchBucket")
	_, err = list(s3.ListObjectVersionsInput{ExpectedBucketOwner: aws.String("999999999999")})
	requireStatus(t, err, 403, "AccessDenied")
}

// Clean-up tools list versions and delete what they saw, page by page, with the version ids they were given.
func TestS3APIVersionsEmptyBucket(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	putAll(t, c, bucket, awkwardKeys...)
	pages := s3.NewListObjectVersionsPaginator(c, &s3.ListObjectVersionsInput{Bucket: &bucket, MaxKeys: aws.Int32(4)})
	deleted := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		var ids []types.ObjectIdentifier
		for _, v := range page.Versions {
			ids = append(ids, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		out, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: ids}})
		require.NoError(t, err)
		require.Empty(t, out.Errors)
		deleted += len(out.Deleted)
	}
	require.Equal(t, len(awkwardKeys), deleted)

	// One by one, as others do; and minio-go's listing of versions.
	putAll(t, c, bucket, "x", "y/z")
	var seen []string
	for o := range n.Minio(t).ListObjects(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true, MaxKeys: 1}) {
		require.NoError(t, o.Err)
		require.True(t, o.IsLatest)
		seen = append(seen, o.Key)
		_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &o.Key, VersionId: &o.VersionID})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"x", "y/z"}, seen)
	out, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket})
	require.NoError(t, err)
	require.Empty(t, out.Versions)
	_, err = c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: &bucket})
	require.NoError(t, err)
}

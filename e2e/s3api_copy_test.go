package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
)

func TestS3APICopyObject(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	body := noise(1, 5<<20+17)
	src := aws.String("dir/sp ace+ü%")
	put, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: src, Body: bytes.NewReader(body), ContentType: aws.String("text/x"),
		CacheControl: aws.String("no-cache"), Metadata: map[string]string{"color": "blue"}, Tagging: aws.String("a=1"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	require.NoError(t, err)
	written := p.volume.prepared.Load()
	source := aws.String("bucket/dir/sp%20ace%2B%C3%BC%25")
	copyTo := func(key string, change ...func(*s3.CopyObjectInput)) (*s3.CopyObjectOutput, error) {
		in := &s3.CopyObjectInput{Bucket: b, Key: &key, CopySource: source}
		for _, f := range change {
			f(in)
		}
		return c.CopyObject(t.Context(), in)
	}
	head := func(key string) *s3.HeadObjectOutput {
		out, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		require.NoError(t, err)
		return out
	}
	out, err := copyTo("same")
	require.NoError(t, err)
	require.Equal(t, *put.ETag, *out.CopyObjectResult.ETag)
	h := head("same")
	require.Equal(t, "text/x", *h.ContentType)
	require.Equal(t, "no-cache", *h.CacheControl)
	require.Equal(t, "blue", h.Metadata["color"])
	require.EqualValues(t, 1, *h.TagCount)
	require.Equal(t, *put.ChecksumCRC32, *h.ChecksumCRC32)

	_, err = copyTo("replaced", func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.Metadata, in.TaggingDirective, in.Tagging = types.MetadataDirectiveReplace, map[string]string{"shape": "round"}, types.TaggingDirectiveReplace, aws.String("b=2&c=3")
	})
	require.NoError(t, err)
	h = head("replaced")
	require.Equal(t, "binary/octet-stream", *h.ContentType)
	require.Equal(t, map[string]string{"shape": "round"}, h.Metadata)
	require.EqualValues(t, 2, *h.TagCount)

	_, err = copyTo("sha", func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	require.NoError(t, err)
	require.NotEmpty(t, aws.ToString(head("sha").ChecksumSHA256))
	require.Equal(t, written, p.volume.prepared.Load(), "a copy moves no bytes")

	// Conditions on both sides; those on the source are 412, never 304.
	for i, change := range []func(*s3.CopyObjectInput){
		func(in *s3.CopyObjectInput) { in.CopySourceIfMatch = aws.String(`"x"`) },
		func(in *s3.CopyObjectInput) { in.CopySourceIfNoneMatch = put.ETag },
		func(in *s3.CopyObjectInput) { in.CopySourceIfModifiedSince = aws.Time(time.Now().Add(time.Hour)) },
		func(in *s3.CopyObjectInput) { in.CopySourceIfUnmodifiedSince = aws.Time(time.Now().Add(-time.Hour)) },
		func(in *s3.CopyObjectInput) { in.IfNoneMatch = aws.String("*") },
		func(in *s3.CopyObjectInput) { in.IfMatch = aws.String(`"00000000000000000000000000000000"`) },
	} {
		_, err = copyTo("same", change)
		require.Error(t, err, "condition %d", i)
		if st, code := status(err); st != 412 || code != "PreconditionFailed" {
			// A date in the future is no valid If-Modified-Since, and is ignored.
			require.Equal(t, 2, i, "condition %d: %v", i, err)
		}
	}
	_, err = copyTo("same", func(in *s3.CopyObjectInput) {
		in.CopySourceIfMatch, in.CopySourceIfUnmodifiedSince = put.ETag, aws.Time(time.Now().Add(-time.Hour))
	})
	require.NoError(t, err, "a matching ETag outweighs the date")
	_, err = copyTo("new-with-condition", func(in *s3.CopyObjectInput) { in.IfNoneMatch = aws.String("*") })
	require.NoError(t, err)

	_, err = copyTo(*src)
	requireStatus(t, err, 400, "InvalidRequest")
	_, err = copyTo(*src, func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.Metadata = types.MetadataDirectiveReplace, map[string]string{"color": "red"}
	})
	require.NoError(t, err)
	require.Equal(t, "red", head(*src).Metadata["color"])

	source = aws.String("bucket/none")
	_, err = copyTo("x")
	requireStatus(t, err, 404, "NoSuchKey")
	source = aws.String("no-such-bucket/none")
	_, err = copyTo("x")
	requireStatus(t, err, 404, "NoSuchBucket")
	source = aws.String("bucket/same?versionId=nonsense")
	_, err = copyTo("x")
	require.Error(t, err)

	// The source may go: the copies keep the bytes.
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: b, Key: src})
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, get(t, c, *b, "same")))
	require.True(t, bytes.Equal(body, get(t, c, *b, "replaced")))
}

func TestS3APIObjectDetails(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	key := aws.String("k")
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: key, Body: strings.NewReader("0123456789"), ContentEncoding: aws.String("gzip"),
		ContentDisposition: aws.String("attachment"), ContentLanguage: aws.String("de"), Expires: aws.Time(time.Unix(2e9, 0)),
		Metadata: map[string]string{"MiXed": "Value", "utf": "grün"}})
	require.NoError(t, err)
	h, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: key})
	require.NoError(t, err)
	require.Equal(t, "gzip", *h.ContentEncoding)
	require.Equal(t, "attachment", *h.ContentDisposition)
	require.Equal(t, "de", *h.ContentLanguage)
	require.Equal(t, "Value", h.Metadata["mixed"])
	require.Equal(t, "Wed, 18 May 2033 03:33:20 GMT", *h.ExpiresString)
	require.Empty(t, h.StorageClass)
	require.Nil(t, h.VersionId)
	require.Nil(t, h.TagCount)

	attrs, err := c.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: b, Key: key,
		ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesEtag, types.ObjectAttributesObjectSize, types.ObjectAttributesStorageClass, types.ObjectAttributesObjectParts}})
	require.NoError(t, err)
	require.Equal(t, strings.Trim(*h.ETag, `"`), *attrs.ETag)
	require.EqualValues(t, 10, *attrs.ObjectSize)
	require.Equal(t, types.StorageClassStandard, attrs.StorageClass)
	require.Nil(t, attrs.ObjectParts)
	require.NotNil(t, attrs.LastModified)

	for rng, want := range map[string]string{"bytes=0-0": "0", "bytes=-3": "789", "bytes=7-": "789", "bytes=3-99": "3456789", "bytes=-99": "0123456789"} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: b, Key: key, Range: &rng})
		require.NoError(t, err, rng)
		got, err := io.ReadAll(out.Body)
		require.NoError(t, err)
		require.Equal(t, want, string(got), rng)
		require.EqualValues(t, len(want), *out.ContentLength)
	}

	_, err = c.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: b, Key: key, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}, {Key: aws.String("b"), Value: aws.String("")}}}})
	require.NoError(t, err)
	tags, err := c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: b, Key: key})
	require.NoError(t, err)
	require.Len(t, tags.TagSet, 2)
	_, err = c.DeleteObjectTagging(t.Context(), &s3.DeleteObjectTaggingInput{Bucket: b, Key: key})
	require.NoError(t, err)
	tags, err = c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: b, Key: key})
	require.NoError(t, err)
	require.Empty(t, tags.TagSet)
	_, err = c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: b, Key: aws.String("none")})
	requireStatus(t, err, 404, "NoSuchKey")
	_, err = c.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: b, Key: aws.String("none"), Tagging: &types.Tagging{TagSet: []types.Tag{}}})
	requireStatus(t, err, 404, "NoSuchKey")

	acl, err := c.GetObjectAcl(t.Context(), &s3.GetObjectAclInput{Bucket: b, Key: key})
	require.NoError(t, err)
	require.Equal(t, "inproc-id", *acl.Owner.ID)
	require.Equal(t, types.PermissionFullControl, acl.Grants[0].Permission)

	for _, v := range []string{"null"} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: b, Key: key, VersionId: &v})
		require.NoError(t, err)
		require.Nil(t, out.VersionId, "a bucket that was never versioned tells no versions")
	}
	_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: b, Key: key, VersionId: aws.String("nonsense")})
	requireStatus(t, err, 400, "InvalidArgument")
}

func TestS3APIDeleteConditions(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	put := func(key, body string) *s3.PutObjectOutput {
		out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: &key, Body: strings.NewReader(body)})
		require.NoError(t, err)
		return out
	}
	a, bb := put("a", "one"), put("b", "two")
	out, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("a"), ETag: a.ETag}, {Key: aws.String("b"), ETag: a.ETag}, {Key: aws.String("none"), ETag: a.ETag},
		{Key: aws.String("none")}, {Key: aws.String("never"), Size: aws.Int64(1)}, {Key: aws.String(strings.Repeat("k", 1025))},
	}}})
	require.NoError(t, err)
	codes := map[string]string{}
	for _, e := range out.Errors {
		codes[(*e.Key)[:1]] = *e.Code
	}
	require.Len(t, out.Deleted, 3)
	require.Equal(t, map[string]string{"b": "PreconditionFailed", "n": "NoSuchKey", "k": "KeyTooLongError"}, codes)
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: b, Key: aws.String("b"), IfMatchSize: aws.Int64(4)})
	requireStatus(t, err, 412, "PreconditionFailed")
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: b, Key: aws.String("none"), IfMatchSize: aws.Int64(4)})
	require.NoError(t, err, "what is not there has no size that could be another")
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: b, Key: aws.String("b"), IfMatch: bb.ETag})
	require.NoError(t, err)

	// If-Match on "*" and on a key that was never there.
	_, err = c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: aws.String("c"), Body: strings.NewReader("x"), IfMatch: aws.String("*")})
	requireStatus(t, err, 404, "NoSuchKey")

	// Of any number of completes and puts on one key exactly one wins.
	results := make(chan error, 12)
	for i := range 12 {
		go func() {
			if i%2 == 0 {
				_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: aws.String("race"), Body: strings.NewReader(fmt.Sprint(i)), IfNoneMatch: aws.String("*")})
				results <- err
				return
			}
			_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: b, Key: aws.String("race"), CopySource: aws.String("bucket/source"), IfNoneMatch: aws.String("*")})
			results <- err
		}()
	}
	won := 0
	for range 12 {
		err := <-results
		st, _ := status(err)
		switch {
		case err == nil:
			won++
		case st != 412 && st != 409 && st != 404: // there is no source: the copies lose in any case
			t.Errorf("a racer got %v", err)
		}
	}
	require.Equal(t, 1, won)
}

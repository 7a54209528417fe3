package e2e

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// A copy in place must change something, or name a storage class (be it the one there is), or a checksum.
func TestS3APICopyInPlace(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c := n.AWS()
	bucket := n.Bucket(t)
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("k"), Body: strings.NewReader("v"), Metadata: map[string]string{"a": "1"}})
	require.NoError(t, err)
	in := func(change func(*s3.CopyObjectInput)) *s3.CopyObjectInput {
		in := &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String("k"), CopySource: aws.String(bucket + "/k")}
		change(in)
		return in
	}
	_, err = c.CopyObject(t.Context(), in(func(*s3.CopyObjectInput) {}))
	requireStatus(t, err, 400, "InvalidRequest")
	_, err = c.CopyObject(t.Context(), in(func(in *s3.CopyObjectInput) { in.Metadata = map[string]string{"a": "2"} })) // without the directive: no change
	requireStatus(t, err, 400, "InvalidRequest")
	for _, change := range []func(*s3.CopyObjectInput){
		func(in *s3.CopyObjectInput) { in.StorageClass = types.StorageClassStandard },
		func(in *s3.CopyObjectInput) {
			in.TaggingDirective, in.Tagging = types.TaggingDirectiveReplace, aws.String("t=1")
		},
		func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 },
	} {
		_, err = c.CopyObject(t.Context(), in(change))
		require.NoError(t, err)
	}
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "1"}, head.Metadata)
	require.NotEmpty(t, head.ChecksumSHA256)
	require.EqualValues(t, 1, *head.TagCount)
	_, err = c.CopyObject(t.Context(), in(func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.Metadata = types.MetadataDirectiveReplace, map[string]string{"a": "2"}
	}))
	require.NoError(t, err)
	require.Equal(t, "v", string(get(t, c, bucket, "k")))
}

// The SDK sends a CRC32 with every part and gives it back to the caller, who may name it in the complete of an upload that was
// created without an algorithm.
func TestS3APICompleteNamesChecksumsOfItsOwnAccord(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c := n.AWS()
	bucket := n.Bucket(t)
	u := newUpload(t, c, &bucket, "k")
	part := u.must(1, []byte("part"))
	require.NotEmpty(t, part.ChecksumCRC32)
	u.parts[0].ChecksumCRC32 = aws.String("AAAAAA==")
	_, err := u.complete()
	requireStatus(t, err, 400, "InvalidPart")
	u.parts[0].ChecksumCRC32 = part.ChecksumCRC32
	_, err = u.complete(func(in *s3.CompleteMultipartUploadInput) { in.ChecksumType = types.ChecksumTypeComposite })
	requireStatus(t, err, 400, "BadDigest")
	out, err := u.complete()
	require.NoError(t, err)
	require.NotEmpty(t, out.ChecksumCRC64NVME)
}

// Clients that begin with an empty continuation token get the first page, and their token back.
func TestS3APIEmptyContinuationToken(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c := n.AWS()
	bucket := n.Bucket(t)
	for _, k := range []string{"a", "b"} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &k, Body: strings.NewReader("")})
		require.NoError(t, err)
	}
	out, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, ContinuationToken: aws.String(""), MaxKeys: aws.Int32(1)})
	require.NoError(t, err)
	require.Equal(t, "a", *out.Contents[0].Key)
	require.True(t, *out.IsTruncated)
	_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, ContinuationToken: aws.String("x")})
	requireStatus(t, err, 400, "InvalidArgument")
	_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, ExpectedBucketOwner: aws.String("somebody")})
	requireStatus(t, err, 400, "InvalidBucketOwnerAWSAccountID")
	_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, ExpectedBucketOwner: aws.String("000000000000")})
	requireStatus(t, err, 403, "AccessDenied")
}

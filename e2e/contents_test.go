package e2e

import (
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// TestVerifyReadsContents: objects of every make have the ETags and checksums that their bytes have.
func TestVerifyReadsContents(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	require.NoError(t, putKey(t.Context(), c, bucket, "empty", nil))
	require.NoError(t, putKey(t.Context(), c, bucket, "plain", noise(1, 6<<20)))
	for _, a := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc32c} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("sum-" + string(a)), Body: bytes.NewReader(noise(2, 70_000)), ChecksumAlgorithm: a})
		require.NoError(t, err)
	}
	for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmSha256} {
		u := newUpload(t, c, &bucket, "parts-"+string(a), func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = a })
		for i, size := range []int{partMin + 70_000, 5} {
			_, err := u.put(int32(2*i+1), noise(uint64(i), size), func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = a })
			require.NoError(t, err)
		}
		_, err := u.complete()
		require.NoError(t, err)
	}
	one := newUpload(t, c, &bucket, "one-part")
	one.must(1, noise(3, 1000))
	_, err := one.complete()
	require.NoError(t, err)
	sliced := newUpload(t, c, &bucket, "sliced")
	for i, r := range []string{"bytes=100-6000000", "bytes=7-9"} {
		out, err := c.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: &bucket, Key: aws.String("sliced"), UploadId: sliced.id,
			PartNumber: aws.Int32(int32(i + 1)), CopySource: aws.String(bucket + "/plain"), CopySourceRange: &r})
		require.NoError(t, err)
		sliced.parts = append(sliced.parts, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.CopyPartResult.ETag})
	}
	_, err = sliced.complete()
	require.NoError(t, err)
	for _, from := range []string{"plain", "parts-SHA256", "sliced", "empty"} {
		_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String("copy-of-" + from), CopySource: aws.String(bucket + "/" + from)})
		require.NoError(t, err)
	}
	a, problems, code := verify(t, n, "--deep")
	require.Empty(t, problems)
	require.Zero(t, code)
	require.True(t, a.Sound)
	require.NotNil(t, a.Contents)
	require.EqualValues(t, 13, a.Contents.Objects)
	require.Greater(t, a.Contents.Bytes, int64(38<<20))
	r := n.CLI(t, "verify", "--deep", "--bucket", bucket)
	require.Zero(t, r.Code, r.Err)
	require.Contains(t, r.Out, "13 objects in 1 buckets")
	r = n.CLI(t, "verify", "--deep", "--bucket", "absent")
	require.NotZero(t, r.Code)
}

package e2e

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// slowBody is size times fill; something happens when half of it was read.
type slowBody struct {
	size, at int64
	fill     byte
	halfway  func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.at >= b.size/2 && b.halfway != nil {
		b.halfway()
		b.halfway = nil
	}
	if b.at == b.size {
		return 0, io.EOF
	}
	if b.at < b.size/2 {
		p = p[:min(int64(len(p)), b.size/2-b.at)]
	}
	n := copy(p, bytes.Repeat([]byte{b.fill}, int(min(int64(len(p)), b.size-b.at))))
	b.at += int64(n)
	return n, nil
}

// slowPut makes the SDK send a body that it cannot read twice, without a checksum of it.
func slowPut(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

const slowSize = 6 << 20

// What happens to a bucket, an upload or a part while a body is under way decides about the write when it ends.
func TestS3APIThingsChangeUnderAnUpload(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c := n.AWS()
	ctx := t.Context()
	bucket := n.Bucket(t)
	b := &bucket

	gone := aws.String("bucket-gone")
	_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: gone})
	require.NoError(t, err)
	_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: gone, Key: aws.String("k"), ContentLength: aws.Int64(slowSize),
		Body: &slowBody{size: slowSize, halfway: func() {
			_, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: gone})
			require.NoError(t, err)
		}}}, slowPut)
	requireStatus(t, err, 404, "NoSuchBucket")

	aborted := newUpload(t, c, b, "aborted")
	_, err = c.UploadPart(ctx, &s3.UploadPartInput{Bucket: b, Key: aws.String("aborted"), UploadId: aborted.id, PartNumber: aws.Int32(1), ContentLength: aws.Int64(slowSize),
		Body: &slowBody{size: slowSize, halfway: func() {
			_, err := c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: b, Key: aws.String("aborted"), UploadId: aborted.id})
			require.NoError(t, err)
		}}}, slowPut)
	requireStatus(t, err, 404, "NoSuchUpload")

	// A part is sent twice; the first to begin is the last to end, and counts.
	twice := newUpload(t, c, b, "twice")
	last, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: b, Key: aws.String("twice"), UploadId: twice.id, PartNumber: aws.Int32(1), ContentLength: aws.Int64(slowSize),
		Body: &slowBody{size: slowSize, fill: 'a', halfway: func() { twice.must(1, bytes.Repeat([]byte("b"), slowSize)) }}}, slowPut)
	require.NoError(t, err)
	_, err = twice.complete()
	requireStatus(t, err, 400, "InvalidPart")
	twice.parts = []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: last.ETag}}
	_, err = twice.complete()
	require.NoError(t, err)
	require.True(t, strings.Repeat("a", slowSize) == string(get(t, c, bucket, "twice")))
}

// A read that has begun gives the object as it was, whatever becomes of its key.
func TestS3APIReadsOutliveTheirKey(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c := n.AWS()
	bucket := n.Bucket(t)
	old := noise(7, 24<<20)
	for name, change := range map[string]func() error{
		"overwritten": func() error {
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("k"), Body: strings.NewReader("new")})
			return err
		},
		"deleted": func() error {
			_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("k")})
			return err
		},
	} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("k"), Body: bytes.NewReader(old)})
		require.NoError(t, err)
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("k")})
		require.NoError(t, err)
		first := make([]byte, 1000)
		_, err = io.ReadFull(out.Body, first)
		require.NoError(t, err)
		require.NoError(t, change())
		rest, err := io.ReadAll(out.Body)
		require.NoError(t, err, name)
		require.NoError(t, out.Body.Close())
		require.True(t, bytes.Equal(old, append(first, rest...)), name)
	}
}

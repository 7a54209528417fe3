package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/internal/digest"
	"minikv/sigv4"
)

// ask sends a request of root's as it stands; header is of names and values.
func ask(t *testing.T, n *harness.Node, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, n.S3+target, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	_, err = sigv4.Signer{AccessKey: harness.RootUser, SecretKey: harness.RootPassword, Region: "us-east-1"}.Sign(req, sigv4.UnsignedPayload, time.Now())
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

// A 412 names the condition that is false, also when there are some on both sides of a copy.
func TestS3APIFalseConditionIsNamed(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	bucket := n.Bucket(t)
	c := n.AWS()
	for _, key := range []string{"source", "there"} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("v")})
		require.NoError(t, err)
	}
	const etag, other, past, future = `"9e3669d19b675bd57058fd4664205d2a"`, `"00000000000000000000000000000000"`,
		"Thu, 01 Jan 1998 00:00:00 GMT", "Tue, 01 Jan 2199 00:00:00 GMT"
	from := []string{"x-amz-copy-source", bucket + "/source"}
	for _, test := range []struct {
		method, key, condition string
		header                 []string
	}{
		{"PUT", "there", "x-amz-copy-source-If-Match", append(from, "x-amz-copy-source-if-match", other)},
		{"PUT", "there", "x-amz-copy-source-If-None-Match", append(from, "x-amz-copy-source-if-none-match", etag)},
		{"PUT", "there", "x-amz-copy-source-If-Modified-Since", append(from, "x-amz-copy-source-if-modified-since", future)},
		{"PUT", "there", "x-amz-copy-source-If-Unmodified-Since", append(from, "x-amz-copy-source-if-unmodified-since", past)},
		{"PUT", "new", "x-amz-copy-source-If-Match", append(from, "x-amz-copy-source-if-match", other, "if-none-match", "*")},
		{"PUT", "there", "If-None-Match", append(from, "x-amz-copy-source-if-match", etag, "if-none-match", "*")},
		{"PUT", "there", "If-Match", append(from, "x-amz-copy-source-if-match", etag, "if-match", other)},
		{"PUT", "there", "If-None-Match", []string{"if-none-match", "*"}},
		{"PUT", "there", "If-Match", []string{"if-match", other}},
		{"DELETE", "there", "x-amz-if-match-size", []string{"if-match", etag, "x-amz-if-match-size", "7"}},
		{"DELETE", "there", "x-amz-if-match-last-modified-time", []string{"x-amz-if-match-last-modified-time", past}},
	} {
		resp, text := ask(t, n, test.method, "/"+bucket+"/"+test.key, "", test.header...)
		require.Equal(t, 412, resp.StatusCode, text)
		require.Contains(t, text, "<Condition>"+test.condition+"</Condition>", test.header)
	}
}

// Whoever asks a copy for a checksum gets one of all the bytes, also of the algorithm that the parts' were of; without, the copy
// keeps the source's. GetObjectAttributes gives a COMPOSITE one without the number of parts.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
func TestS3APIChecksumOfACopyOfParts(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c := n.AWS()
	bucket := n.Bucket(t)
	first, last := bytes.Repeat([]byte("a"), 5<<20), []byte("last")
	u := newUpload(t, c, &bucket, "parts", func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	for i, body := range [][]byte{first, last} {
		_, err := u.put(int32(i+1), body, func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
		require.NoError(t, err)
	}
	done, err := u.complete()
	require.NoError(t, err)
	composite := aws.ToString(done.ChecksumSHA256)
	require.True(t, strings.HasSuffix(composite, "-2"), composite)

	checksum := func(key string) *types.Checksum {
		out, err := c.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: &bucket, Key: &key,
			ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesChecksum}})
		require.NoError(t, err)
		return out.Checksum
	}
	require.Equal(t, types.ChecksumTypeComposite, checksum("parts").ChecksumType)
	require.Equal(t, strings.TrimSuffix(composite, "-2"), *checksum("parts").ChecksumSHA256)

	source := aws.String(bucket + "/parts")
	kept, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String("kept"), CopySource: source})
	require.NoError(t, err)
	require.Equal(t, composite, *kept.CopyObjectResult.ChecksumSHA256)
	asked, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String("asked"), CopySource: source,
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
	require.NoError(t, err)
	whole := digest.Of(digest.SHA256, append(first, last...)).String()
	require.Equal(t, whole, *asked.CopyObjectResult.ChecksumSHA256)
	require.Equal(t, types.ChecksumTypeFullObject, asked.CopyObjectResult.ChecksumType)
	require.Equal(t, whole, *checksum("asked").ChecksumSHA256)
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("asked"), ChecksumMode: types.ChecksumModeEnabled})
	require.NoError(t, err)
	require.Equal(t, whole, *head.ChecksumSHA256)
	require.Equal(t, types.ChecksumTypeFullObject, head.ChecksumType)
}

// A complete that is refused for one of its parts says which, as S3 does.
func TestS3APIRefusedPartIsNamed(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	bucket := n.Bucket(t)
	u := newUpload(t, n.AWS(), &bucket, "k")
	for number := int32(1); number <= 3; number++ {
		u.must(number, []byte("small"))
	}
	const etag, other = "eb5c1399a871211c7e7ed732d15e3a8b", "00000000000000000000000000000000"
	complete := func(etags ...string) string {
		body := "<CompleteMultipartUpload>"
		for i, e := range etags {
			body += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, e)
		}
		resp, text := ask(t, n, "POST", "/"+bucket+"/k?uploadId="+*u.id, body+"</CompleteMultipartUpload>")
		require.Equal(t, 400, resp.StatusCode, text)
		return text
	}
	text := complete(etag, other, etag)
	require.Contains(t, text, "<Code>InvalidPart</Code>")
	require.Contains(t, text, "<PartNumber>2</PartNumber>")
	text = complete(etag, etag, etag, etag)
	require.Contains(t, text, "<Code>InvalidPart</Code>")
	require.Contains(t, text, "<PartNumber>4</PartNumber>")
	text = complete(etag, etag, etag)
	require.Contains(t, text, "<Code>EntityTooSmall</Code>")
	require.Contains(t, text, "<ProposedSize>5</ProposedSize><MinSizeAllowed>5242880</MinSizeAllowed><PartNumber>1</PartNumber>")
}

package e2e

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// bothTransports runs a suite over http and over TLS: SDKs send trailer checksums only over TLS.
func bothTransports(t *testing.T, suite func(t *testing.T, n *harness.Node)) {
	for _, tls := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "tls"}[tls], func(t *testing.T) {
			suite(t, harness.Start(t, harness.Options{TLS: tls}))
		})
	}
}

// noise is n reproducible bytes that do not compress.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	_, _ = r.Read(b)
	return b
}

func get(t *testing.T, c *s3.Client, bucket, key string) []byte {
	t.Helper()
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	require.NoError(t, err, "get %q", key)
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	require.NoError(t, err, "read %q", key)
	require.Equal(t, int64(len(b)), aws.ToInt64(out.ContentLength))
	return b
}

// status gives the HTTP status and S3 code of an SDK error.
func status(err error) (int, string) {
	var re interface{ HTTPStatusCode() int }
	var ae smithy.APIError
	st, code := 0, ""
	if errors.As(err, &re) {
		st = re.HTTPStatusCode()
	}
	if errors.As(err, &ae) {
		code = ae.ErrorCode()
	}
	return st, code
}

func requireStatus(t *testing.T, err error, want int, code string) {
	t.Helper()
	require.Error(t, err)
	st, c := status(err)
	require.Equal(t, want, st, "%v", err)
	if code != "" {
		require.Equal(t, code, c, "%v", err)
	}
}

var awkwardKeys = []string{
	"plain", "a", "a/b", "a/", "with space", "plus+plus", "100%", "q?x=y", "hash#tag", "ünïcödé/日本語", "//double//slash",
	"/leading", "dot/./../dots", "..", ".", "semi;colon", "a&b=c", "tilde~", "quote'\"", "back\\slash", "tab\tin", "emoji😀",
	strings.Repeat("k", 1024), "new\nline", "<xml>&amp;</xml>", "trailing ", " leading",
}

func TestAWSSDKRoundTrips(t *testing.T) {
	bothTransports(t, func(t *testing.T, n *harness.Node) {
		c, bucket := n.AWS(), n.Bucket(t)
		sizes := []int{0, 1, 1023, 64 << 10, 64<<10 + 1, 1 << 20, 5 << 20, 9<<20 + 7}
		for i, size := range sizes {
			body := noise(uint64(i), size)
			key := fmt.Sprintf("size/%d", size)
			out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
			require.NoError(t, err)
			sum := md5.Sum(body)
			require.Equal(t, `"`+hex.EncodeToString(sum[:])+`"`, aws.ToString(out.ETag))
			require.True(t, bytes.Equal(body, get(t, c, bucket, key)), key)
			head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
			require.NoError(t, err)
			require.Equal(t, int64(size), aws.ToInt64(head.ContentLength))
			require.Equal(t, aws.ToString(out.ETag), aws.ToString(head.ETag))
		}
		for i, key := range awkwardKeys {
			body := noise(uint64(100+i), 10+i)
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
			require.NoError(t, err, "put %q", key)
			require.Equal(t, body, get(t, c, bucket, key), "%q", key)
		}
		var listed []string
		pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(3), EncodingType: types.EncodingTypeUrl})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			require.NoError(t, err)
			for _, o := range page.Contents {
				listed = append(listed, unescapeListed(t, aws.ToString(o.Key)))
			}
		}
		want := slices.Clone(awkwardKeys)
		for _, size := range sizes {
			want = append(want, fmt.Sprintf("size/%d", size))
		}
		slices.Sort(want)
		require.Equal(t, want, listed)
	})
}

func TestAWSSDKLargeOverTLS(t *testing.T) {
	n := harness.Start(t, harness.Options{TLS: true})
	c, bucket := n.AWS(), n.Bucket(t)
	body := noise(1, 100<<20)
	// Over TLS the Go SDK sends the whole body as one aws-chunk with a trailer.
	out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("big"), Body: bytes.NewReader(body),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c})
	require.NoError(t, err)
	require.NotEmpty(t, aws.ToString(out.ChecksumCRC32C))
	require.True(t, bytes.Equal(body, get(t, c, bucket, "big")))
}

func TestAWSSDKStreamsOfUnknownLength(t *testing.T) {
	n := harness.Start(t, harness.Options{TLS: true})
	c, bucket := n.AWS(), n.Bucket(t)
	body := noise(3, 17<<20)
	tm := transfermanager.New(c)
	_, err := tm.UploadObject(t.Context(), &transfermanager.UploadObjectInput{Bucket: &bucket, Key: aws.String("stream"), Body: io.MultiReader(bytes.NewReader(body))})
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, get(t, c, bucket, "stream")))
	w := tmtypes.NewWriteAtBuffer(nil)
	_, err = tm.DownloadObject(t.Context(), &transfermanager.DownloadObjectInput{Bucket: &bucket, Key: aws.String("stream"), WriterAt: w})
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, w.Bytes()))
}

func TestAWSSDKChecksums(t *testing.T) {
	bothTransports(t, func(t *testing.T, n *harness.Node) {
		c, bucket := n.AWS(), n.Bucket(t)
		body := noise(9, 200_000)
		for _, alg := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c,
			types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
			key := string(alg)
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: alg})
			require.NoError(t, err, alg)
			out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
			require.NoError(t, err, alg)
			got, err := io.ReadAll(out.Body) // the SDK verifies while reading
			require.NoError(t, err, alg)
			require.True(t, bytes.Equal(body, got))
			require.Equal(t, types.ChecksumTypeFullObject, out.ChecksumType)
		}
		wrong := "AAAAAA=="
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("wrong"), Body: bytes.NewReader(body), ChecksumCRC32: &wrong})
		requireStatus(t, err, 400, "BadDigest")
		_, err = c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("wrong")})
		requireStatus(t, err, 404, "")
	})
}

func TestAWSSDKConditions(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	put := func(key, body string, f func(*s3.PutObjectInput)) (*s3.PutObjectOutput, error) {
		in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)}
		if f != nil {
			f(in)
		}
		return c.PutObject(t.Context(), in)
	}
	first, err := put("k", "one", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
	require.NoError(t, err)
	_, err = put("k", "two", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
	requireStatus(t, err, 412, "PreconditionFailed")
	_, err = put("k", "two", func(in *s3.PutObjectInput) { in.IfMatch = first.ETag })
	require.NoError(t, err)
	_, err = put("k", "three", func(in *s3.PutObjectInput) { in.IfMatch = first.ETag })
	requireStatus(t, err, 412, "PreconditionFailed")
	_, err = put("absent", "x", func(in *s3.PutObjectInput) { in.IfMatch = first.ETag })
	requireStatus(t, err, 404, "NoSuchKey")
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("k"), IfMatch: first.ETag})
	requireStatus(t, err, 412, "PreconditionFailed")
	_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("k"), IfMatch: first.ETag})
	requireStatus(t, err, 412, "PreconditionFailed")
	require.Equal(t, "two", string(get(t, c, bucket, "k")))
	_, err = c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("k"), IfNoneMatch: etagOf("two")})
	requireStatus(t, err, 304, "")

	// Of any number of racers exactly one wins.
	results := make(chan error, 16)
	for i := range 16 {
		go func() {
			_, err := put("race", fmt.Sprint(i), func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
			results <- err
		}()
	}
	won := 0
	for range 16 {
		if err := <-results; err == nil {
			won++
		} else if st, _ := status(err); st != 412 && st != 409 {
			t.Errorf("a racer got %v", err)
		}
	}
	require.Equal(t, 1, won)
}

func etagOf(body string) *string {
	sum := md5.Sum([]byte(body))
	return aws.String(`"` + hex.EncodeToString(sum[:]) + `"`)
}

func TestAWSSDKMultipart(t *testing.T) {
	bothTransports(t, func(t *testing.T, n *harness.Node) {
		c, bucket := n.AWS(), n.Bucket(t)
		key := "parts/object"
		parts := [][]byte{noise(1, 5<<20), noise(2, 6<<20+3), noise(3, 17)}
		up, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key,
			ContentType: aws.String("text/x-test"), Metadata: map[string]string{"color": "blue"}})
		require.NoError(t, err)
		var done []types.CompletedPart
		md5s := md5.New()
		for i, p := range parts {
			out, err := c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId,
				PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(p)})
			require.NoError(t, err)
			sum := md5.Sum(p)
			md5s.Write(sum[:])
			done = append(done, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(int32(i + 1))})
		}
		_, err = c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
		requireStatus(t, err, 404, "")
		complete := &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: done}}
		out, err := c.CompleteMultipartUpload(t.Context(), complete)
		require.NoError(t, err)
		want := fmt.Sprintf(`"%x-3"`, md5s.Sum(nil))
		require.Equal(t, want, aws.ToString(out.ETag))
		again, err := c.CompleteMultipartUpload(t.Context(), complete)
		require.NoError(t, err, "a repeated identical complete gives the same answer")
		require.Equal(t, want, aws.ToString(again.ETag))
		whole := bytes.Join(parts, nil)
		require.True(t, bytes.Equal(whole, get(t, c, bucket, key)))
		for i := range parts {
			out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, PartNumber: aws.Int32(int32(i + 1))})
			require.NoError(t, err)
			b, err := io.ReadAll(out.Body)
			require.NoError(t, err)
			require.True(t, bytes.Equal(parts[i], b))
			require.Equal(t, int32(3), aws.ToInt32(out.PartsCount))
		}
		rng, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", 5<<20-10, 11<<20+10))})
		require.NoError(t, err)
		b, err := io.ReadAll(rng.Body)
		require.NoError(t, err)
		require.True(t, bytes.Equal(whole[5<<20-10:min(len(whole), 11<<20+11)], b))
		require.Equal(t, "blue", rng.Metadata["color"])
		require.Equal(t, "text/x-test", aws.ToString(rng.ContentType))

		// A copy of a part's range and a copy of the whole move no bytes and read back the same.
		cp, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String("copy"), CopySource: aws.String(bucket + "/" + key)})
		require.NoError(t, err)
		require.Equal(t, want, aws.ToString(cp.CopyObjectResult.ETag))
		_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		require.NoError(t, err)
		require.True(t, bytes.Equal(whole, get(t, c, bucket, "copy")))
	})
}

func TestAWSSDKDeleteObjectsAndTags(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	var ids []types.ObjectIdentifier
	for i := range 20 {
		key := fmt.Sprintf("d/%02d", i)
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(key), Tagging: aws.String("n=" + fmt.Sprint(i))})
		require.NoError(t, err)
		ids = append(ids, types.ObjectIdentifier{Key: aws.String(key)})
	}
	tags, err := c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &bucket, Key: aws.String("d/07")})
	require.NoError(t, err)
	require.Len(t, tags.TagSet, 1)
	require.Equal(t, "7", aws.ToString(tags.TagSet[0].Value))
	out, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: ids}})
	require.NoError(t, err)
	require.Len(t, out.Deleted, 20)
	require.Empty(t, out.Errors)
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	require.NoError(t, err)
	require.Empty(t, list.Contents)
	_, err = c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: &bucket})
	require.NoError(t, err)
	_, err = c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &bucket})
	requireStatus(t, err, 404, "")
}

func TestUsersAreAccountsOfTheirOwn(t *testing.T) {
	cfg := writeConfig(t, `
users:
  - access_key: alice
    secret_key: alice-secret-123
    display_name: Alice
    email: alice@example.com
  - access_key: bob
    secret_key: bob-secret-12345
    canonical_id: bob-the-canonical
`)
	n := harness.Start(t, harness.Options{Args: []string{"--config", cfg}})
	alice, bob := n.AWSAs("alice", "alice-secret-123"), n.AWSAs("bob", "bob-secret-12345")
	_, err := alice.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("alices")})
	require.NoError(t, err)
	_, err = alice.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("alices"), Key: aws.String("k"), Body: strings.NewReader("hers")})
	require.NoError(t, err)
	_, err = bob.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("alices"), Key: aws.String("k")})
	requireStatus(t, err, 403, "AccessDenied")
	_, err = bob.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("alices"), Key: aws.String("k"), Body: strings.NewReader("his")})
	requireStatus(t, err, 403, "AccessDenied")
	_, err = bob.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("alices")})
	requireStatus(t, err, 409, "BucketAlreadyExists")
	_, err = bob.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bobs")})
	require.NoError(t, err)
	_, err = bob.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bobs"), Key: aws.String("stolen"), CopySource: aws.String("alices/k")})
	requireStatus(t, err, 403, "AccessDenied")
	list, err := bob.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	require.NoError(t, err)
	require.Len(t, list.Buckets, 1)
	require.Equal(t, "bob-the-canonical", aws.ToString(list.Owner.ID))
	_, err = n.AWSAs("alice", "wrong").ListBuckets(t.Context(), &s3.ListBucketsInput{})
	requireStatus(t, err, 403, "SignatureDoesNotMatch")
	_, err = n.AWSAs("nobody", "wrong").ListBuckets(t.Context(), &s3.ListBucketsInput{})
	requireStatus(t, err, 403, "InvalidAccessKeyId")
}

func TestPresignedURLs(t *testing.T) {
	bothTransports(t, func(t *testing.T, n *harness.Node) {
		c, bucket := n.AWS(), n.Bucket(t)
		p := s3.NewPresignClient(c)
		key := "presigned key+%ü"
		put, err := p.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key})
		require.NoError(t, err)
		// The URLs are used by curl, which knows nothing of S3.
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("curl is not installed; .ci/run installs it")
		}
		do := func(method, url, body string) (int, string) {
			args := []string{"-sS", "-w", "\n%{http_code}", "-X", method}
			if n.CA != nil {
				args = append(args, "--cacert", n.CertFile())
			}
			if method == http.MethodPut {
				args = append(args, "--data-binary", "@-", "-H", "Content-Type:")
			}
			cmd := exec.Command("curl", append(args, url)...)
			cmd.Stdin = strings.NewReader(body)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			i := bytes.LastIndexByte(out, '\n')
			st, err := strconv.Atoi(string(out[i+1:]))
			require.NoError(t, err)
			return st, string(out[:i])
		}
		st, b := do(put.Method, put.URL, "by url")
		require.Equal(t, 200, st, b)
		g, err := p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, ResponseContentType: aws.String("text/x-mine")})
		require.NoError(t, err)
		st, b = do(g.Method, g.URL, "")
		require.Equal(t, 200, st, b)
		require.Equal(t, "by url", b)
		st, b = do("GET", strings.Replace(g.URL, "X-Amz-Signature=", "X-Amz-Signature=0", 1), "")
		require.Equal(t, 403, st, b)
		require.Contains(t, b, "SignatureDoesNotMatch")
		mc := n.Minio(t)
		up, err := mc.PresignedPutObject(t.Context(), bucket, "by minio-go", time.Minute)
		require.NoError(t, err)
		st, b = do("PUT", up.String(), "again")
		require.Equal(t, 200, st, b)
		u, err := mc.PresignedGetObject(t.Context(), bucket, "by minio-go", time.Minute, nil)
		require.NoError(t, err)
		st, b = do("GET", u.String(), "")
		require.Equal(t, 200, st, b)
		require.Equal(t, "again", b)
	})
}

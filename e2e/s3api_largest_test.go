package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/sigv4"
)

// discardingVolume keeps the lengths of blobs and nothing else. Every blob's bytes are those of pattern, which it checks when they
// come and gives when they are asked for.
type discardingVolume struct {
	pattern []byte // one blob
	mu      sync.Mutex
	lengths map[object.BlobID]int
	read    atomic.Int64 // bytes
}

func (v *discardingVolume) Prepare(_ context.Context, id object.BlobID, _ object.Epochs, data [][]byte) (bool, error) {
	off := 0
	for _, d := range data {
		if off+len(d) > len(v.pattern) || !bytes.Equal(d, v.pattern[off:off+len(d)]) {
			return false, errs.E("test", errs.Corrupt, "not the pattern at %d", off)
		}
		off += len(d)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lengths[id] = off
	return true, nil
}

func (v *discardingVolume) ReadAt(_ context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	v.mu.Lock()
	n, ok := v.lengths[id]
	v.mu.Unlock()
	if !ok {
		return 0, errs.E("test", errs.BlobMissing, "%v", id)
	}
	v.read.Add(int64(len(dst)))
	return copy(dst, v.pattern[off:n]), nil
}

func (v *discardingVolume) Commit(context.Context, ...object.BlobID) error { return nil }
func (v *discardingVolume) Abort(context.Context, ...object.BlobID) error  { return nil }

// signedHead is the head of a request, signed for a body that is not: it can be sent without one.
func (p *inproc) signedHead(method, target string, length int64, header ...string) (*http.Request, []byte) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.URL+target, http.NoBody)
	require.NoError(p.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	payload := sigv4.UnsignedPayload
	if v := req.Header.Get("X-Amz-Content-Sha256"); v != "" {
		payload = v
	}
	req.ContentLength = length
	_, err = sigv4.Signer{AccessKey: inprocKey, SecretKey: inprocSecret, Region: "us-east-1"}.Sign(req, payload, time.Now())
	require.NoError(p.t, err)
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, req.URL.RequestURI(), req.URL.Host, length)
	require.NoError(p.t, req.Header.Write(&head))
	head.WriteString("\r\n")
	return req, head.Bytes()
}

// refusedBeforeBody sends a head alone and wants an error at once, without a 100 Continue before it.
func (p *inproc) refusedBeforeBody(status int, code, method, target string, length int64, header ...string) {
	p.t.Helper()
	req, head := p.signedHead(method, target, length, append(header, "Expect", "100-continue")...)
	c, err := net.Dial("tcp", req.URL.Host)
	require.NoError(p.t, err)
	defer func() { _ = c.Close() }()
	require.NoError(p.t, c.SetDeadline(time.Now().Add(2*time.Minute)))
	_, err = c.Write(head)
	require.NoError(p.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	require.NoError(p.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, status, resp.StatusCode, "%s", body)
	require.Contains(p.t, string(body), "<Code>"+code+"</Code>")
}

// putPattern streams a part of size bytes of the pattern.
func (p *inproc) putPattern(target string, size int64, pattern []byte) string {
	p.t.Helper()
	req, _ := p.signedHead(http.MethodPut, target, size)
	req.Body = io.NopCloser(&repeatReader{block: pattern, n: size})
	resp, err := (&http.Transport{WriteBufferSize: 1 << 20}).RoundTrip(req)
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, resp.StatusCode, "%s", body)
	return resp.Header.Get("ETag")
}

const (
	partMax   = int64(5) << 30
	largest   = 10000 * partMax // 48.8 TiB
	blobBytes = 4 << 20
)

// TestLargestObject: 10,000 parts of 5 GiB become one object of 48.8 TiB, through the front door, the coordinator and a volume that
// discards. One part's bytes are really sent; the others are copies of it, which move none.
func TestLargestObject(t *testing.T) {
	if raceDetector {
		t.Skip("it hashes 5 GiB: .ci/run runs it without the race detector")
	}
	v := &discardingVolume{pattern: noise(9, blobBytes), lengths: map[object.BlobID]int{}}
	p := startInprocOver(t, v)
	c, b := p.bucket()
	began := time.Now()
	src := newUpload(t, c, b, "src")
	etag := p.putPattern("/bucket/src?partNumber=1&uploadId="+*src.id, partMax, v.pattern)
	src.parts = []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: &etag}}
	_, err := src.complete()
	require.NoError(t, err)
	require.Len(t, v.lengths, int(partMax/blobBytes))

	t.Logf("5 GiB sent: %v", time.Since(began).Round(time.Millisecond))
	u := newUpload(t, c, b, "largest")
	u.parts = make([]types.CompletedPart, 10000)
	copyAll(t, u, etag)
	t.Logf("10,000 parts: %v", time.Since(began).Round(time.Millisecond))
	require.Zero(t, v.read.Load(), "a recorded part is copied without being read")
	require.Len(t, v.lengths, int(partMax/blobBytes), "and without being written")

	_, err = u.complete(func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(largest - 1) })
	requireStatus(t, err, 400, "InvalidRequest")
	u.parts = append(u.parts, types.CompletedPart{PartNumber: aws.Int32(10001), ETag: &etag})
	_, err = u.complete()
	requireStatus(t, err, 400, "MalformedXML")
	u.parts = u.parts[:10000]
	out, err := u.complete(func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(largest) })
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(*out.ETag, `-10000"`), *out.ETag)
	t.Logf("completed: %v", time.Since(began).Round(time.Millisecond))
	checkLargest(t, c, b, v.pattern, *out.ETag)
	checkTooLarge(t, p, c, b, v.pattern)
}

// copyAll makes all the parts of an upload of the object src.
func copyAll(t *testing.T, u *upload, etag string) {
	t.Helper()
	const workers = 8
	var wg sync.WaitGroup
	failed := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for n := int32(w + 1); n <= 10000; n += workers {
				out, err := u.c.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: u.bucket, Key: &u.key, UploadId: u.id,
					PartNumber: &n, CopySource: aws.String("bucket/src")})
				if err == nil && *out.CopyPartResult.ETag != etag {
					err = fmt.Errorf("part %d has the ETag %s", n, *out.CopyPartResult.ETag)
				}
				if err != nil {
					failed <- err
					return
				}
				u.parts[n-1] = types.CompletedPart{PartNumber: aws.Int32(n), ETag: out.CopyPartResult.ETag}
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
}

// checkLargest looks at the object from all sides.
func checkLargest(t *testing.T, c *s3.Client, b *string, pattern []byte, etag string) {
	t.Helper()
	key := aws.String("largest")
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: key})
	require.NoError(t, err)
	require.Equal(t, largest, *head.ContentLength)
	require.Equal(t, etag, *head.ETag)
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: b, Prefix: key})
	require.NoError(t, err)
	require.Equal(t, largest, *list.Contents[0].Size)
	require.Equal(t, etag, *list.Contents[0].ETag)
	want := func(first, last int64) []byte {
		out := make([]byte, last-first+1)
		for i := range out {
			out[i] = pattern[(first+int64(i))%blobBytes]
		}
		return out
	}
	for spec, span := range map[string][2]int64{
		"bytes=0-99":                 {0, 99},
		"bytes=-100":                 {largest - 100, largest - 1},
		span(partMax-50, partMax+49): {partMax - 50, partMax + 49}, // parts 1 and 2
		span(largest-partMax-1<<20, largest-partMax+1<<20):     {largest - partMax - 1<<20, largest - partMax + 1<<20}, // parts 9,999 and 10,000
		"bytes=" + strconv.FormatInt(largest-7, 10) + "-":      {largest - 7, largest - 1},
		span(largest-1, largest+1000):                          {largest - 1, largest - 1},
		span(largest/2-blobBytes-3, largest/2-blobBytes+70000): {largest/2 - blobBytes - 3, largest/2 - blobBytes + 70000},
	} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: b, Key: key, Range: &spec})
		require.NoError(t, err, spec)
		got, err := io.ReadAll(out.Body)
		require.NoError(t, err, spec)
		require.NoError(t, out.Body.Close())
		require.True(t, bytes.Equal(want(span[0], span[1]), got), spec)
		require.Equal(t, fmt.Sprintf("bytes %d-%d/%d", span[0], span[1], largest), *out.ContentRange)
	}
	_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: b, Key: key, Range: aws.String(fmt.Sprintf("bytes=%d-", largest))})
	requireStatus(t, err, 416, "InvalidRange")
	part, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: key, PartNumber: aws.Int32(10000)})
	require.NoError(t, err)
	require.Equal(t, partMax, *part.ContentLength)
	require.EqualValues(t, 10000, *part.PartsCount)
	require.Equal(t, fmt.Sprintf("bytes %d-%d/%d", largest-partMax, largest-1, largest), *part.ContentRange)
	attrs, err := c.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: b, Key: key, PartNumberMarker: aws.String("9998"),
		ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesObjectSize}})
	require.NoError(t, err)
	require.Equal(t, largest, *attrs.ObjectSize)
}

func span(first, last int64) string { return fmt.Sprintf("bytes=%d-%d", first, last) }

// checkTooLarge: what is beyond the bounds is refused before a byte of a body is read, be it sent or copied.
func checkTooLarge(t *testing.T, p *inproc, c *s3.Client, b *string, pattern []byte) {
	t.Helper()
	u := newUpload(t, c, b, "bounds")
	at := func(n int) string { return fmt.Sprintf("/bucket/bounds?partNumber=%d&uploadId=%s", n, *u.id) }
	p.refusedBeforeBody(400, "EntityTooLarge", "PUT", at(1), partMax+1)
	p.refusedBeforeBody(400, "EntityTooLarge", "PUT", "/bucket/k", partMax+1)
	p.refusedBeforeBody(400, "EntityTooLarge", "PUT", "/bucket/k", 1<<62)
	p.refusedBeforeBody(400, "EntityTooLarge", "PUT", at(1), 1000, "X-Amz-Content-Sha256", sigv4.PayloadChunkedUnsignedTrailer.String(),
		"X-Amz-Decoded-Content-Length", strconv.FormatInt(partMax+1, 10), "X-Amz-Trailer", "x-amz-checksum-crc32")
	p.refusedBeforeBody(400, "InvalidArgument", "PUT", at(10001), 1000)
	p.refusedBeforeBody(400, "InvalidArgument", "PUT", at(0), 1000)
	before := time.Now()
	for _, rng := range []*string{nil, aws.String(span(0, partMax)), aws.String(span(1, largest-1))} {
		_, err := c.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: b, Key: &u.key, UploadId: u.id, PartNumber: aws.Int32(1),
			CopySource: aws.String("bucket/largest"), CopySourceRange: rng})
		requireStatus(t, err, 400, "EntityTooLarge")
	}
	require.Less(t, time.Since(before), 10*time.Second, "nothing was read")
	_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: b, Key: aws.String("copy"), CopySource: aws.String("bucket/largest"),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
	requireStatus(t, err, 400, "InvalidRequest") // it would have to be read
	_, err = c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: b, Key: aws.String("copy"), CopySource: aws.String("bucket/largest")})
	require.NoError(t, err)
	copied, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: aws.String("copy")})
	require.NoError(t, err)
	require.Equal(t, largest, *copied.ContentLength)
	_, err = c.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: b, Key: &u.key, UploadId: u.id, PartNumber: aws.Int32(10001), CopySource: aws.String("bucket/src")})
	requireStatus(t, err, 400, "InvalidArgument")
	for _, n := range []int32{1, 2} {
		_, err = u.put(n, pattern[:100])
		require.NoError(t, err)
	}
	_, err = u.complete()
	requireStatus(t, err, 400, "EntityTooSmall")
}

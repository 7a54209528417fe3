package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/sigv4"
)

// metric reads one number of /metrics by its name and labels as printed.
func metric(t *testing.T, n *harness.Node, name string) float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.REST+"/metrics", nil)
	require.NoError(t, err)
	req.SetBasicAuth(harness.RootUser, harness.RootPassword)
	resp, err := n.HTTPClient().Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			require.NoError(t, err)
			return v
		}
	}
	t.Fatalf("no %s in the metrics", name)
	return 0
}

// stalledPut sends the head of an upload and a part of its body, and then nothing.
func stalledPut(t *testing.T, n *harness.Node, bucket, key string, size, sent int64) net.Conn {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, n.S3+"/"+bucket+"/"+key, http.NoBody)
	require.NoError(t, err)
	req.ContentLength = size
	_, err = sigv4.Signer{AccessKey: harness.RootUser, SecretKey: harness.RootPassword, Region: "us-east-1"}.Sign(req, sigv4.UnsignedPayload, time.Now())
	require.NoError(t, err)
	var head bytes.Buffer
	fmt.Fprintf(&head, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", req.URL.RequestURI(), req.URL.Host, size)
	require.NoError(t, req.Header.Write(&head))
	head.WriteString("\r\n")
	c, err := net.Dial("tcp", req.URL.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write(head.Bytes())
	require.NoError(t, err)
	go func() { _, _ = c.Write(make([]byte, sent)) }() // as much as the server takes; the end of the test closes it
	return c
}

// endsWithin does something that must end in time, and gives the time it took.
func endsWithin(t *testing.T, most time.Duration, what string, do func(ctx context.Context) error) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	start := time.Now()
	require.NoError(t, do(ctx), what)
	took := time.Since(start)
	t.Logf("%s: %v", what, took.Round(time.Millisecond))
	return took
}

// TestStalledUploadsDelayNobody: hundreds of authenticated uploads stand still and hold all the memory for bodies. A small PUT of
// the same account is answered at once, on both ports, and so is a large one of another account; then the stalled ones are ended.
func TestStalledUploadsDelayNobody(t *testing.T) {
	config := writeConfig(t, "users:\n  - access_key: otherkey\n    secret_key: other-secret-key\n")
	n := harness.Start(t, harness.Options{Args: []string{"--config", config}, Env: map[string]string{"MINIKV_BODY_BUDGET": "32MiB", "MINIKV_IDLE_TIMEOUT": "5m"}})
	c, bucket := n.AWS(), n.Bucket(t)
	other := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &n.S3, UsePathStyle: true, Retryer: aws.NopRetryer{}, HTTPClient: n.HTTPClient(),
		Credentials: credentials.NewStaticCredentialsProvider("otherkey", "other-secret-key", "")})
	theirs := aws.String("theirs")
	_, err := other.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: theirs})
	require.NoError(t, err)
	stalled := make([]net.Conn, 400)
	for i := range stalled {
		stalled[i] = stalledPut(t, n, bucket, fmt.Sprintf("stalled/%d", i), 1<<30, 1<<20)
	}
	harness.Eventually(t, 2*time.Minute, "the memory is taken", func() error {
		if got := metric(t, n, `minikv_gateway_body_bytes{direction="in"}`); got < 16<<20 {
			return fmt.Errorf("%.0f bytes", got)
		}
		return nil
	})
	small := noise(1, 64<<10)
	for i := range 5 {
		endsWithin(t, 10*time.Second, "a small PUT", func(ctx context.Context) error {
			_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String(fmt.Sprint("small", i)), Body: bytes.NewReader(small)})
			return err
		})
	}
	endsWithin(t, 10*time.Second, "a small PUT over REST", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, n.REST+"/small", bytes.NewReader(small))
		require.NoError(t, err)
		req.SetBasicAuth(harness.RootUser, harness.RootPassword)
		resp, err := n.HTTPClient().Do(req)
		if err != nil {
			return err
		}
		require.Equal(t, http.StatusOK, resp.StatusCode)
		return resp.Body.Close()
	})
	large := noise(2, 9<<20)
	endsWithin(t, 25*time.Second, "a large PUT of another account", func(ctx context.Context) error {
		_, err := other.PutObject(ctx, &s3.PutObjectInput{Bucket: theirs, Key: aws.String("large"), Body: bytes.NewReader(large)})
		return err
	})
	require.True(t, bytes.Equal(large, get(t, other, *theirs, "large")))
	harness.Eventually(t, 2*time.Minute, "uploads that stand still are ended", func() error {
		if metric(t, n, "minikv_gateway_bodies_stalled_total") == 0 {
			return fmt.Errorf("none yet")
		}
		return nil
	})
	// A stalled upload was told why it was ended.
	told := make(chan string, len(stalled))
	for _, conn := range stalled {
		go func() {
			_ = conn.SetReadDeadline(time.Now().Add(60 * time.Second))
			b, _ := io.ReadAll(conn)
			told <- string(b)
		}()
	}
	var first string
	for range stalled {
		if first = <-told; first != "" {
			break
		}
	}
	require.Contains(t, first, "HTTP/1.1 ")
	require.True(t, strings.Contains(first, "<Code>RequestTimeout</Code>") || strings.Contains(first, "<Code>SlowDown</Code>"), first)
	endStalled(t, n, "in", stalled)
	require.True(t, bytes.Equal(small, get(t, c, bucket, "small0")))
}

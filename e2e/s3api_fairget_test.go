package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/sigv4"
)

// stalledGet asks for an object, reads the head of the answer, and then nothing, with as small a buffer as can be.
func stalledGet(t *testing.T, n *harness.Node, bucket, key string) net.Conn {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, n.S3+"/"+bucket+"/"+key, http.NoBody)
	require.NoError(t, err)
	_, err = sigv4.Signer{AccessKey: harness.RootUser, SecretKey: harness.RootPassword, Region: "us-east-1"}.Sign(req, sigv4.UnsignedPayload, time.Now())
	require.NoError(t, err)
	var head bytes.Buffer
	fmt.Fprintf(&head, "GET %s HTTP/1.1\r\nHost: %s\r\n", req.URL.RequestURI(), req.URL.Host)
	require.NoError(t, req.Header.Write(&head))
	head.WriteString("\r\n")
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }); cerr != nil {
			return cerr
		}
		return err
	}}
	c, err := d.DialContext(t.Context(), "tcp", req.URL.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write(head.Bytes())
	require.NoError(t, err)
	return c
}

// TestStalledDownloadsDelayNobody: hundreds of clients ask for a large object and read nothing, until they hold all the memory for
// answers. Small GETs of the same account are answered at once, on both ports, and a large one of another account soon; then those that
// stand still are ended.
func TestStalledDownloadsDelayNobody(t *testing.T) {
	config := writeConfig(t, "users:\n  - access_key: otherkey\n    secret_key: other-secret-key\n")
	n := harness.Start(t, harness.Options{Args: []string{"--config", config}, Env: map[string]string{"MINIKV_BODY_BUDGET": "32MiB", "MINIKV_IDLE_TIMEOUT": "5m"}})
	c, bucket := n.AWS(), n.Bucket(t)
	other := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &n.S3, UsePathStyle: true, Retryer: aws.NopRetryer{}, HTTPClient: n.HTTPClient(),
		Credentials: credentials.NewStaticCredentialsProvider("otherkey", "other-secret-key", "")})
	_, err := other.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("theirs")})
	require.NoError(t, err)
	small, large := noise(1, 64<<10), noise(2, 32<<20)
	require.NoError(t, putKey(t.Context(), c, bucket, "large", large))
	require.NoError(t, putKey(t.Context(), c, bucket, "small", small))
	require.NoError(t, putKey(t.Context(), c, "minikv", "small", small))
	require.NoError(t, putKey(t.Context(), other, "theirs", "large", large))

	// Less than the 5 s after which a client that stands still is ended. The machine itself may stand still for a while: best of three.
	const atOnce, crowds = 4 * time.Second, 3
	var stalled []net.Conn
	for crowd := 1; ; crowd++ {
		stalled = stalledGets(t, n, bucket, "large")
		slowest := smallGets(t, n, c, bucket, small)
		if slowest < atOnce {
			break
		}
		require.Less(t, crowd, crowds, "a small GET takes %v behind downloads that stand still, time and again", slowest)
		endStalled(t, n, "out", stalled)
	}
	endsWithin(t, 20*time.Second, "a large GET of another account", func(ctx context.Context) error {
		out, err := other.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("theirs"), Key: aws.String("large")})
		if err != nil {
			return err
		}
		b, err := io.ReadAll(out.Body)
		require.True(t, err != nil || bytes.Equal(large, b))
		return err
	})
	harness.Eventually(t, 2*time.Minute, "downloads that stand still are ended", func() error {
		if metric(t, n, "minikv_gateway_downloads_stalled_total") == 0 {
			return fmt.Errorf("none yet")
		}
		return nil
	})
	endStalled(t, n, "out", stalled)
}

// stalledGets are as many downloads that stand still as take all the memory for answers.
func stalledGets(t *testing.T, n *harness.Node, bucket, key string) []net.Conn {
	t.Helper()
	stalled := make([]net.Conn, 400)
	for i := range stalled {
		stalled[i] = stalledGet(t, n, bucket, key)
	}
	harness.Eventually(t, 2*time.Minute, "the memory is taken", func() error {
		if got := metric(t, n, `minikv_gateway_body_bytes{direction="out"}`); got < 11<<20 {
			return fmt.Errorf("%.0f bytes", got)
		}
		return nil
	})
	return stalled
}

// endStalled hangs up; the memory of bodies in a direction ("in", "out") comes back.
func endStalled(t *testing.T, n *harness.Node, direction string, stalled []net.Conn) {
	t.Helper()
	for _, conn := range stalled {
		_ = conn.Close()
	}
	harness.Eventually(t, 2*time.Minute, "the memory comes back", func() error {
		if got := metric(t, n, fmt.Sprintf("minikv_gateway_body_bytes{direction=%q}", direction)); got != 0 {
			return fmt.Errorf("%.0f bytes", got)
		}
		return nil
	})
}

// smallGets reads small objects on both ports, and gives the longest time that one took.
func smallGets(t *testing.T, n *harness.Node, c *s3.Client, bucket string, small []byte) (slowest time.Duration) {
	t.Helper()
	for range 5 {
		slowest = max(slowest, endsWithin(t, time.Minute, "a small GET", func(ctx context.Context) error {
			out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("small")})
			if err != nil {
				return err
			}
			b, err := io.ReadAll(out.Body)
			require.True(t, err != nil || bytes.Equal(small, b))
			return err
		}))
	}
	return max(slowest, endsWithin(t, time.Minute, "a small GET over REST", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.REST+"/small", nil)
		require.NoError(t, err)
		req.SetBasicAuth(harness.RootUser, harness.RootPassword)
		resp, err := n.HTTPClient().Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		require.True(t, err != nil || bytes.Equal(small, b))
		return err
	}))
}

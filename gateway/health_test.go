package gateway

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

// TestLegacyHealth: probes made for MinIO find what they ask for on the S3 port; a signed request for the same path means an object.
func TestLegacyHealth(t *testing.T) {
	var down atomic.Bool
	f := newFront(t, func(c *Config) {
		c.Ready = func(context.Context) error {
			if down.Load() {
				return errs.E("test", errs.NotLeader, "nobody leads")
			}
			return nil
		}
	})
	status := func(method, target, host string) int {
		req := f.request(method, target, nil)
		req.Host = host
		resp, err := f.transport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	for _, path := range []string{"live", "ready", "cluster", "cluster/read"} {
		require.Equal(t, 200, status("GET", "/minio/health/"+path, f.addr), path)
		require.Equal(t, 200, status("HEAD", "/minio/health/"+path, f.addr), path)
	}
	down.Store(true)
	require.Equal(t, 200, status("GET", "/minio/health/live", f.addr))
	require.Equal(t, 503, status("GET", "/minio/health/ready", f.addr))
	require.Equal(t, 503, status("HEAD", "/minio/health/cluster", f.addr))
	down.Store(false)

	require.Equal(t, 501, status("GET", "/minio/health/cluster?maintenance=true", f.addr))
	for _, other := range []string{"/minio/health", "/minio/health/", "/minio/health/live/", "/minio/health/other", "/minio//health/live", "/minio/prometheus/metrics", "/other/health/live"} {
		require.Contains(t, []int{403, 404}, status("GET", other, f.addr), other)
	}
	require.Equal(t, 404, status("GET", "/minio/health/live", "minio.s3.test"), "a key of a bucket that the host names")
	require.Contains(t, []int{403, 404}, status("DELETE", "/minio/health/live", f.addr))
	require.Contains(t, []int{403, 404}, status(http.MethodPut, "/minio/health/live", f.addr))

	f.expect(200, "", "PUT", "/minio", nil)
	f.expect(404, "NoSuchKey", "GET", "/minio/health/live", nil)
	f.expect(200, "", "PUT", "/minio/health/live", []byte("mine"))
	require.Equal(t, "mine", string(f.expect(200, "", "GET", "/minio/health/live", nil).body))
	require.Equal(t, 200, status("GET", "/minio/health/live", f.addr))
	require.Equal(t, 403, status("GET", "/minio/health/lively", f.addr))
}

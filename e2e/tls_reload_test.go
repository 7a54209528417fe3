package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// leafOf is the certificate that a new connection to a URL is shown.
func leafOf(t *testing.T, url string) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0]
}

// TestTLSReload: a changed certificate is shown to new connections on both ports, running ones go on, and a broken one changes nothing.
func TestTLSReload(t *testing.T) {
	n := harness.Start(t, harness.Options{TLS: true})
	running := n.HTTPClient()
	ask := func() {
		t.Helper()
		resp, err := running.Get(n.REST + "/health/ready")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body) // to its end, so that the connection is kept
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	ask()
	first := leafOf(t, n.S3)
	next := n.ChangeCertificate(t)
	require.NotEqual(t, first.Raw, next.Raw)
	for _, url := range []string{n.S3, n.REST} {
		harness.Eventually(t, time.Minute, "the new certificate on "+url, func() error {
			if got := leafOf(t, url); !got.Equal(next) {
				return fmt.Errorf("still the old one")
			}
			return nil
		})
	}
	ask()
	require.NoError(t, os.WriteFile(n.CertFile(), []byte("broken"), 0o600))
	harness.Eventually(t, time.Minute, "the log tells of the broken certificate", func() error {
		if got := leafOf(t, n.S3); !got.Equal(next) {
			return fmt.Errorf("another certificate")
		}
		if !strings.Contains(n.Log(), "certificate can't be used") {
			return fmt.Errorf("not told")
		}
		return nil
	})
	require.True(t, leafOf(t, n.REST).Equal(next))
	ask()
}

package e2e

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

func writeConfig(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "minikv.yaml")
	require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
	return path
}

// unescapeListed undoes encoding-type=url.
func unescapeListed(t *testing.T, s string) string {
	t.Helper()
	k, err := url.PathUnescape(s)
	require.NoError(t, err)
	return k
}

// lastingMore is how much longer than asked for something may last.
const lastingMore = time.Minute

// lasting ends after d, and later where not enough has happened by then: on a busy machine faults may take nearly all of a short time.
func lasting(parent context.Context, d time.Duration, enough func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(parent, d+lastingMore)
	go func() {
		defer cancel()
		for waitFor(ctx, d); ctx.Err() == nil && !enough(); {
			waitFor(ctx, 100*time.Millisecond)
		}
	}()
	return ctx, cancel
}

func ptr[T any](v T) *T { return &v }

// dialTo is a client that connects to the node whatever the name in the URL is.
func dialTo(n *harness.Node) *http.Client {
	addr := n.S3[strings.LastIndex(n.S3, "/")+1:]
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}}
}

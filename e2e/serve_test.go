package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// serveFails runs `minikv serve` and gives what it said; it must end by itself with a status other than 0.
func serveFails(t *testing.T, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "%s", out)
	require.NoError(t, ctx.Err(), "it went on running: %s", out)
	return string(out)
}

func TestServeRefusesBadSettings(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want []string
	}{
		{"bad fsync", nil, []string{"--fsync", "sometimes"}, []string{"fsync", "sometimes", "always", "interval", "never"}},
		{"unknown flag", nil, []string{"--no-such-flag"}, []string{"no-such-flag"}},
		{"unknown key in the file", nil, []string{"--config", writeConfig(t, "fsnyc: always\n")}, []string{"fsnyc"}},
		{"unknown environment", []string{"MINIKV_FSNYC=always"}, nil, []string{"MINIKV_FSNYC"}},
		{"bad level", nil, []string{"--log-level", "loud"}, []string{"log-level", "loud"}},
		{"dev off loopback", nil, []string{"--dev", "--s3", "0.0.0.0:0"}, []string{"dev", "loopback"}},
		{"half of tls", nil, []string{"--tls-cert", "x.pem"}, []string{"tls-key"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"--data", filepath.Join(dir, "d"), "--s3", "127.0.0.1:0", "--rest", "127.0.0.1:0"}, c.args...)
			out := serveFails(t, c.env, args...)
			for _, w := range c.want {
				require.Contains(t, out, w)
			}
		})
	}
}

func TestServeHoldsItsDirectory(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	out := serveFails(t, nil, "--data", n.Data, "--s3", "127.0.0.1:0", "--rest", "127.0.0.1:0")
	require.Contains(t, out, "pid")
	require.NoError(t, n.Stop(), "SIGTERM ends with status 0")
	n.Run()
}

// TestServeHasASpareProcessor: while a log is synced, another thread runs, unless the user says how many there are.
func TestServeHasASpareProcessor(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	runtime.SetDefaultGOMAXPROCS()
	for _, c := range []struct {
		set  string
		want int
	}{{"", runtime.GOMAXPROCS(0) + 1}, {"5", 5}} {
		n := harness.Start(t, harness.Options{Env: map[string]string{"GOMAXPROCS": c.set}})
		require.Contains(t, metricsOf(t, n), fmt.Sprintf("\ngo_sched_gomaxprocs_threads %d\n", c.want), "GOMAXPROCS=%q", c.set)
	}
}

func TestServeRefusesANewerFormat(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	require.NoError(t, n.Stop())
	path := filepath.Join(n.Data, "minikv.json")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	newer := strings.Replace(string(b), `"format": 1`, `"format": 99`, 1)
	if newer == string(b) {
		newer = strings.Replace(string(b), `"format":1`, `"format":99`, 1)
	}
	require.NotEqual(t, string(b), newer, "%s", b)
	require.NoError(t, os.WriteFile(path, []byte(newer), 0o600))
	out := serveFails(t, nil, "--data", n.Data, "--s3", "127.0.0.1:0", "--rest", "127.0.0.1:0")
	require.Contains(t, out, "99")
	require.Contains(t, out, "1")
}

func TestServeMakesCredentialsOnce(t *testing.T) {
	env := map[string]string{"MINIKV_ROOT_USER": "", "MINIKV_ROOT_PASSWORD": ""}
	n := harness.Start(t, harness.Options{Env: env})
	harness.Eventually(t, time.Minute, "credentials are shown", func() error {
		if !strings.Contains(n.Log(), "aws configure") {
			return errors.New("not yet")
		}
		return nil
	})
	require.NoError(t, n.Stop())
	first := n.Log()
	found := false
	require.NoError(t, filepath.Walk(n.Data, func(path string, info os.FileInfo, err error) error {
		if err == nil && strings.Contains(filepath.Base(path), "credentials") {
			found = true
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
		}
		return err
	}))
	require.True(t, found, "a credentials file in the data directory")
	n.Run()
	require.NotContains(t, strings.TrimPrefix(n.Log(), first), "aws configure", "printed once")
}

func TestServeDefaultBuckets(t *testing.T) {
	n := harness.Start(t, harness.Options{Env: map[string]string{"MINIKV_DEFAULT_BUCKETS": "one-bucket,two-bucket"}})
	out, err := n.AWS().ListBuckets(t.Context(), &s3.ListBucketsInput{})
	require.NoError(t, err)
	var names []string
	for _, b := range out.Buckets {
		names = append(names, *b.Name)
	}
	require.Equal(t, []string{"minikv", "one-bucket", "two-bucket"}, names)
}

func TestVirtualHostStyle(t *testing.T) {
	n := harness.Start(t, harness.Options{Args: []string{"--domain", "s3.localhost"}})
	bucket := n.Bucket(t)
	// The dialer sends every name to the node; the Host header is what the SDK makes of the endpoint.
	endpoint := strings.Replace(n.S3, "127.0.0.1", "s3.localhost", 1)
	c := n.AWS(func(o *s3.Options) {
		o.UsePathStyle = false
		o.BaseEndpoint = &endpoint
		o.HTTPClient = dialTo(n)
	})
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: ptr("v/h"), Body: strings.NewReader("virtual")})
	require.NoError(t, err)
	require.Equal(t, "virtual", string(get(t, c, bucket, "v/h")))
	require.Equal(t, "virtual", string(get(t, n.AWS(), bucket, "v/h")))
}

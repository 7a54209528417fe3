package rest

import (
	"context"
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

// protected are requests of every kind that need credentials.
var protected = []struct{ method, path, body string }{
	{"GET", "/k", ""}, {"HEAD", "/k", ""}, {"PUT", "/k", "x"}, {"DELETE", "/k", ""},
	{"GET", "/kv/k", ""}, {"PUT", "/kv/k", "x"}, {"DELETE", "/kv/k", ""},
	{"GET", "/range", ""}, {"POST", "/batch", `[{"op":"put","key":"k","value":"x"}]`}, {"GET", "/admin/status", ""},
	{"GET", "/debug/pprof/", ""}, {"GET", "/admin/v1/status", ""}, {"POST", "/admin/v1/raft/add", `{"address":"h:1"}`}, {"POST", "/admin/v1/no/such", ""},
}

// R1
func TestNothingWithoutCredentials(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Pprof = http.NotFoundHandler() })
	f.do("PUT", "/k", "kept")
	for _, r := range protected {
		for name, who := range map[string]struct {
			key, secret string
			status      int
		}{
			"nobody":             {"", "", 401},
			"wrong secret":       {rootKey, "root-secret-0124", 401},
			"empty secret":       {rootKey, "", 401},
			"unknown":            {"nobody", rootSecret, 401},
			"unknown, no secret": {"nobody", "", 401},
			"another user":       {bobKey, bobSecret, 403},
		} {
			a := f.doAs(who.key, who.secret, r.method, r.path, r.body)
			require.Equal(t, who.status, a.StatusCode, "%s %s as %s: %s", r.method, r.path, name, a.text)
			if r.method != "HEAD" {
				require.Equal(t, "AccessDenied", errorCode(t, a))
			}
			if who.status == 401 {
				require.Contains(t, a.Header.Get("Www-Authenticate"), "Basic")
			}
		}
	}
	require.Equal(t, "kept", f.do("GET", "/k", "").text)
	require.Equal(t, 1, f.store.puts)
}

func TestAnyOtherCredentialIsRefused(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Open = true })
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(rootKey+":"+rootSecret))
	for name, tc := range map[string]struct {
		path    string
		headers []string
		status  int
	}{
		"bearer":           {"/k", []string{"Authorization", "Bearer x"}, 400},
		"empty":            {"/k", []string{"Authorization", ""}, 403},
		"bad base64":       {"/k", []string{"Authorization", "Basic ???"}, 400},
		"no colon":         {"/k", []string{"Authorization", "Basic cm9vdA=="}, 400},
		"two":              {"/k", []string{"Authorization", basic, "Authorization", basic}, 400},
		"header and query": {"/k?X-Amz-Signature=x", []string{"Authorization", basic}, 400},
		"query of S3":      {"/k?x-amz-tagging=a", []string{"Authorization", basic}, 400},
		"half presigned":   {"/k?X-Amz-Signature=x", nil, 400},
		"v2":               {"/k", []string{"Authorization", "AWS a:b"}, 400},
		"stray token":      {"/k", []string{"X-Amz-Security-Token", "x"}, 400},
		"wrong secret":     {"/k", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(rootKey+":nope"))}, 401},
	} {
		a := f.doAs("", "", "PUT", tc.path, "x", tc.headers...)
		require.Equal(t, tc.status, a.StatusCode, "%s: %s", name, a.text)
	}
	require.Zero(t, f.store.puts, "an open server opens for no credentials only")
	require.Equal(t, 200, f.doAs("", "", "PUT", "/k", "x").StatusCode)
}

func TestPlaintextBasicOffLoopback(t *testing.T) {
	f := newFixture(t)
	f.remote = "192.0.2.7:1234"
	a := f.do("PUT", "/k", "x")
	require.Equal(t, 403, a.StatusCode)
	require.Contains(t, a.text, "TLS")
	f = newFixture(t, func(c *Config) { c.PlaintextBasic = true })
	f.remote = "192.0.2.7:1234"
	require.Equal(t, 200, f.do("PUT", "/k", "x").StatusCode)
}

// R6
func TestForeignPagesAreRefused(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Open = true })
	for name, h := range map[string][]string{
		"fetch metadata": {"Sec-Fetch-Site", "cross-site"},
		"origin":         {"Origin", "https://evil.example"},
		"rebound name":   {"Host", "evil.example"},
	} {
		a := f.doAs("", "", "POST", "/batch", `[{"op":"put","key":"k","value":"x"}]`, h...)
		require.Equal(t, 403, a.StatusCode, name)
	}
	require.Equal(t, 403, f.doAs("", "", "GET", "/k", "", "Host", "evil.example:5000").StatusCode, "reads too")
	require.Zero(t, f.store.puts)
	require.Equal(t, 200, f.doAs("", "", "PUT", "/k", "x", "Host", "localhost:5000").StatusCode)
}

func TestHealthAndOperations(t *testing.T) {
	var notReady error
	f := newFixture(t, func(c *Config) {
		c.Ready = func(context.Context) error { return notReady }
		c.Status = func(context.Context) (any, error) { return map[string]int{"objects": 3}, nil }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("numbers")) })
		c.Pprof = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.URL.Path)) })
	})
	nobody := func(path string) answer { return f.doAs("", "", "GET", path, "") }
	require.Equal(t, 200, nobody("/health/live").StatusCode)
	require.Equal(t, 200, nobody("/health/ready").StatusCode)
	require.Equal(t, "numbers", nobody("/metrics").text, "open on loopback")
	require.Equal(t, "/debug/pprof/heap", f.do("GET", "/debug/pprof/heap", "").text)
	a := f.do("GET", "/admin/status", "")
	require.Equal(t, 200, a.StatusCode)
	require.Contains(t, a.text, `"objects":3`)

	notReady = errs.E("x", errs.Unavailable, "no leader at 10.0.0.1")
	a = nobody("/health/ready")
	require.Equal(t, 503, a.StatusCode)
	require.NotContains(t, a.text, "10.0.0.1")
	require.Equal(t, 200, nobody("/health/live").StatusCode)

	f.remote = "192.0.2.7:1234"
	require.Equal(t, 401, nobody("/metrics").StatusCode, "closed off loopback")
	f.remote = ""
	f.server.Drain()
	notReady = nil
	require.Equal(t, 503, nobody("/health/ready").StatusCode)
}

func TestTwoLengthsAreRefused(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Open = true })
	got := f.raw("PUT /k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello1")
	require.True(t, strings.HasPrefix(got, "HTTP/1.1 400"), got)
	require.Zero(t, f.store.puts)
}

// What is reserved is documented.
func TestReservedSegmentsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/rest.md")
	require.NoError(t, err)
	for name := range reserved {
		require.Contains(t, string(doc), "`"+name+"`")
	}
}

// TestWhatTheStartWaitsFor is told to this machine and to root, not to all.
func TestWhatTheStartWaitsFor(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Store = nil
		c.Waiting = func() []string { return []string{"n2 at 10.0.0.2:5001: connection refused"} }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("numbers")) })
	})
	nobody := func(path string) answer { return f.doAs("", "", "GET", path, "") }
	a := nobody("/health/ready")
	require.Equal(t, 503, a.StatusCode)
	require.Contains(t, a.text, "waiting for the cluster: n2 at 10.0.0.2:5001: connection refused.")
	require.Equal(t, "numbers", nobody("/metrics").text)
	require.Equal(t, 503, f.do("POST", "/admin/v1/status", "").StatusCode, "nobody does operations yet")
	f.remote = "192.0.2.7:1234"
	a = nobody("/health/ready")
	require.Equal(t, 503, a.StatusCode)
	require.Contains(t, a.text, "Starting.")
	require.NotContains(t, a.text, "10.0.0.2")
	require.Equal(t, 401, nobody("/metrics").StatusCode)
}

func TestOnlyHealthBeforeTheStore(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Store = nil })
	require.Equal(t, 200, f.do("GET", "/health/live", "").StatusCode)
	for _, path := range []string{"/health/ready", "/k", "/range", "/admin/status"} {
		require.Equal(t, 503, f.do("GET", path, "").StatusCode, path)
	}
	f.server.Start(f.store, nil, nil)
	require.Equal(t, 200, f.do("GET", "/health/ready", "").StatusCode)
	require.Equal(t, 200, f.do("PUT", "/k", "x").StatusCode)
}

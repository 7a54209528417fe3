package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/sigv4"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(code) }),
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

// lockedBuffer is what a node prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a node of a test.
type running struct {
	t        *testing.T
	cfg      *config.Config
	out, log *lockedBuffer
	stop     context.CancelFunc
	done     chan error
	s3, rest string // URLs
}

const testUser, testSecret = "tester", "tester-secret-0"

func testConfig(t *testing.T) *config.Config {
	c := config.Default()
	c.Data, c.S3, c.REST = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", "127.0.0.1:0"
	c.RootUser, c.RootPassword = testUser, testSecret
	c.Ballast, c.ShutdownTimeout = 1<<20, time.Minute
	return c
}

// start runs a node in this process until it has said where it listens.
func start(t *testing.T, cfg *config.Config) *running {
	t.Helper()
	require.NoError(t, cfg.Validate())
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, cfg: cfg, out: &lockedBuffer{}, log: &lockedBuffer{}, stop: cancel, done: make(chan error, 1)}
	pr, pw := io.Pipe()
	fatal := func(err error) { t.Errorf("fatal: %v", err) }
	go func() {
		r.done <- Run(ctx, cfg, Options{Out: io.MultiWriter(r.out, pw), Log: r.log, Exit: fatal})
		pw.Close()
	}()
	t.Cleanup(func() {
		cancel()
		r.done <- <-r.done // the directory goes when it has ended
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	b := make([]byte, 4096)
	for !strings.Contains(r.out.String(), "REST ") {
		if _, err := pr.Read(b); err != nil {
			t.Fatalf("the node ended: %v", <-r.done)
		}
	}
	go io.Copy(io.Discard, pr)
	for line := range strings.Lines(r.out.String()) {
		switch f := strings.Fields(line); {
		case len(f) == 2 && f[0] == "S3":
			r.s3 = f[1]
		case len(f) == 2 && f[0] == "REST":
			r.rest = f[1]
		}
	}
	return r
}

// end stops the node and gives the error of Run.
func (r *running) end() error {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(3 * time.Minute):
		r.t.Fatal("the node did not end")
		return nil
	}
}

func (r *running) do(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.rest+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.SetBasicAuth(testUser, testSecret)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, string(b)
}

func TestServeRestartAndReadBack(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	large := strings.Repeat("0123456789abcdef", 1<<20)
	for key, value := range map[string]string{"small": "v", "empty": "", "large": large} {
		status, text := r.do("PUT", "/"+key, value)
		require.Equal(t, 200, status, text)
	}
	status, text := r.do("POST", "/batch", `[{"op":"put","key":"b1","value":"1"},{"op":"put","key":"b2","value":"2"},{"op":"get","key":"small"}]`)
	require.Equal(t, 200, status, text)
	require.Contains(t, text, `"value":"v"`)
	status, text = r.do("POST", "/batch", `[{"op":"put","key":"b3","value":"1"},{"op":"delete","key":"b1","if_match":"00000000000000000000000000000000"}]`)
	require.Equal(t, 412, status, text)
	require.Contains(t, text, `"op":1`)
	require.NoError(t, r.end())

	r = start(t, cfg)
	_, text = r.do("GET", "/large", "")
	require.True(t, large == text, "%d bytes", len(text))
	status, _ = r.do("GET", "/b3", "")
	require.Equal(t, 404, status)
	_, text = r.do("GET", "/range?include_values=true&start=b&end=f", "")
	require.Contains(t, text, `"count":3`)
	_, text = r.do("GET", "/range?reverse=true&limit=1", "")
	require.Contains(t, text, `"key":"small"`)
	_, text = r.do("GET", "/range?reverse=true&prefix=b&limit=1", "")
	require.Contains(t, text, `"key":"b2"`)
	status, _ = r.do("DELETE", "/small", "")
	require.Equal(t, 204, status)
	require.NoError(t, r.end())
}

// Pages through a real store, in both directions, with a prefix, whatever the page size.
func TestRangePagesOfARealStore(t *testing.T) {
	r := start(t, testConfig(t))
	var ops []string
	for i := range 25 {
		ops = append(ops, fmt.Sprintf(`{"op":"put","key":"p/%02d","value":"%d"}`, i, i), fmt.Sprintf(`{"op":"put","key":"q%02d","value":"x"}`, i))
	}
	status, text := r.do("POST", "/batch", "["+strings.Join(ops, ",")+"]")
	require.Equal(t, 200, status, text)
	key := regexp.MustCompile(`"key":"([^"]*)"`)
	next := regexp.MustCompile(`"next_cursor":"([^"]*)"`)
	for _, reverse := range []bool{false, true} {
		var want, got []string
		for i := range 25 {
			want = append(want, fmt.Sprintf("p/%02d", i))
		}
		query := "/range?prefix=p/&limit=7"
		if reverse {
			slices.Reverse(want)
			query += "&reverse=true"
		}
		cursor := ""
		for range 10 {
			_, text := r.do("GET", query+cursor, "")
			for _, m := range key.FindAllStringSubmatch(text, -1) {
				got = append(got, m[1])
			}
			m := next.FindStringSubmatch(text)
			if m == nil {
				break
			}
			cursor = "&cursor=" + m[1]
		}
		require.Equal(t, want, got)
	}
	require.NoError(t, r.end())
}

func TestMetricsStatusAndSecrets(t *testing.T) {
	cfg := testConfig(t)
	cfg.LogLevel, cfg.Pprof = "debug", true
	r := start(t, cfg)
	r.do("PUT", "/k", "value")
	status, text := r.do("GET", "/metrics", "")
	require.Equal(t, 200, status)
	for _, name := range []string{
		"minikv_build_info", "minikv_coordinator_ready 1", "minikv_raft_applied_index", `minikv_volume_blobs{volume="1"} 1`,
		`minikv_volume_prepares_total{volume="1"} 1`, `minikv_rest_request_seconds_count{operation="put",status="200"} 1`, `minikv_volume_scrub_running{volume="1"}`, `minikv_volume_dead_bytes{volume="1"} 0`, "go_goroutines",
	} {
		require.Contains(t, text, name)
	}
	status, text = r.do("GET", "/admin/status", "")
	require.Equal(t, 200, status)
	require.Contains(t, text, `"objects":1`)
	status, _ = r.do("GET", "/debug/pprof/goroutine?debug=1", "")
	require.Equal(t, 200, status)
	require.NoError(t, r.end())
	basic := base64.StdEncoding.EncodeToString([]byte(testUser + ":" + testSecret))
	for _, secret := range []string{testSecret, basic} {
		require.NotContains(t, r.log.String()+r.out.String(), secret)
		require.NoError(t, filepath.WalkDir(cfg.Data, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			require.False(t, bytes.Contains(b, []byte(secret)), path)
			return err
		}))
	}
}

// upload begins a PUT of n bytes by hand and returns when its handler waits for the body.
func (r *running) upload(path string, n int) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.rest, "http://"))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { c.Close() })
	basic := base64.StdEncoding.EncodeToString([]byte(testUser + ":" + testSecret))
	_, err = fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\nAuthorization: Basic %s\r\n\r\n", path, n, basic)
	require.NoError(r.t, err)
	b := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	_, err = io.ReadFull(c, b)
	require.NoError(r.t, err)
	require.Contains(r.t, string(b), "100 Continue")
	return c
}

// N2: what runs at SIGTERM is answered; nothing new is accepted.
func TestDrainLetsARequestEnd(t *testing.T) {
	r := start(t, testConfig(t))
	c := r.upload("/slow", len("first half, second half"))
	r.stop()
	addr := strings.TrimPrefix(r.rest, "http://")
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, time.Minute, time.Millisecond, "the port is closed")
	for _, half := range []string{"first half, ", "second half"} {
		_, err := io.WriteString(c, half)
		require.NoError(t, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.NoError(t, r.end())
	r = start(t, r.cfg)
	_, text := r.do("GET", "/slow", "")
	require.Equal(t, "first half, second half", text)
	require.NoError(t, r.end())
}

// A request that never ends does not keep the process.
func TestDrainIsBounded(t *testing.T) {
	cfg := testConfig(t)
	cfg.ShutdownTimeout = 100 * time.Millisecond
	r := start(t, cfg)
	r.upload("/k", 10)
	require.NoError(t, r.end())
	require.Contains(t, r.log.String(), "broken off")
}

func TestAnotherVolumeIsRefused(t *testing.T) {
	cfg := testConfig(t)
	require.NoError(t, start(t, cfg).end())
	require.NoError(t, os.RemoveAll(filepath.Join(cfg.Data, "volume-1")))
	err := Run(t.Context(), cfg, Options{Out: io.Discard, Log: io.Discard})
	require.True(t, errs.Is(err, errs.Conflict), "%v", err)
	require.Contains(t, err.Error(), "bring that one back")
}

func TestBucketsAtStart(t *testing.T) {
	cfg := testConfig(t)
	cfg.Users = []config.User{{AccessKey: "alice", SecretKey: "alice-secret-0", CanonicalID: "alice-id", AccountID: "000000000001"}}
	cfg.DefaultBuckets = []string{"one-bucket", "minikv"}
	r := start(t, cfg)
	require.NoError(t, r.end())
	cfg.Users[0].CanonicalID, cfg.Users[0].AccountID = config.DefaultIDs(rootName)
	err := Run(t.Context(), cfg, Options{Out: io.Discard, Log: io.Discard})
	require.ErrorContains(t, err, "alice")
	cfg.Users = nil
	cfg.RESTBucket = "one-bucket" // made as an ordinary one
	cfg.DefaultBuckets = nil
	r = start(t, cfg)
	status, text := r.s3Do("DELETE", "/one-bucket", "")
	require.Equal(t, 400, status, "it is bound now")
	require.Contains(t, text, "bound to the native API")
	require.NoError(t, r.end())
	cfg.RESTBucket = "another-one"
	r = start(t, cfg)
	status, text = r.s3Do("DELETE", "/one-bucket", "")
	require.Equal(t, 204, status, text)
	require.NoError(t, r.end())
	cfg.RootUser = "renamed" // root's bucket under a new access key
	r = start(t, cfg)
	require.NoError(t, r.end())
}

func TestWriteLimitStaysBelowTheHorizon(t *testing.T) {
	n := &Node{cfg: config.Default()}
	require.Equal(t, 24*time.Hour, n.writeLimit())
	n.cfg.EpochInterval, n.cfg.HorizonLag = time.Second, 4
	require.Equal(t, 2*time.Second, n.writeLimit())
}

func TestLifeOf(t *testing.T) {
	for state, want := range map[uint32]object.RunLife{0: object.RunNone, 1: object.RunDying, 2: object.RunAlive} {
		got, err := lifeOf(state)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := lifeOf(3)
	require.Error(t, err, "an unknown state must not drop blobs")
}

func TestCgroupLimit(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		return name
	}
	self := write("self", "0::/a/b\n")
	_, ok := cgroupLimit(self, dir)
	require.False(t, ok)
	write("a/b/memory.max", "max\n")
	write("a/memory.max", "1073741824\n")
	got, ok := cgroupLimit(self, dir)
	require.True(t, ok)
	require.EqualValues(t, 1<<30, got)
	write("a/b/memory.max", "1000\n")
	got, _ = cgroupLimit(self, dir)
	require.EqualValues(t, 1000, got)
}

func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{"0.0.0.0:1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "10.0.0.1:1": "10.0.0.1:1"} {
		require.Equal(t, want, reachable(addr))
	}
}

// s3Do signs and sends an S3 request.
func (r *running) s3Do(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.s3+path, strings.NewReader(body))
	require.NoError(r.t, err)
	_, err = sigv4.Signer{AccessKey: testUser, SecretKey: testSecret, Region: "us-east-1"}.Sign(req, sigv4.UnsignedPayload, time.Now())
	require.NoError(r.t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, string(b)
}

// REST and S3 show the same objects; the bound bucket cannot be deleted.
func TestSameObjectsOnBothPorts(t *testing.T) {
	r := start(t, testConfig(t))
	status, text := r.s3Do("PUT", "/minikv/a%20b/ü", "from S3")
	require.Equal(t, 200, status, text)
	status, text = r.do("GET", "/a%20b/ü", "")
	require.Equal(t, "from S3", text, status)
	r.do("PUT", "/health%2Fx", "refused")
	r.do("PUT", "/kv/health/x", "from REST")
	status, text = r.s3Do("GET", "/minikv/health/x", "")
	require.Equal(t, "from REST", text, status)
	_, text = r.do("DELETE", "/kv/health/x", "")
	require.Empty(t, text)
	r.do("DELETE", "/a%20b/ü", "")
	status, text = r.s3Do("DELETE", "/minikv", "")
	require.GreaterOrEqual(t, status, 400, text)
	require.NoError(t, r.end())
}

// I11: a full disk refuses writes on both ports, and only those.
func TestFullDisk(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	r.do("PUT", "/k", "kept")
	require.NoError(t, r.end())
	cfg.VolumeReserve = 1 << 49
	r = start(t, cfg)
	status, text := r.do("PUT", "/new", "x")
	require.Equal(t, 507, status)
	require.Contains(t, text, `"code":"InsufficientStorage"`)
	status, text = r.do("POST", "/batch", `[{"op":"put","key":"new","value":"x"}]`)
	require.Equal(t, 507, status, text)
	status, text = r.s3Do("PUT", "/minikv/new", "x")
	require.Equal(t, 507, status)
	require.Contains(t, text, "InsufficientStorage")
	_, text = r.do("GET", "/k", "")
	require.Equal(t, "kept", text)
	_, text = r.do("GET", "/range", "")
	require.Contains(t, text, `"count":1`)
	status, _ = r.do("DELETE", "/k", "")
	require.Equal(t, 204, status)
	status, _ = r.do("GET", "/health/ready", "")
	require.Equal(t, 200, status, "reads and deletes go on")
	require.NoError(t, r.end())
}

// A batch of a thousand keys of full length is one decision.
func TestLargeBatch(t *testing.T) {
	r := start(t, testConfig(t))
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `,{"op":"put","key":"%s%04d","value":"v%d"}`, strings.Repeat("k", 1020), i, i)
	}
	status, text := r.do("POST", "/batch", "["+b.String()[1:]+"]")
	require.Equal(t, 200, status, "%.300s", text)
	_, text = r.do("GET", "/range?limit=1000", "")
	require.Contains(t, text, `"count":1000`)
	b.Reset()
	for i := range 5000 {
		fmt.Fprintf(&b, `,{"op":"put","key":"n/%04d","value":"v"}`, i)
	}
	status, text = r.do("POST", "/batch", "["+b.String()[1:]+"]")
	require.Contains(t, []int{200, 413}, status, "%.300s", text)
	t.Logf("5,000 puts in one batch: %d", status)
	require.NoError(t, r.end())
}

func TestTermBeforeReadyIsACleanEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, Run(ctx, testConfig(t), Options{Out: io.Discard, Log: io.Discard}))
}

// Package harness runs the real minikv binary for tests: start, wait until ready, kill, restart, talk to it.
package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Root credentials of every node that the harness starts.
const (
	RootUser     = "rootkey"
	RootPassword = "root-secret-key-0123456789"
	readyWithin  = 2 * time.Minute
)

// Options of a node.
type Options struct {
	Args []string          // further flags of `minikv serve`
	Env  map[string]string // further environment
	TLS  bool              // S3 and REST over TLS with a certificate made for the test
	Data string            // data directory; empty: a temporary one
	// Faults runs the binary of the fault suite: see SetClock and SetDisk.
	Faults bool
	// Wrap starts the command by other means, for example inside a cgroup: it gets the command before Start.
	Wrap func(*exec.Cmd)
}

// Node is one `minikv serve` process and its directory.
type Node struct {
	Name     string // in a cluster
	S3, REST string // URLs
	Data     string
	CA       *x509.CertPool // with TLS

	t    testing.TB
	opts Options
	args []string
	cert *certificate

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // of Wait, once done
	log  *bytes.Buffer

	parts []*Node // the processes of a cluster that stands for a node; then cmd is nil

	frozen bool
}

// Start runs a node and waits until it is ready; the test's end stops it.
func Start(t testing.TB, opts Options) *Node {
	t.Helper()
	if Tiers() {
		return startTiers(t, opts)
	}
	n := &Node{t: t, opts: opts, Data: opts.Data, log: &bytes.Buffer{}}
	if n.Data == "" {
		n.Data = filepath.Join(t.TempDir(), "data")
	}
	s3, rest := freePort(t), freePort(t)
	n.args = append([]string{"serve", "--data", n.Data, "--s3", s3, "--rest", rest}, opts.Args...)
	scheme := "http"
	if opts.TLS {
		scheme = "https"
		n.cert = newCertificate(t)
		n.CA = n.cert.pool
		n.args = append(n.args, "--tls-cert", n.cert.certFile, "--tls-key", n.cert.keyFile)
	}
	n.S3, n.REST = scheme+"://"+s3, scheme+"://"+rest
	n.Run()
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", n.S3, tail(n.Log(), 6000))
		}
	})
	return n
}

// Run starts the process of a stopped node and waits until it is ready.
func (n *Node) Run() {
	n.t.Helper()
	if err := n.Launch(); err != nil {
		n.t.Fatalf("start: %v", err)
	}
	n.WaitReady()
}

// Launch starts the process without waiting for it to be ready.
func (n *Node) Launch() error {
	if n.parts != nil {
		return n.launchParts()
	}
	binary, faults := Binary, []string(nil)
	if n.opts.Faults {
		var err error
		if faults, err = n.prepareFaults(); err != nil {
			return err
		}
		binary = FaultBinary
	}
	cmd := exec.Command(binary(n.t), n.args...)
	cmd.Env = append(os.Environ(), "MINIKV_ROOT_USER="+RootUser, "MINIKV_ROOT_PASSWORD="+RootPassword)
	cmd.Env = append(cmd.Env, faults...)
	for k, v := range n.opts.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	w := &lockedWriter{n: n}
	cmd.Stdout, cmd.Stderr = w, w
	if n.opts.Wrap != nil {
		n.opts.Wrap(cmd)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	n.mu.Lock()
	n.cmd, n.done, n.err, n.frozen = cmd, done, nil, false
	n.mu.Unlock()
	go func() {
		err := cmd.Wait()
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		close(done)
	}()
	return nil
}

// WaitReady waits until the node answers that it is ready.
func (n *Node) WaitReady() {
	n.t.Helper()
	if n.parts != nil {
		for _, p := range n.parts[len(n.parts)-tierGateways:] {
			p.WaitReady()
		}
		return
	}
	client := n.HTTPClient()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, client, n.REST) {
			return
		}
		select {
		case <-n.done:
			n.t.Fatalf("the node ended before it was ready: %v\n%s", n.err, tail(n.Log(), 4000))
		case <-ctx.Done():
			n.t.Fatalf("the node was not ready within %v\n%s", readyWithin, tail(n.Log(), 4000))
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, client *http.Client, rest string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rest+"/health/ready", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// Kill ends the process with SIGKILL and waits for its end.
func (n *Node) Kill() { _ = n.signal(syscall.SIGKILL) }

// Stop ends the process with SIGTERM and gives its exit error, nil for status 0.
func (n *Node) Stop() error { return n.signal(syscall.SIGTERM) }

func (n *Node) signal(sig syscall.Signal) error {
	if n.parts != nil {
		return n.eachPart(func(p *Node) error { return p.signal(sig) })
	}
	n.mu.Lock()
	cmd, done := n.cmd, n.done
	n.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Errorf("signal %v: %v", sig, err)
	}
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		_ = cmd.Process.Kill()
		<-done
		n.t.Errorf("the process did not end within a minute of %v", sig)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd = nil
	return n.err
}

// Wait waits for the process to end by itself and gives its exit error.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-n.done:
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Restart kills the process without warning and runs it again on the same directory.
func (n *Node) Restart() {
	n.t.Helper()
	n.Kill()
	n.Run()
}

// Pid is the process id.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

// Log is what the process wrote to standard output and error.
func (n *Node) Log() string {
	if n.parts != nil {
		return n.partLogs()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.String()
}

// HTTPClient trusts the node's certificate and keeps many connections.
func (n *Node) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: n.CA, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 256,
	}}
}

// CertFile is the certificate of a node with TLS, PEM, which is its own authority.
func (n *Node) CertFile() string { return n.cert.certFile }

type lockedWriter struct{ n *Node }

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	return w.n.log.Write(p)
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// trouble is the last n lines of a log that warn, tell of an error or of a request that was not served, and of who leads.
func trouble(log string, n int) string {
	var lines []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "/admin/status") { // tests ask again and again
			continue
		}
		for _, mark := range []string{"\tWARN\t", "\tERROR\t", "\"status\": 5", " leads"} {
			if strings.Contains(line, mark) {
				lines = append(lines, line)
				break
			}
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// Eventually polls until ok holds or the time is over; then it looks once more, as the machine may have stood still.
func Eventually(t testing.TB, within time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			if err = ok(); err == nil {
				return
			}
			t.Fatalf("%s: not within %v: %v", what, within, err)
		case <-tick.C:
		}
	}
}

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary is the path of the binary under test: $MINIKV_BIN, or one built once from this module.
func Binary(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("MINIKV_BIN"); p != "" {
		return p
	}
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "minikv-bin")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "minikv")
		out, err := exec.Command("go", "build", "-o", build.path, "minikv/cmd/minikv").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatalf("build the binary: %v", build.err)
	}
	return build.path
}

// Cleanup removes what Binary built; for TestMain.
func Cleanup() {
	for _, path := range []string{build.path, faultBuild.path} {
		if path != "" {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	}
}

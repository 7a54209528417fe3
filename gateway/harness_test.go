package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest/observer"

	"go.uber.org/zap"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/sigv4"
)

// front is a Server on a loopback port, over a fake store.
type front struct {
	t      *testing.T
	store  *fakeStore
	server *Server
	addr   string
	logs   *observer.ObservedLogs

	connect   func() (net.Conn, error)
	transport *http.Transport
}

const (
	aliceKey, aliceSecret = "AKALICE", "alice-secret"
	bobKey, bobSecret     = "AKBOB", "bob-secret"
)

var testUsers = []iam.User{
	{Account: iam.Account{AccessKey: aliceKey, CanonicalID: "alice-id", AccountID: "111111111111", DisplayName: "alice"}, SecretKey: aliceSecret},
	{Account: iam.Account{AccessKey: bobKey, CanonicalID: "bob-id", AccountID: "222222222222", DisplayName: "bob"}, SecretKey: bobSecret},
}

func newFront(t *testing.T, change ...func(*Config)) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := serveFront(t, l, change...)
	f.connect = func() (net.Conn, error) { return net.Dial("tcp", f.addr) }
	f.transport = transport
	return f
}

// serveFront is newFront on a listener; how to get there is left to the caller.
func serveFront(t *testing.T, l net.Listener, change ...func(*Config)) *front {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	f := &front{t: t, store: newFakeStore(), logs: logs}
	objs := objects.New(f.store, f.store, objects.Options{})
	cfg := Config{Objects: objs, Directory: iam.NewDirectory(testUsers), Log: zap.New(core), Domains: []string{"s3.test"}}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	f.server, err = New(cfg)
	require.NoError(t, err)
	f.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- f.server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = f.server.Shutdown(ctx)
		require.ErrorIs(t, <-done, http.ErrServerClosed)
		objs.Close()
	})
	return f
}

// answer is a response, read to its end.
type answer struct {
	*http.Response
	body []byte
}

type errorDoc struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Resource  string
	RequestID string `xml:"RequestId"`
	Header    string
	Region    string
	Condition string
}

func (a *answer) err(t *testing.T) errorDoc {
	t.Helper()
	var e errorDoc
	require.NoError(t, xml.Unmarshal(a.body, &e), "%s: %s", a.Status, a.body)
	return e
}

func (f *front) request(method, target string, body []byte, header ...string) *http.Request {
	f.t.Helper()
	req, err := http.NewRequest(method, "http://"+f.addr+target, bytes.NewReader(body))
	require.NoError(f.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header[http.CanonicalHeaderKey(header[i])] = append(req.Header[http.CanonicalHeaderKey(header[i])], header[i+1])
	}
	return req
}

// transport adds nothing of its own.
var transport = &http.Transport{DisableCompression: true}

func (f *front) send(req *http.Request) *answer {
	f.t.Helper()
	resp, err := f.transport.RoundTrip(req)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	return &answer{resp, body}
}

func sign(t *testing.T, req *http.Request, key, secret string, body []byte) *http.Request {
	t.Helper()
	sum := sha256.Sum256(body)
	_, err := sigv4.Signer{AccessKey: key, SecretKey: secret, Region: "us-east-1", Service: "s3"}.Sign(req, hex.EncodeToString(sum[:]), time.Now())
	require.NoError(t, err)
	return req
}

// do signs as alice and sends.
func (f *front) do(method, target string, body []byte, header ...string) *answer {
	f.t.Helper()
	return f.send(sign(f.t, f.request(method, target, body, header...), aliceKey, aliceSecret, body))
}

// as signs as bob and sends.
func (f *front) doBob(method, target string, body []byte, header ...string) *answer {
	f.t.Helper()
	return f.send(sign(f.t, f.request(method, target, body, header...), bobKey, bobSecret, body))
}

// expect does a request as alice and wants an S3 error (or, with code "", success).
func (f *front) expect(status int, code, method, target string, body []byte, header ...string) *answer {
	f.t.Helper()
	return f.want(f.do(method, target, body, header...), status, code)
}

func (f *front) want(a *answer, status int, code string) *answer {
	f.t.Helper()
	require.Equal(f.t, status, a.StatusCode, "%s", a.body)
	if code != "" && a.Request.Method != http.MethodHead && status != http.StatusNotModified {
		e := a.err(f.t)
		require.Equal(f.t, code, e.Code, "%s", a.body)
		require.Equal(f.t, a.Header.Get("x-amz-request-id"), e.RequestID)
	}
	require.NotEmpty(f.t, a.Header.Get("x-amz-request-id"))
	require.NotEmpty(f.t, a.Header.Get("x-amz-id-2"))
	require.NotEmpty(f.t, a.Header.Get("Date"))
	require.Equal(f.t, "minikv", a.Header.Get("Server"))
	return a
}

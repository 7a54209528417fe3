package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/gateway"
	"minikv/gateway/iam"
	"minikv/gateway/rest"
	"minikv/sigv4"
)

func TestConnectionShares(t *testing.T) {
	for descriptors, want := range map[uint64][2]int{256: {128, 32}, 1: {1, 1}, 1 << 40: {16384, 4096}, 20000: {10000, 2500}} {
		s3, rest := connectionShares(descriptors)
		require.Equal(t, want, [2]int{s3, rest}, "of %d", descriptors)
	}
}

// A client alone gains by connections that are not paced, a crowd loses.
func TestOnlyFewConnectionsAreNotPaced(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer inner.Close()
	l := newLimitListener(inner, connectionLimits{total: 20})
	unpaced := 0
	l.unpace = func(net.Conn) { unpaced++ }
	open := make([]net.Conn, 0, 10)
	accept := func() {
		d, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		defer d.Close()
		c, err := l.Accept()
		require.NoError(t, err)
		open = append(open, c)
	}
	for range 10 {
		accept()
	}
	require.Equal(t, unpacedMost, unpaced)
	for _, c := range open {
		require.NoError(t, c.Close())
	}
	accept()
	defer open[10].Close()
	require.Equal(t, unpacedMost+1, unpaced, "after the crowd has gone")
}

// Connections that send nothing must not take what the store needs to open files.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := newLimitListener(inner, connectionLimits{total: 2})
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	require.Len(t, l.free, 2)
	require.NoError(t, first.Close())
	require.Error(t, first.Close(), "a place is given back once")
	third := <-accepted
	require.NoError(t, third.Close())
	require.NoError(t, second.Close())
	require.NoError(t, l.Close())
	for range accepted {
		t.Fatal("accepted after Close")
	}
}

// dialFrom connects from a loopback address.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Minute}
	c, err := d.Dial("tcp", to)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// One address with many connections leaves room for others; exempt ones have no bound of their own.
func TestConnectionsPerAddress(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := inner.Addr().String()
	var refused atomic.Uint64
	l := newLimitListener(inner, connectionLimits{total: 20, perAddress: 2, exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.8/30")}, refused: &refused})
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	closed := func(c net.Conn) {
		t.Helper()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	dialFrom(t, "127.0.0.2", addr)
	first := <-accepted
	dialFrom(t, "127.0.0.2", addr)
	<-accepted
	for range 3 {
		closed(dialFrom(t, "127.0.0.2", addr))
	}
	require.EqualValues(t, 3, refused.Load())
	dialFrom(t, "127.0.0.3", addr)
	<-accepted
	require.NoError(t, first.Close())
	dialFrom(t, "127.0.0.2", addr)
	<-accepted
	closed(dialFrom(t, "127.0.0.2", addr))
	for range 5 {
		dialFrom(t, "127.0.0.9", addr)
		<-accepted
	}
	require.Equal(t, 2, newLimitListener(inner, connectionLimits{total: 4, perAddress: 100}).limits.perAddress, "half of all at most")
	require.Len(t, l.open, 2)
}

// With all places of the REST port taken, health and metrics are answered, and nothing else is.
func TestHealthIsNotStarved(t *testing.T) {
	for _, name := range []string{"http", "https"} {
		t.Run(name, func(t *testing.T) {
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			client, tlsConfig := &http.Client{Transport: &http.Transport{}}, (*tls.Config)(nil)
			if name == "https" {
				s := httptest.NewTLSServer(nil) // for its certificate
				defer s.Close()
				client, tlsConfig = s.Client(), &tls.Config{Certificates: s.TLS.Certificates}
			}
			defer client.CloseIdleConnections()
			l := newLimitListener(inner, connectionLimits{total: 3, spare: spareConnections})
			directory := iam.NewDirectory(nil)
			server := rest.New(rest.Config{
				Bucket: "minikv", Directory: directory, Verifier: sigv4.NewVerifier(sigv4.Options{Keys: directory}),
				Spare:   func(c net.Conn) bool { return isSpare(gateway.Underlying(c)) },
				Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
			})
			server.Start(nil, nil, nil)
			done := make(chan error, 1)
			go func() { done <- server.Serve(gateway.Guard(l, tlsConfig, 0)) }()
			defer func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_ = server.Shutdown(ctx)
				require.NoError(t, <-done)
			}()
			for range 3 {
				dialFrom(t, "127.0.0.1", inner.Addr().String())
			}
			ask := func(path string, want int) {
				t.Helper()
				resp, err := client.Get(name + "://" + inner.Addr().String() + path)
				require.NoError(t, err)
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
				require.True(t, resp.Close, "one request only")
				require.Equal(t, want, resp.StatusCode, path)
			}
			const asked = 5
			for range spareConnections/asked + 1 { // more than there are spare ones, before the silent ones are let go
				ask("/health/live", 200)
				ask("/health/ready", 200)
				ask("/metrics", 200)
				ask("/kv/a", 503)
				ask("/range", 503)
			}
		})
	}
}

// What can be read in two ways is refused on the REST port as on the S3 port, and what follows it is not looked at.
func TestRESTHeadsAreReadInOneWay(t *testing.T) {
	r := start(t, testConfig(t))
	addr := strings.TrimPrefix(r.rest, "http://")
	auth := func() string {
		req, err := http.NewRequest(http.MethodGet, r.rest, nil)
		require.NoError(t, err)
		req.SetBasicAuth(testUser, testSecret)
		return "Authorization: " + req.Header.Get("Authorization") + "\r\n"
	}()
	for name, tc := range map[string]struct {
		text string
		code string
	}{
		"length and coding": {"PUT /kv/a HTTP/1.1\r\nHost: h\r\n" + auth + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /kv/b HTTP/1.1\r\nHost: h\r\n\r\n", "BadRequest"},
		"two lengths":       {"PUT /kv/a HTTP/1.1\r\nHost: h\r\n" + auth + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", "BadRequest"},
		"bare LF":           {"GET /kv/a HTTP/1.1\nHost: h\n" + auth + "\n", "BadRequest"},
		"folded":            {"GET /kv/a HTTP/1.1\r\nHost: h\r\n" + auth + "X-A: b\r\n c\r\n\r\n", "BadRequest"},
		"large":             {"GET /kv/a HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", 9000) + "\r\n\r\n", "RequestHeaderSectionTooLarge"},
		"forged stand-in":   {"GET /kv/a HTTP/1.1\r\nHost: h\r\n" + auth + "X-Minikv-Refused-Head: x\r\nConnection: close\r\n\r\n", "NoSuchKey"},
		"malformed chunk":   {"PUT /kv/a HTTP/1.1\r\nHost: h\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "IncompleteBody"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
			_, err = io.WriteString(c, tc.text)
			require.NoError(t, err)
			b := bufio.NewReader(c)
			resp, err := http.ReadResponse(b, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Contains(t, string(body), fmt.Sprintf("%q", tc.code))
			require.Less(t, resp.StatusCode, 500)
			_, err = b.ReadByte()
			require.ErrorIs(t, err, io.EOF, "the connection ends")
		})
	}
}

package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnectionShares(t *testing.T) {
	for descriptors, want := range map[uint64][2]int{256: {128, 32}, 1: {1, 1}, 1 << 40: {16384, 4096}, 20000: {10000, 2500}} {
		s3, rest := connectionShares(descriptors)
		require.Equal(t, want, [2]int{s3, rest}, "of %d", descriptors)
	}
}

// Connections that send nothing must not take what the store needs to open files.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := newLimitListener(inner, 2)
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
			require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
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

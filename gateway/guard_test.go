package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scriptConn is a connection that reads what it was given, in pieces of at most step bytes, then ends.
type scriptConn struct {
	net.Conn
	in   []byte
	step int
}

func (c *scriptConn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.step)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *scriptConn) SetReadDeadline(time.Time) error { return nil }

func throughGuard(in string, step int) (string, *guard, error) {
	g := newGuard(&scriptConn{in: []byte(in), step: step}, time.Minute)
	out, err := io.ReadAll(g)
	return string(out), g, err
}

const standIn = "GET / HTTP/1.1\r\nHost: refused\r\n"

func TestGuardPassesWhatIsReadOneWay(t *testing.T) {
	for name, in := range map[string]string{
		"get":             "GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n",
		"empty value":     "GET /b/k HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n",
		"utf-8 value":     "GET /b/k HTTP/1.1\r\nHost: h\r\nx-amz-meta-a: ü\r\n\r\n",
		"http/1.0":        "GET /b/k HTTP/1.0\r\n\r\n",
		"length":          "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		"length zero":     "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"body with LF":    "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n\n\n\r\n\r\n\n",
		"chunked":         "PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
		"chunked trailer": "PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
		"pipelined":       "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"pipelined after chunks": "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
			"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1, 2, 3, 7, 1 << 20} {
				out, _, err := throughGuard(in, step)
				require.NoError(t, err)
				require.Equal(t, in, out, "step %d", step)
			}
		})
	}
}

func TestGuardRefuses(t *testing.T) {
	long := strings.Repeat("a", headerSectionMax)
	for name, c := range map[string]struct{ in, code string }{
		"length and coding":        {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "BadRequest"},
		"coding and length":        {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "BadRequest"},
		"different lengths":        {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "BadRequest"},
		"equal lengths":            {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "BadRequest"},
		"length list":              {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", "BadRequest"},
		"signed length":            {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", "BadRequest"},
		"empty length":             {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nhello", "BadRequest"},
		"other coding":             {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "BadRequest"},
		"two codings":              {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "BadRequest"},
		"coding in 1.0":            {"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "BadRequest"},
		"bare LF":                  {"GET / HTTP/1.1\nHost: h\n\n", "BadRequest"},
		"bare LF in headers":       {"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", "BadRequest"},
		"bare LF at the end":       {"GET / HTTP/1.1\r\nHost: h\r\n\n", "BadRequest"},
		"bare CR":                  {"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", "BadRequest"},
		"folded":                   {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", "BadRequest"},
		"folded by tab":            {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", "BadRequest"},
		"NUL":                      {"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", "BadRequest"},
		"NUL in target":            {"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", "BadRequest"},
		"space before colon":       {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello", "BadRequest"},
		"no colon":                 {"GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n", "BadRequest"},
		"no host":                  {"GET / HTTP/1.1\r\n\r\n", "BadRequest"},
		"two hosts":                {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "BadRequest"},
		"two spaces":               {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "BadRequest"},
		"space in target":          {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "BadRequest"},
		"http/2 preface":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "BadRequest"},
		"bad escape":               {"GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidURI"},
		"cut escape":               {"GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidURI"},
		"large section":            {"GET / HTTP/1.1\r\nHost: a\r\nX: " + long + "\r\n\r\n", "RequestHeaderSectionTooLarge"},
		"endless section":          {"GET / HTTP/1.1\r\nHost: a\r\nX: " + long + long, "RequestHeaderSectionTooLarge"},
		"endless line":             {"GET /" + long + long + long, "RequestHeaderSectionTooLarge"},
		"after a good one":         {"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\nHost: h\n\n", "BadRequest"},
		"after a body":             {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\nHost: h\n\n", "BadRequest"},
		"smuggled after zero body": {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1, 3, 1 << 20} {
				out, g, err := throughGuard(c.in, step)
				require.NoError(t, err)
				require.NotNil(t, g.refusal, "step %d: %q", step, out)
				require.Equal(t, c.code, g.refusal.code)
				i := strings.Index(out, standIn)
				require.GreaterOrEqual(t, i, 0)
				require.True(t, strings.HasPrefix(c.in, out[:i]), "only whole, good requests come before the stand-in")
				require.Contains(t, out[i:], refusedNonce)
			}
		})
	}
}

func TestGuardRefusesChunkFraming(t *testing.T) {
	const put = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, body := range map[string]string{
		"bare LF after size": "5\nhello\r\n0\r\n\r\n",
		"bare LF after data": "5\r\nhello\n0\r\n\r\n",
		"bare LF at the end": "0\r\n\n",
		"no digits":          "\r\nhello\r\n0\r\n\r\n",
		"sign":               "+5\r\nhello\r\n0\r\n\r\n",
		"0x":                 "0x5\r\nhello\r\n0\r\n\r\n",
		"space":              "5 \r\nhello\r\n0\r\n\r\n",
		"data too long":      "4\r\nhello\r\n0\r\n\r\n",
		"huge size":          "10000000000000000\r\n",
		"endless extension":  "5;" + strings.Repeat("x", chunkLineMax) + "\r\nhello\r\n0\r\n\r\n",
		"endless trailers":   "0\r\n" + strings.Repeat("A: b\r\n", chunkTrailerMax/6+1) + "\r\n",
		"NUL in trailer":     "0\r\nA: \x00\r\n\r\n",
		"folded trailer":     "0\r\nA: b\r\n c\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1, 1 << 20} {
				_, _, err := throughGuard(put+body, step)
				require.ErrorIs(t, err, errChunkFraming)
			}
		})
	}
}

// Whatever the guard passes, net/http reads as the same requests: there is nothing left that the two see differently.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	f.Add([]byte("PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"))
	f.Fuzz(func(t *testing.T, in []byte) {
		g := newGuard(&scriptConn{in: bytes.Clone(in), step: 5}, 0)
		out, err := io.ReadAll(g)
		if err != nil && !errors.Is(err, errChunkFraming) {
			t.Fatal(err)
		}
		heads := 0
		for br := bufio.NewReader(bytes.NewReader(out)); ; heads++ {
			req, err := http.ReadRequest(br)
			if err != nil {
				return // what net/http refuses is no danger
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if len(req.TransferEncoding) > 0 && req.Header.Get("Content-Length") != "" {
				t.Fatal("both framings passed")
			}
			if br.Buffered() > 0 {
				rest, _ := br.Peek(br.Buffered())
				if _, refused := parseHead(untilBlank(rest)); refused != nil && g.refusal == nil && bytes.Contains(rest, []byte("\r\n\r\n")) {
					t.Fatalf("net/http begins a request where the guard did not: %q", rest)
				}
			}
		}
	})
}

func untilBlank(b []byte) []byte {
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return b[:i+4]
	}
	return b
}

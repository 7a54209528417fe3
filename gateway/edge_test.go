package gateway

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/sigv4"
)

// A condition that an operation cannot evaluate is an error, never ignored.
func TestConditionsAreNeverIgnored(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("x"))
	for _, c := range []struct{ method, target string }{
		{"PUT", "/other"}, {"DELETE", "/bkt"}, {"POST", "/bkt/k?uploads"}, {"PUT", "/bkt/k?tagging"}, {"DELETE", "/bkt/k?tagging"},
		{"POST", "/bkt?delete"}, {"PUT", "/bkt/k?partNumber=1&uploadId=x"}, {"DELETE", "/bkt/k?uploadId=x"},
	} {
		for _, h := range []string{"if-match", "if-none-match", "if-unmodified-since", "x-amz-if-match-size"} {
			f.expect(501, "NotImplemented", c.method, c.target, nil, h, "*")
		}
	}
	f.expect(501, "NotImplemented", "DELETE", "/bkt/k", nil, "if-none-match", "*")
	f.expect(501, "NotImplemented", "DELETE", "/bkt/k", nil, "if-unmodified-since", "Thu, 01 Jan 1998 00:00:00 GMT")
	f.expect(200, "", "GET", "/bkt/k", nil)
}

// The answers for a delete marker, which this store cannot make yet.
func TestDeleteMarkerAnswers(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("x"))
	f.store.mu.Lock()
	for _, row := range f.store.rows {
		row.DeleteMarker = true
	}
	f.store.mu.Unlock()
	a := f.expect(404, "NoSuchKey", "GET", "/bkt/k", nil)
	require.Equal(t, "true", a.Header.Get("x-amz-delete-marker"))
	for _, method := range []string{"GET", "HEAD"} {
		a = f.expect(405, "MethodNotAllowed", method, "/bkt/k?versionId=some", nil)
		require.Equal(t, "DELETE", a.Header.Get("Allow"))
		require.Equal(t, "true", a.Header.Get("x-amz-delete-marker"))
		require.NotEmpty(t, a.Header.Get("Last-Modified"))
	}
	f.expect(404, "NoSuchVersion", "GET", "/bkt/none?versionId=some", nil)
}

func TestSessionTokensAreRefused(t *testing.T) {
	f := newFront(t)
	f.expect(400, "InvalidToken", "GET", "/", nil, "x-amz-security-token", "token")
	a := f.send(f.request("GET", "/", nil, "x-amz-security-token", "token"))
	require.Equal(t, 400, a.StatusCode, "a stray token is no anonymous request")
}

// Over TLS clients send aws-chunked bodies with Transfer-Encoding: chunked and without Content-Length.
func TestStreamingInChunkedTransferCoding(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	body := bytes.Repeat([]byte("0123456789"), 20<<10)
	req := f.streamed("/bkt/k", sigv4.PayloadChunkedUnsignedTrailer, body, nil, []sigv4.Field{{Name: "x-amz-checksum-crc32", Value: crc32Of(body)}})
	raw, err := io.ReadAll(req.Body)
	require.NoError(t, err)
	req.ContentLength = -1
	_, err = sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.
		Sign(req, sigv4.PayloadChunkedUnsignedTrailer.String(), time.Now())
	require.NoError(t, err)
	req.Body = io.NopCloser(bytes.NewReader(raw))
	f.want(f.send(req), 200, "")
	require.True(t, bytes.Equal(body, f.expect(200, "", "GET", "/bkt/k", nil).body))

	req = f.request("PUT", "/bkt/k", nil)
	req.ContentLength = 5
	_, err = sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.
		Sign(req, sigv4.PayloadChunkedUnsignedTrailer.String(), time.Now())
	require.NoError(t, err)
	req.Body = io.NopCloser(strings.NewReader("hello"))
	f.want(f.send(req), 411, "MissingContentLength")
}

// Attack 10.
func TestAttackXML(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	post := func(target string, body string) {
		t.Helper()
		f.expect(400, "MalformedXML", "POST", target, []byte(body), "content-md5", md5Of([]byte(body)))
	}
	post("/bkt?delete", "<Delete>"+strings.Repeat("<Object><Key>k</Key></Object>", 1001)+"</Delete>")
	post("/bkt?delete", `<!DOCTYPE d [<!ENTITY a "aaaa">]><Delete><Object><Key>&a;</Key></Object></Delete>`)
	post("/bkt?delete", "<Delete>"+strings.Repeat("<x>", 1000)+strings.Repeat("</x>", 1000)+"</Delete>")
	post("/bkt?delete", "<Delete></Delete>")
	upload := "/bkt/k?uploadId=" + strings.Repeat("0", 32)
	post(upload, "<CompleteMultipartUpload/>")
	var parts strings.Builder
	for i := range 10001 {
		fmt.Fprintf(&parts, "<Part><PartNumber>%d</PartNumber><ETag>00000000000000000000000000000000</ETag></Part>", i+1)
	}
	a := f.do("POST", upload, []byte("<CompleteMultipartUpload>"+parts.String()+"</CompleteMultipartUpload>"))
	require.Equal(t, 400, a.StatusCode, "%s", a.body)
}

// HTTP/2 comes without the guard; its header section has the same bound.
func TestLargeHeadersOverHTTP2(t *testing.T) {
	conf, pool := testCertificate(t)
	f := newFront(t, func(c *Config) { c.TLS = conf })
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP2(true)
	defer tr.CloseIdleConnections()
	req := sign(t, f.request("GET", "/", nil, "x-large", strings.Repeat("a", headerSectionMax)), aliceKey, aliceSecret, nil)
	req.URL.Scheme = "https"
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "RequestHeaderSectionTooLarge", (&answer{resp, body}).err(t).Code)
}

// Requests sent ahead on one connection are answered in order.
func TestPipelining(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	c, r := f.dial()
	var in strings.Builder
	for i := range 5 {
		body := fmt.Sprint("body ", i)
		in.WriteString(f.signedHead(fmt.Sprint("/bkt/k", i), int64(len(body))) + body)
	}
	_, err := io.WriteString(c, in.String()+"GET / HTTP/1.1\nHost: h\n\n")
	require.NoError(t, err)
	for range 5 {
		f.want(readAnswer(t, r), 200, "")
	}
	f.want(readAnswer(t, r), 400, "BadRequest")
	_, err = r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "body 3", string(f.expect(200, "", "GET", "/bkt/k3", nil).body))
}

func TestShutdownWaitsForRequests(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	c, r := f.dial()
	_, err := io.WriteString(c, f.signedHead("/bkt/k", 10, "Expect", "100-continue"))
	require.NoError(t, err)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, 100, resp.StatusCode, "the request is being served")
	done := make(chan error, 1)
	go func() { done <- f.server.Shutdown(t.Context()) }()
	_, err = io.WriteString(c, "0123456789")
	require.NoError(t, err)
	f.want(readAnswer(t, r), 200, "")
	require.NoError(t, <-done)
}

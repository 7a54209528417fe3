package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/sigv4"
)

// raw sends bytes and reads one answer.
func (f *front) raw(in string) *answer {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	require.NoError(f.t, err)
	defer c.Close()
	require.NoError(f.t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, in)
	require.NoError(f.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "GET"})
	require.NoError(f.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	resp.Request = &http.Request{Method: "GET"}
	return &answer{resp, body}
}

// Attack 1.
func TestAttackSignature(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	for i := 0; i < 64; i += 7 {
		req := sign(t, f.request("GET", "/bkt?list-type=2", nil), aliceKey, aliceSecret, nil)
		auth := []byte(req.Header.Get("Authorization"))
		at := len(auth) - 64 + i
		auth[at] ^= 1
		req.Header.Set("Authorization", string(auth))
		f.want(f.send(req), 403, "SignatureDoesNotMatch")
	}
	f.want(f.send(sign(t, f.request("GET", "/bkt", nil), "AKNOBODY", "x", nil)), 403, "InvalidAccessKeyId")
	req := sign(t, f.request("GET", "/bkt/a", nil), aliceKey, aliceSecret, nil)
	req.URL.Path = "/bkt/b"
	f.want(f.send(req), 403, "SignatureDoesNotMatch")
	req = sign(t, f.request("GET", "/bkt?prefix=a", nil), aliceKey, aliceSecret, nil)
	req.URL.RawQuery = "prefix=b"
	f.want(f.send(req), 403, "SignatureDoesNotMatch")
	req = sign(t, f.request("GET", "/bkt", nil), aliceKey, aliceSecret, nil)
	req.Method = "DELETE"
	f.want(f.send(req), 403, "SignatureDoesNotMatch")
}

func signedAt(t *testing.T, req *http.Request, at time.Time, s sigv4.Signer) *http.Request {
	t.Helper()
	s.AccessKey, s.SecretKey = aliceKey, aliceSecret
	_, err := s.Sign(req, sigv4.EmptySHA256, at)
	require.NoError(t, err)
	return req
}

// Attack 2.
func TestAttackTime(t *testing.T) {
	f := newFront(t)
	usual := sigv4.Signer{Region: "us-east-1"}
	for _, m := range []time.Duration{-16, 16} {
		f.want(f.send(signedAt(t, f.request("GET", "/", nil), time.Now().Add(m*time.Minute), usual)), 403, "RequestTimeTooSkewed")
	}
	for _, m := range []time.Duration{-14, 14} {
		f.want(f.send(signedAt(t, f.request("GET", "/", nil), time.Now().Add(m*time.Minute), usual)), 200, "")
	}
	presign := func(expires time.Duration, at time.Time) string {
		u, err := sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.
			Presign("GET", "http://"+f.addr+"/", nil, expires, at)
		require.NoError(t, err)
		return strings.TrimPrefix(u, "http://"+f.addr)
	}
	f.want(f.send(f.request("GET", presign(time.Minute, time.Now()), nil)), 200, "")
	f.want(f.send(f.request("GET", presign(time.Minute, time.Now().Add(-2*time.Minute)), nil)), 403, "AccessDenied")
	f.want(f.send(f.request("GET", presign(time.Minute, time.Now().Add(20*time.Minute)), nil)), 403, "AccessDenied")
	for _, bad := range []string{"0", "-1", "604801", "x", ""} {
		target := strings.Replace(presign(time.Minute, time.Now()), "X-Amz-Expires=60", "X-Amz-Expires="+bad, 1)
		f.want(f.send(f.request("GET", target, nil)), 400, "AuthorizationQueryParametersError")
	}
}

// Attack 3.
func TestAttackScopeAndUnsignedHeaders(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/secret", []byte("s"))
	a := f.want(f.send(signedAt(t, f.request("GET", "/", nil), time.Now(), sigv4.Signer{Region: "eu-west-1"})), 400, "AuthorizationHeaderMalformed")
	require.Equal(t, "us-east-1", a.err(t).Region)
	require.Equal(t, "us-east-1", a.Header.Get("x-amz-bucket-region"))
	f.want(f.send(signedAt(t, f.request("GET", "/", nil), time.Now(), sigv4.Signer{Region: "us-east-1", Service: "sts"})), 400, "AuthorizationHeaderMalformed")

	req := sign(t, f.request("PUT", "/bkt/stolen", nil), aliceKey, aliceSecret, nil)
	req.Header.Set("X-Amz-Copy-Source", "/bkt/secret") // added by someone on the way
	a = f.want(f.send(req), 403, "AccessDenied")
	require.Contains(t, string(a.body), "<HeadersNotSigned>x-amz-copy-source</HeadersNotSigned>")
	f.expect(404, "NoSuchKey", "GET", "/bkt/stolen", nil)

	req = sign(t, f.request("PUT", "/bkt/unsigned-body", nil, "x-amz-meta-a", "b"), aliceKey, aliceSecret, nil)
	req.Header.Del("X-Amz-Content-Sha256")
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader("body")), 4
	f.want(f.send(req), 400, "InvalidRequest") // without the header there can be no body
}

// Attack 4.
func TestAttackTwoMechanisms(t *testing.T) {
	f := newFront(t)
	req := sign(t, f.request("GET", "/", nil), aliceKey, aliceSecret, nil)
	req.Header["Authorization"] = append(req.Header["Authorization"], req.Header["Authorization"][0])
	f.want(f.send(req), 400, "InvalidArgument")
	u, err := sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.
		Presign("GET", "http://"+f.addr+"/", nil, time.Minute, time.Now())
	require.NoError(t, err)
	target := strings.TrimPrefix(u, "http://"+f.addr)
	require.Equal(t, 400, f.send(f.request("GET", target+"&X-Amz-Date=20200101T000000Z", nil)).StatusCode)
	require.Equal(t, 400, f.send(sign(t, f.request("GET", target, nil), aliceKey, aliceSecret, nil)).StatusCode)
	// The same name in header and query, with the same value (as the AWS SDK for JavaScript v2 has it) and with another one.
	u, err = sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.
		Presign("PUT", "http://"+f.addr+"/bkt/k?x-amz-acl=private", http.Header{"X-Amz-Acl": {"private"}}, time.Minute, time.Now())
	require.NoError(t, err)
	f.want(f.send(f.request("PUT", strings.TrimPrefix(u, "http://"+f.addr), []byte("x"), "x-amz-acl", "private ")), 404, "NoSuchBucket")
	u, err = sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.
		Presign("PUT", "http://"+f.addr+"/bkt/k?x-amz-acl=private", http.Header{"X-Amz-Acl": {"public-read"}}, time.Minute, time.Now())
	require.NoError(t, err)
	f.want(f.send(f.request("PUT", strings.TrimPrefix(u, "http://"+f.addr), []byte("x"), "x-amz-acl", "public-read")), 400, "InvalidArgument")
}

// streamed builds a PUT with an aws-chunked body.
func (f *front) streamed(target string, mode sigv4.PayloadMode, body []byte, change func(raw []byte) []byte, trailers []sigv4.Field, header ...string) *http.Request {
	f.t.Helper()
	req := f.request("PUT", target, nil, header...)
	req.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))
	for _, tr := range trailers {
		req.Header.Set("X-Amz-Trailer", tr.Name)
	}
	length := sigv4.ChunkedLength(mode, int64(len(body)), 64<<10, trailers...)
	req.ContentLength = length
	seed, err := sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.Sign(req, mode.String(), time.Now())
	require.NoError(f.t, err)
	var buf bytes.Buffer
	w, err := sigv4.NewChunkedWriter(&buf, mode, seed, 64<<10)
	require.NoError(f.t, err)
	_, err = w.Write(body)
	require.NoError(f.t, err)
	require.NoError(f.t, w.Close(trailers...))
	require.EqualValues(f.t, length, buf.Len())
	raw := buf.Bytes()
	if change != nil {
		raw = change(raw)
	}
	if int64(len(raw)) < length { // the length is signed, the rest never comes
		req.Body = io.NopCloser(bytes.NewReader(append(raw, bytes.Repeat([]byte("\r"), int(length)-len(raw))...)))
	} else {
		req.Body = io.NopCloser(bytes.NewReader(raw[:length]))
	}
	return req
}

// Attack 6: what is not what was signed or declared stores nothing.
func TestAttackChunks(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	body := bytes.Repeat([]byte("0123456789abcdef"), 16<<10) // 256 KiB: four chunks
	good := []sigv4.PayloadMode{sigv4.PayloadChunked, sigv4.PayloadChunkedTrailer, sigv4.PayloadChunkedUnsignedTrailer}
	for _, mode := range good {
		var trailers []sigv4.Field
		if mode != sigv4.PayloadChunked {
			trailers = []sigv4.Field{{Name: "x-amz-checksum-crc32", Value: crc32Of(body)}}
		}
		f.want(f.send(f.streamed("/bkt/good", mode, body, nil, trailers)), 200, "")
		a := f.expect(200, "", "GET", "/bkt/good", nil, "x-amz-checksum-mode", "ENABLED")
		require.True(t, bytes.Equal(body, a.body))
		require.Empty(t, a.Header.Get("Content-Encoding"))
		if trailers != nil {
			require.Equal(t, crc32Of(body), a.Header.Get("x-amz-checksum-crc32"))
		}
	}
	chunk := func(raw []byte, n int) (from, to int) { // the n-th chunk with its header
		size := len("10000;chunk-signature=") + 64 + 2 + 64<<10 + 2
		return n * size, (n + 1) * size
	}
	for name, change := range map[string]func([]byte) []byte{
		"reordered": func(raw []byte) []byte {
			a, b := chunk(raw, 0)
			_, c := chunk(raw, 1)
			return append(append(append([]byte{}, raw[b:c]...), raw[a:b]...), raw[c:]...)
		},
		"dropped":  func(raw []byte) []byte { _, b := chunk(raw, 0); return append([]byte{}, raw[b:]...) },
		"byte":     func(raw []byte) []byte { raw[1000] ^= 1; return raw },
		"last":     func(raw []byte) []byte { raw[len(raw)-10] ^= 1; return raw },
		"cut":      func(raw []byte) []byte { return raw[:len(raw)-100] },
		"longline": func(raw []byte) []byte { return append([]byte("10000;"+strings.Repeat("x", 5000)), raw...) },
	} {
		a := f.send(f.streamed("/bkt/bad-"+name, sigv4.PayloadChunked, body, change, nil))
		require.GreaterOrEqual(t, a.StatusCode, 400, name)
		require.Less(t, a.StatusCode, 500, "%s: %s", name, a.body)
		f.expect(404, "NoSuchKey", "GET", "/bkt/bad-"+name, nil)
	}
	crc := []sigv4.Field{{Name: "x-amz-checksum-crc32", Value: crc32Of(body)}}
	f.want(f.send(f.streamed("/bkt/bad", sigv4.PayloadChunkedUnsignedTrailer, body, nil, []sigv4.Field{{Name: "x-amz-checksum-crc32", Value: "AAAAAA=="}})), 400, "BadDigest")
	f.want(f.send(f.streamed("/bkt/bad", sigv4.PayloadChunkedTrailer, body, func(raw []byte) []byte {
		return bytes.Replace(raw, []byte(crc[0].Value), []byte("AAAAAA=="), 1)
	}, crc)), 403, "SignatureDoesNotMatch")
	f.want(f.send(f.streamed("/bkt/bad", sigv4.PayloadChunkedUnsignedTrailer, body, func(raw []byte) []byte {
		return bytes.Replace(raw, []byte("x-amz-checksum-crc32"), []byte("x-amz-checksum-crc3x"), 1)
	}, crc)), 400, "MalformedTrailerError")
	f.want(f.send(f.streamed("/bkt/bad", sigv4.PayloadChunked, body, nil, nil, "x-amz-trailer", "x-amz-checksum-crc32")), 400, "InvalidRequest")
	f.want(f.send(f.streamed("/bkt/bad", sigv4.PayloadChunkedUnsignedTrailer, body, nil, crc, "x-amz-checksum-sha1", "L9ThxnotKPzthJ7hu3bnORuT6xI=")), 400, "InvalidRequest")
	f.expect(404, "NoSuchKey", "GET", "/bkt/bad", nil)
}

// Attack 8, over a real connection.
func TestAttackHeads(t *testing.T) {
	f := newFront(t)
	for name, c := range map[string]struct{ in, code string }{
		"length and coding": {"PUT /bkt/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "BadRequest"},
		"equal lengths":     {"PUT /bkt/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "BadRequest"},
		"bare LF":           {"GET / HTTP/1.1\nHost: h\n\n", "BadRequest"},
		"folded":            {"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", "BadRequest"},
		"NUL":               {"GET / HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n", "BadRequest"},
		"large":             {"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 9000) + "\r\n\r\n", "RequestHeaderSectionTooLarge"},
		"bad escape":        {"GET /bkt/%zz HTTP/1.1\r\nHost: h\r\n\r\n", "InvalidURI"},
		"not utf-8":         {"GET /bkt/%ff HTTP/1.1\r\nHost: h\r\n\r\n", "InvalidURI"},
		"bad query":         {"GET /bkt?prefix=%zz HTTP/1.1\r\nHost: h\r\n\r\n", "InvalidURI"},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.raw(c.in + "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			require.Equal(t, 400, a.StatusCode)
			require.Equal(t, c.code, a.err(t).Code)
			require.NotEmpty(t, a.Header.Get("x-amz-request-id"))
			if c.code != "InvalidURI" {
				require.True(t, a.Close, "the connection must end")
			}
		})
	}
	forged := f.raw("GET / HTTP/1.1\r\nHost: h\r\n" + refusedHeader + ": guess\r\nConnection: close\r\n\r\n")
	require.Equal(t, "AccessDenied", forged.err(t).Code, "a client's own internal header means nothing")
}

// Attack 9.
func TestAttackHeaderInjection(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("x"))
	a := f.do("GET", "/bkt/k?response-content-type=text%0d%0aInjected:%20yes", nil)
	require.Empty(t, a.Header.Get("Injected"))
	f.want(a, 400, "InvalidArgument")
	a = f.expect(200, "", "GET", "/bkt/k?response-content-type=text/x&response-cache-control=no-cache&response-expires=soon&response-content-disposition=a&response-content-language=de&response-content-encoding=gzip", nil)
	for name, want := range map[string]string{"Content-Type": "text/x", "Cache-Control": "no-cache", "Expires": "soon", "Content-Disposition": "a", "Content-Language": "de", "Content-Encoding": "gzip"} {
		require.Equal(t, want, a.Header.Get(name))
	}
	f.want(f.send(f.request("GET", "/bkt/k?response-content-type=text/x", nil)), 400, "InvalidRequest")
	// An RFC 2047 word may hide a line break.
	a = f.do("PUT", "/bkt/k2", []byte("x"), "x-amz-meta-a", "=?UTF-8?B?YQ0KSW5qZWN0ZWQ6IHllcw==?=")
	if a.StatusCode == 200 {
		a = f.expect(200, "", "GET", "/bkt/k2", nil)
	}
	require.Empty(t, a.Header.Get("Injected"))
}

func TestPayloadHash(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	req := f.request("PUT", "/bkt/k", []byte("other bytes"))
	sum := sha256.Sum256([]byte("signed bytes"))
	_, err := sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.Sign(req, hex.EncodeToString(sum[:]), time.Now())
	require.NoError(t, err)
	f.want(f.send(req), 400, "XAmzContentSHA256Mismatch")
	f.expect(404, "NoSuchKey", "GET", "/bkt/k", nil)
}

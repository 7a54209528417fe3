package gateway

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"minikv/sigv4"
)

// head gives the bytes of a request's head as they go on the wire.
func headOf(t *testing.T, req *http.Request) string {
	t.Helper()
	b, err := httputil.DumpRequest(req, false)
	require.NoError(t, err)
	return string(b)
}

func (f *front) dial() (net.Conn, *bufio.Reader) {
	f.t.Helper()
	c, err := f.connect()
	require.NoError(f.t, err)
	f.t.Cleanup(func() { c.Close() })
	require.NoError(f.t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c, bufio.NewReader(c)
}

// signedHead is the head of a PUT by alice of so many bytes of unsigned payload.
func (f *front) signedHead(target string, length int64, header ...string) string {
	f.t.Helper()
	req := f.request("PUT", target, nil, header...)
	req.ContentLength = length
	_, err := sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}.Sign(req, sigv4.UnsignedPayload, time.Now())
	require.NoError(f.t, err)
	head := headOf(f.t, req)
	if length >= 0 && !strings.Contains(head, "\nContent-Length") {
		head = strings.TrimSuffix(head, "\r\n") + fmt.Sprintf("Content-Length: %d\r\n\r\n", length)
	}
	return head
}

func readAnswer(t *testing.T, r *bufio.Reader) *answer {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: "PUT"})
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Request = &http.Request{Method: "PUT"}
	return &answer{resp, body}
}

func TestHeaderCasing(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", []byte("x"), "x-amz-meta-Some-Name", "v", "x-amz-tagging", "a=b")
	c, r := f.dial()
	_, err := io.WriteString(c, headOf(t, sign(t, f.request("GET", "/bkt/k", nil, "x-amz-checksum-mode", "ENABLED"), aliceKey, aliceSecret, nil)))
	require.NoError(t, err)
	var lines []string
	for {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if line == "\r\n" {
			break
		}
		name, _, _ := strings.Cut(line, ":")
		lines = append(lines, name)
	}
	for _, want := range []string{"ETag", "x-amz-meta-some-name", "x-amz-request-id", "x-amz-id-2", "Last-Modified", "Accept-Ranges",
		"Content-Length", "Content-Type", "x-amz-tagging-count", "x-amz-checksum-crc64nvme", "x-amz-checksum-type", "Server", "Date"} {
		require.Contains(t, lines, want)
	}
}

func TestExpectContinue(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	c, r := f.dial()
	_, err := io.WriteString(c, f.signedHead("/bkt/k", 5, "Expect", "100-continue"))
	require.NoError(t, err)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, 100, resp.StatusCode)
	_, err = io.WriteString(c, "hello")
	require.NoError(t, err)
	require.Equal(t, 200, readAnswer(t, r).StatusCode)

	for name, head := range map[string]string{
		"signature": strings.Replace(f.signedHead("/bkt/k", 5, "Expect", "100-continue"), "Signature=", "Signature=0", 1),
		"bucket":    f.signedHead("/no-such-bucket/k", 5, "Expect", "100-continue"),
		"header":    f.signedHead("/bkt/k", 5, "Expect", "100-continue", "x-amz-server-side-encryption", "AES256"),
		"checksum":  f.signedHead("/bkt/k", 5, "Expect", "100-continue", "content-md5", "x"),
		"condition": f.signedHead("/bkt/k", 2<<20, "Expect", "100-continue", "if-none-match", "*"),
		"size":      f.signedHead("/bkt/k", 6<<30, "Expect", "100-continue"),
		"upload":    f.signedHead("/bkt/k?partNumber=1&uploadId="+strings.Repeat("0", 32), 5, "Expect", "100-continue"),
	} {
		c, r := f.dial()
		_, err := io.WriteString(c, head)
		require.NoError(t, err)
		a := readAnswer(t, r)
		require.GreaterOrEqual(t, a.StatusCode, 400, "%s: the error comes instead of 100", name)
	}
}

// Another expectation than 100-continue is not met, nor does it matter: net/http would answer 417 without a request id.
// Source: RFC 9110, section 10.1.1.
func TestOtherExpectations(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	c, r := f.dial()
	for _, v := range []string{"200", "", "100-continue, other", "nonsense=1"} {
		head := strings.TrimSuffix(f.signedHead("/bkt/k", 5), "\r\n") + "eXpect: " + v + "\r\n\r\n"
		_, err := io.WriteString(c, head)
		require.NoError(t, err)
		if strings.HasPrefix(v, "100") {
			resp, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			require.Equal(t, 100, resp.StatusCode)
		}
		_, err = io.WriteString(c, "hello")
		require.NoError(t, err)
		f.want(readAnswer(t, r), 200, "")
	}
}

// net/http sends no 100 when the body is empty; botocore, having waited for it in vain, misreads the next answer on the connection.
func TestExpectContinueOfAnEmptyBody(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	c, r := f.dial()
	for _, want := range []int{200, 404} {
		bucket := map[int]string{200: "/bkt/k", 404: "/no-such-bucket/k"}[want]
		_, err := io.WriteString(c, f.signedHead(bucket, 0, "Expect", "100-continue"))
		require.NoError(t, err)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, 100, resp.StatusCode)
		require.Equal(t, want, readAnswer(t, r).StatusCode)
	}
}

// A client that says it waits for 100 but sends the body at once reads the error, not a reset.
func TestEarlyErrorIsNotReset(t *testing.T) {
	f := newFront(t)
	for good := 0; good < 20; {
		began := time.Now()
		c, r := f.dial()
		head := f.signedHead("/no-such-bucket/k", 4<<20, "Expect", "100-continue")
		go func() { // the answer may end this early
			_, _ = io.WriteString(c, head)
			_, _ = c.Write(make([]byte, 4<<20))
		}()
		f.want(readAnswer(t, r), 404, "NoSuchBucket")
		_, err := r.ReadByte()
		if time.Since(began) >= lingerTime {
			continue // the machine stood still for longer than a server waits
		}
		require.ErrorIs(t, err, io.EOF, "an end, not a reset")
		good++
	}
}

// Up to 256 KiB of unread body are drained, so that the next request on the connection is answered.
func TestKeepAliveAfterEarlyError(t *testing.T) {
	f := newFront(t)
	c, r := f.dial()
	for range 3 {
		_, err := io.WriteString(c, f.signedHead("/no-such-bucket/k", 200<<10))
		require.NoError(t, err)
		_, err = c.Write(make([]byte, 200<<10))
		require.NoError(t, err)
		a := readAnswer(t, r)
		require.Equal(t, "NoSuchBucket", a.err(t).Code)
		require.False(t, a.Close)
	}
}

func TestBodyLengthRules(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	exchange := func(in string) *answer {
		c, r := f.dial()
		_, err := io.WriteString(c, in)
		require.NoError(t, err)
		return readAnswer(t, r)
	}
	f.want(exchange(f.signedHead("/bkt/k", -1)), 411, "MissingContentLength")
	chunked := strings.TrimSuffix(f.signedHead("/bkt/k", -1), "\r\n") + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	a := f.want(exchange(chunked), 501, "NotImplemented")
	require.Equal(t, "Transfer-Encoding", a.err(t).Header)
	f.want(exchange(f.signedHead("/bkt/k", 6<<30)), 400, "EntityTooLarge")
	f.want(exchange(f.signedHead("/bkt/k", 5, "content-encoding", "aws-chunked")+"hello"), 400, "InvalidRequest")
	f.want(exchange(f.signedHead("/bkt/k", 5, "x-amz-decoded-content-length", "5")+"hello"), 400, "InvalidRequest")
	java := "5\r\nhello\r\n0\r\n\r\n"
	f.want(exchange(f.signedHead("/bkt/java", int64(len(java)), "content-encoding", "gzip,aws-chunked", "x-amz-decoded-content-length", "5")+java), 200, "")
	got := f.expect(200, "", "GET", "/bkt/java", nil)
	require.Equal(t, "hello", string(got.body))
	require.Equal(t, "gzip", got.Header.Get("Content-Encoding"))

	c, r := f.dial() // the connection ends before the body does
	_, err := io.WriteString(c, f.signedHead("/bkt/short", 10)+"hello")
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	f.want(readAnswer(t, r), 400, "IncompleteBody")
	f.expect(404, "NoSuchKey", "GET", "/bkt/short", nil)
}

func TestIdleBodyTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPipeFront(t, func(c *Config) { c.IdleTimeout = time.Second })
		f.expect(200, "", "PUT", "/bkt", nil)
		c, r := f.dial()
		_, err := io.WriteString(c, f.signedHead("/bkt/k", 10)+"hello")
		require.NoError(t, err)
		a := f.want(readAnswer(t, r), 400, "RequestTimeout")
		require.True(t, a.Close)
		f.expect(404, "NoSuchKey", "GET", "/bkt/k", nil)

		c, r = f.dial() // slow in all, but never idle for long
		_, err = io.WriteString(c, f.signedHead("/bkt/slow", 10))
		require.NoError(t, err)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for range 10 {
			<-tick.C
			_, err = c.Write([]byte("x"))
			require.NoError(t, err)
		}
		f.want(readAnswer(t, r), 200, "")
		// The deadline of the last body does not end what comes after it on the same connection.
		for range 5 {
			<-tick.C
		}
		_, err = io.WriteString(c, headOf(t, sign(t, f.request("GET", "/bkt/slow", nil), aliceKey, aliceSecret, nil)))
		require.NoError(t, err)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "xxxxxxxxxx", string(body))
	})
}

// A client that stops reading does not hold a connection for ever, and one that reads slowly gets everything.
func TestIdleReader(t *testing.T) {
	patient := newFront(t)
	patient.expect(200, "", "PUT", "/bkt", nil)
	big := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // 32 MiB: more than the sockets hold
	patient.expect(200, "", "PUT", "/bkt/big", big)
	f := newFront(t, func(c *Config) { c.IdleTimeout, c.Objects = 3*time.Second, patient.server.objects })
	get := headOf(t, sign(t, f.request("GET", "/bkt/big", nil), aliceKey, aliceSecret, nil))
	c, r := f.dial()
	_, err := io.WriteString(c, get)
	require.NoError(t, err)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for _, e := range f.logs.FilterMessage("request").All() {
			if e.ContextMap()["broken_off"] == true {
				return true
			}
		}
		return false
	}, time.Minute, 10*time.Millisecond)
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err, "a broken answer is visibly short")
}

func TestVirtualHostAndForwardedHost(t *testing.T) {
	f := newFront(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	f.expect(200, "", "PUT", "/bkt", nil)
	req := f.request("PUT", "/dir/k", []byte("x"))
	req.Host = "BKT.s3.test:9000"
	f.want(f.send(sign(t, req, aliceKey, aliceSecret, []byte("x"))), 200, "")
	f.expect(200, "", "GET", "/bkt/dir/k", nil)
	req = f.request("GET", "//k", nil)
	req.Host = "bkt.s3.test"
	f.want(f.send(sign(t, req, aliceKey, aliceSecret, nil)), 404, "NoSuchKey")
	req = f.request("GET", "/dir/k", nil)
	req.Host = "bkt.s3.test"
	sign(t, req, aliceKey, aliceSecret, nil)
	req.Host = "internal:9000"
	req.Header.Set("X-Forwarded-Host", "bkt.s3.test")
	f.want(f.send(req), 200, "")
	f.server.proxies = nil
	require.Equal(t, 403, f.send(req).StatusCode, "only a trusted proxy may say so")
}

func TestOddKeys(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	for _, key := range []string{"a+b", "a%b", "a b", "a?b", "a#b", "ü", "a//b", "/a", "a/../b", "./a", "..", ".", "a/", "a\nb", "<&>\"'", "x\x01y", "%2F", "a&b=c;d", "*", "日本"} {
		target := "/bkt/" + sigv4.EncodePath(key)
		f.expect(200, "", "PUT", target, []byte(key))
		require.Equal(t, key, string(f.expect(200, "", "GET", target, nil).body), "%q", key)
		f.expect(204, "", "DELETE", target, nil)
	}
	require.Empty(t, f.store.rows, "every key was deleted under its own name")
}

func testCertificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func TestTLS(t *testing.T) {
	conf, pool := testCertificate(t)
	f := newFront(t, func(c *Config) { c.TLS = conf })
	exchange := func(http1 bool) (*answer, string) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(http1)
		tr.Protocols.SetHTTP2(true)
		defer tr.CloseIdleConnections()
		req := sign(t, f.request("PUT", "/bkt", nil), aliceKey, aliceSecret, nil)
		req.URL.Scheme = "https"
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return &answer{resp, body}, resp.Proto
	}
	a, proto := exchange(true)
	f.want(a, 200, "")
	require.Equal(t, "HTTP/1.1", proto, "preferred")
	a, proto = exchange(false)
	f.want(a, 200, "")
	require.Equal(t, "HTTP/2.0", proto, "for clients that offer nothing else")

	c, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: pool})
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "PUT /bkt/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	require.NoError(t, err)
	require.Equal(t, "BadRequest", readAnswer(t, bufio.NewReader(c)).err(t).Code, "the guard is above TLS")

	plain, r := f.dial()
	_, err = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "400")
}

func TestMetricsAndLog(t *testing.T) {
	reg := prometheus.NewRegistry()
	f := newFront(t, func(c *Config) { c.Metrics = reg })
	f.expect(200, "", "PUT", "/bkt", nil)
	a := f.expect(404, "NoSuchKey", "GET", "/bkt/none", nil)
	all, err := reg.Gather()
	require.NoError(t, err)
	seen := map[string]string{}
	for _, m := range all {
		seen[m.GetName()] = m.String()
	}
	require.Contains(t, seen["minikv_s3_requests_total"], "NoSuchKey")
	require.Contains(t, seen["minikv_s3_request_seconds"], "GetObject")
	require.Contains(t, seen, "minikv_s3_requests_running")
	found := false
	for _, e := range f.logs.FilterMessage("request").All() {
		found = found || e.ContextMap()["request_id"] == a.Header.Get("x-amz-request-id")
	}
	require.True(t, found, "the answer's id is in the log")
	for _, e := range f.logs.All() {
		require.NotContains(t, fmt.Sprint(e.ContextMap()), aliceSecret)
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	ids := newIDSource()
	seen := map[string]bool{}
	for range 10000 {
		id := ids.next()
		require.Len(t, id, 16)
		require.False(t, seen[id])
		seen[id] = true
	}
}

package doctor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"minikv/sigv4"
)

// answerMax bounds what is read of an answer, in bytes.
const answerMax = 64 << 10

// server is an S3 endpoint with a bucket, addressed by path.
type server struct {
	base   *url.URL
	bucket string
	signer sigv4.Signer
	http   *http.Client
}

func newServer(endpoint string, cfg Config, t http.RoundTripper) (*server, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, fmt.Errorf("endpoint: %q is not allowed; allowed: http://host:port or https://host:port of an S3 server", endpoint)
	}
	return &server{
		base: u, bucket: cfg.Bucket, http: &http.Client{Transport: t, Timeout: cfg.Timeout},
		signer: sigv4.Signer{AccessKey: cfg.AccessKey, SecretKey: cfg.SecretKey, Region: cfg.Region},
	}, nil
}

func transport(c *tls.Config, writers int) *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c, MaxIdleConnsPerHost: writers, TLSHandshakeTimeout: 10 * time.Second}
}

// answer is what a request got.
type answer struct {
	status int
	etag   string
	kind   string // Content-Type
	body   []byte
	err    error // no answer, or half of one
}

// refused says that the server surely did nothing, since a condition is false or another write was on its way.
func (a answer) refused() bool {
	return a.err == nil && (a.status == http.StatusPreconditionFailed || a.status == http.StatusConflict || a.status == http.StatusNotFound)
}

func (a answer) done() bool { return a.err == nil && a.status >= 200 && a.status < 300 }

var codeIn = regexp.MustCompile(`<Code>([A-Za-z]{1,64})</Code>`)

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	if code := a.code(); code != "" {
		return fmt.Sprintf("%d %s", a.status, code)
	}
	if a.kind != "" {
		return fmt.Sprintf("%d (%.100q)", a.status, a.kind)
	}
	return strconv.Itoa(a.status)
}

// code is that of an S3 error, "" when the answer is none.
func (a answer) code() string {
	if m := codeIn.FindSubmatch(a.body); a.err == nil && a.status >= 300 && m != nil {
		return string(m[1])
	}
	return ""
}

// do sends a request for a key, "" for the bucket. header are name and value pairs.
func (s *server) do(ctx context.Context, method, key string, body []byte, header ...string) answer {
	u := *s.base
	u.Path = "/" + s.bucket
	if key != "" {
		u.Path += "/" + key
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	sum := sha256.Sum256(body)
	if _, err := s.signer.Sign(req, hex.EncodeToString(sum[:]), time.Now()); err != nil {
		return answer{err: err}
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	return answer{status: resp.StatusCode, etag: resp.Header.Get("ETag"), kind: resp.Header.Get("Content-Type"), body: b, err: err}
}

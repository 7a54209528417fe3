// Package client speaks the native REST API, for the command line. Requests are signed (AWS Signature Version 4), so that the secret
// never travels; bytes are checked against the ETag on both ways.
package client

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"minikv/internal/buildinfo"
	"minikv/sigv4"
)

// Config of a Client.
type Config struct {
	Endpoint  string // http://host:port or https://host:port
	AccessKey string // empty, with SecretKey: no credentials
	SecretKey string
	CACert    string // PEM file to trust besides the system's; https only
}

// Client talks to one endpoint.
type Client struct {
	base   *url.URL
	signer sigv4.Signer
	http   *http.Client
}

// New makes a Client.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, fmt.Errorf("endpoint: %q is not allowed; allowed: http://host:port or https://host:port", cfg.Endpoint)
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CACert != "" {
		if tlsConfig.RootCAs, err = Trust(cfg.CACert); err != nil {
			return nil, err
		}
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       256 << 10,
		ReadBufferSize:        256 << 10,
		DisableCompression:    true, // bytes are compared with the ETag
	}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		base:   &url.URL{Scheme: u.Scheme, Host: u.Host},
		signer: sigv4.Signer{AccessKey: cfg.AccessKey, SecretKey: cfg.SecretKey, Region: "us-east-1"},
		http:   &http.Client{Transport: t, CheckRedirect: noRedirect},
	}, nil
}

// Trust is the system's certificate authorities and those in a PEM file.
func Trust(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca-cert: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca-cert: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// Loopback says that an endpoint is on this machine: an address of loopback, or localhost.
func Loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Error is what the server answered instead.
type Error struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
	Op        *int   `json:"op,omitempty"`
}

func (e *Error) Error() string {
	op := ""
	if e.Op != nil {
		op = fmt.Sprintf("operation %d: ", *e.Op)
	}
	return fmt.Sprintf("%s%s (%d %s, request %s)", op, e.Message, e.Status, e.Code, e.RequestID)
}

// ErrDamaged: bytes that arrived are not those that were sent.
var ErrDamaged = errors.New("the bytes do not match their ETag")

// escape encodes a key for a path: all but unreserved characters and '/'.
func escape(key string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
	}
	return b.String()
}

func (c *Client) keyURL(key string) *url.URL {
	u := *c.base
	u.Path, u.RawPath = "/kv/"+key, "/kv/"+escape(key)
	return &u
}

// do signs and sends; an answer of 400 and above becomes an *Error.
func (c *Client) do(ctx context.Context, method string, u *url.URL, body io.Reader, size int64, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.URL = u // as it is: String and Parse may have changed its escapes
	if header != nil {
		req.Header = header
	}
	if body != nil && size != 0 {
		req.Body, req.ContentLength = io.NopCloser(body), size
		if s, ok := body.(*sent); ok {
			req.Body = s
		}
	}
	req.Header.Set("User-Agent", "minikv/"+version())
	if size < 0 || size > 1<<20 {
		req.Header.Set("Expect", "100-continue")
	}
	if c.signer.AccessKey != "" {
		if _, err := c.signer.Sign(req, sigv4.UnsignedPayload, time.Now()); err != nil {
			return nil, err
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &Error{}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status alone says enough
	if json.Unmarshal(b, e) != nil || e.Code == "" {
		e.Code, e.Message = strings.ReplaceAll(http.StatusText(resp.StatusCode), " ", ""), "The server answered "+resp.Status+"."
	}
	e.Status = resp.StatusCode
	if e.RequestID == "" {
		e.RequestID = resp.Header.Get("x-amz-request-id")
	}
	return nil, e
}

func version() string {
	v, _ := buildinfo.Get()
	return v
}

// Stored is what a put stored.
type Stored struct {
	Key  string `json:"key"`
	ETag string `json:"etag"`
	Size int64  `json:"size"`
}

// Put stores size bytes of r, -1 for all there are, and checks the answer's ETag against the bytes that were sent.
func (c *Client) Put(ctx context.Context, key string, r io.Reader, size int64, header http.Header) (*Stored, error) {
	if size > 0 {
		r = io.LimitReader(r, size) // a file may have grown
	}
	sum := &sent{summing: summing{r: r, h: md5.New()}, done: make(chan struct{})}
	resp, err := c.do(ctx, http.MethodPut, c.keyURL(key), sum, size, header)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if size != 0 {
		select {
		case <-sum.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	etag := strings.Trim(resp.Header.Get("ETag"), `"`)
	if got := hex.EncodeToString(sum.h.Sum(nil)); etag != got {
		return nil, fmt.Errorf("%w: sent %s, stored %s", ErrDamaged, got, etag)
	}
	return &Stored{key, etag, sum.n}, nil
}

// Object is an object being read.
type Object struct {
	Header http.Header
	Size   int64 // of the body, in bytes
	Body   io.ReadCloser
}

// Get reads an object. The body fails instead of ending when its bytes do not match the ETag of a whole plain object.
func (c *Client) Get(ctx context.Context, key string, header http.Header) (*Object, error) {
	resp, err := c.do(ctx, http.MethodGet, c.keyURL(key), nil, 0, header)
	if err != nil {
		return nil, err
	}
	o := &Object{Header: resp.Header, Size: resp.ContentLength, Body: resp.Body}
	etag := strings.Trim(resp.Header.Get("ETag"), `"`)
	if resp.StatusCode == http.StatusOK && len(etag) == 32 {
		o.Body = &checked{summing{r: resp.Body, h: md5.New()}, resp.Body, etag}
	}
	return o, nil
}

// Delete removes a key; one that is not there is no error unless the header has a condition.
func (c *Client) Delete(ctx context.Context, key string, header http.Header) error {
	resp, err := c.do(ctx, http.MethodDelete, c.keyURL(key), nil, 0, header)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// JSON asks for a JSON answer at a path.
func (c *Client) JSON(ctx context.Context, method, path string, query url.Values, body io.Reader, size int64, out any) error {
	u := *c.base
	u.Path, u.RawQuery = path, query.Encode()
	header := http.Header{}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	resp, err := c.do(ctx, method, &u, body, size, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(out)
}

// summing hashes what passes.
type summing struct {
	r io.Reader
	h hash.Hash
	n int64
}

func (s *summing) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.h.Write(p[:n])
	s.n += int64(n)
	return n, err
}

// sent is a body that is hashed while it is sent. net/http looks for its end after the last byte, and that may be after the answer:
// only once it was closed nobody reads it any more.
type sent struct {
	summing
	once sync.Once
	done chan struct{} // closed with the body
}

// Close implements io.Closer.
func (s *sent) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

type checked struct {
	summing
	io.Closer
	etag string
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.summing.Read(p)
	if err == io.EOF && hex.EncodeToString(c.h.Sum(nil)) != c.etag {
		return n, ErrDamaged
	}
	return n, err
}

// Unreachable says that there was no answer: no connection, or it broke.
func Unreachable(err error) bool {
	var u *url.Error
	return errors.As(err, &u) && !errors.Is(err, context.Canceled)
}

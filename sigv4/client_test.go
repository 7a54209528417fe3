package sigv4

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkcreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
	miniocredentials "github.com/minio/minio-go/v7/pkg/credentials"
)

// verified is what one request of a client turned out to be.
type verified struct {
	path     string
	auth     AuthType
	mode     PayloadMode
	body     string
	trailers []Field
	err      error
}

// echoServer verifies each request and its body and records them.
type echoServer struct {
	*httptest.Server
	mu   sync.Mutex
	seen []verified
}

func newEchoServer(t *testing.T, tls bool) *echoServer {
	e := &echoServer{}
	e.Server = httptest.NewUnstartedServer(e)
	if tls {
		e.StartTLS()
	} else {
		e.Start()
	}
	t.Cleanup(e.Close)
	return e
}

func (e *echoServer) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	got := verified{}
	got.err = got.verify(hr)
	e.mu.Lock()
	e.seen = append(e.seen, got)
	e.mu.Unlock()
	if got.err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.Header().Set("ETag", `"5d41402abc4b2a76b9719d911017c592"`)
}

func (got *verified) verify(hr *http.Request) error {
	r, err := NewRequest(hr)
	if err != nil {
		return err
	}
	got.path = r.Path
	res, err := NewVerifier(Options{Keys: mapKeys{exampleKey: exampleSecret}}).Verify(r, ServiceS3)
	if err != nil {
		return err
	}
	got.auth, got.mode = res.Type, res.Payload.Mode
	body, err := res.BodyReader(hr.Body)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	got.body = string(data)
	if c, ok := body.(*ChunkedReader); ok {
		got.trailers = c.Trailers()
	}
	return err
}

// last returns the last request seen, which must have verified.
func (e *echoServer) last(t *testing.T) verified {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.seen) == 0 {
		t.Fatal("no request seen")
	}
	got := e.seen[len(e.seen)-1]
	if got.err != nil {
		t.Fatalf("%s: %v", got.path, got.err)
	}
	return got
}

// oddKeys survive every client's idea of escaping.
var oddKeys = []string{"plain.txt", "a b+c%d/ü?x#y", "dir//../k", "'quoted' (1)*!~=&;,:@$"}

func TestGoSDKRequestsVerify(t *testing.T) {
	for _, tls := range []bool{false, true} {
		e := newEchoServer(t, tls)
		client := s3.New(s3.Options{
			Region: "us-east-1", BaseEndpoint: aws.String(e.URL), UsePathStyle: true, HTTPClient: e.Client(),
			Credentials: sdkcreds.NewStaticCredentialsProvider(exampleKey, exampleSecret, ""), RetryMaxAttempts: 1,
			RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		})
		for _, key := range oddKeys {
			body := strings.Repeat("some data ", 20000)
			put := &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String(key), Body: strings.NewReader(body),
				Metadata: map[string]string{"colour": "dark  blue"}}
			if _, err := client.PutObject(context.Background(), put); err != nil {
				t.Errorf("tls %v: PUT %q: %v", tls, key, err)
			}
			got := e.last(t)
			if got.auth != AuthHeaderV4 || got.body != body || got.path != "/bucket/"+key {
				t.Errorf("tls %v: %s %v %d bytes at %q", tls, got.auth, got.mode, len(got.body), got.path)
			}
			if tls && (got.mode != PayloadChunkedUnsignedTrailer || len(got.trailers) != 1) {
				t.Errorf("over TLS the SDK sends unsigned trailers: %v %v", got.mode, got.trailers)
			}
			presigned, err := s3.NewPresignClient(client).PresignPutObject(context.Background(), put)
			if err != nil {
				t.Fatal(err)
			}
			send(t, e, "PUT", presigned.URL, presigned.SignedHeader, body)
			if got := e.last(t); got.auth != AuthPresignedV4 || got.body != body || got.path != "/bucket/"+key {
				t.Errorf("tls %v: presigned %s %v %d bytes at %q", tls, got.auth, got.mode, len(got.body), got.path)
			}
		}
	}
}

func TestMinioGoRequestsVerify(t *testing.T) {
	modes := map[PayloadMode]bool{}
	for _, tls := range []bool{false, true} {
		e := newEchoServer(t, tls)
		u, err := url.Parse(e.URL)
		if err != nil {
			t.Fatal(err)
		}
		client, err := minio.New(u.Host, &minio.Options{
			Creds: miniocredentials.NewStaticV4(exampleKey, exampleSecret, ""), Secure: tls, Region: "us-east-1",
			Transport: e.Client().Transport, MaxRetries: 1, BucketLookup: minio.BucketLookupPath, TrailingHeaders: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"plain.txt", "a b+c%d/ü?x#y"} {
			for _, o := range []minio.PutObjectOptions{{}, {Checksum: minio.ChecksumCRC32C}, {DisableContentSha256: true}} {
				body := strings.Repeat("some data ", 20000)
				if _, err := client.PutObject(context.Background(), "bucket", key, strings.NewReader(body), int64(len(body)), o); err != nil {
					t.Errorf("tls %v: PUT %q: %v", tls, key, err)
				}
				got := e.last(t)
				modes[got.mode] = true
				if got.auth != AuthHeaderV4 || got.body != body || got.path != "/bucket/"+key {
					t.Errorf("tls %v: %s %v %d bytes at %q", tls, got.auth, got.mode, len(got.body), got.path)
				}
			}
			presigned, err := client.PresignedGetObject(context.Background(), "bucket", key, time.Hour, url.Values{"response-content-type": {"a/b; c"}})
			if err != nil {
				t.Fatal(err)
			}
			send(t, e, "GET", presigned.String(), nil, "")
			if got := e.last(t); got.auth != AuthPresignedV4 {
				t.Errorf("tls %v: presigned GET is %v", tls, got.auth)
			}
		}
	}
	if !modes[PayloadChunkedTrailer] {
		t.Errorf("minio-go sent no signed trailer: %v", modes)
	}
}

// Our own signer and chunked writer over a real connection, in every mode.
func TestOwnClientVerifies(t *testing.T) {
	e := newEchoServer(t, false)
	data := strings.Repeat("0123456789", 30000)
	for _, mode := range framedModes {
		hr, err := http.NewRequest("PUT", e.URL+"/bucket/a%20b%2Bc?x-id=PutObject", nil)
		if err != nil {
			t.Fatal(err)
		}
		var trailers []Field
		if mode != PayloadChunked {
			trailers = []Field{sampleTrailer}
			hr.Header.Set("X-Amz-Trailer", sampleTrailer.Name)
		}
		hr.Header.Set("X-Amz-Decoded-Content-Length", "300000")
		hr.ContentLength = ChunkedLength(mode, int64(len(data)), 65536, trailers...)
		seed, err := exampleSigner().Sign(hr, mode.String(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		w, err := NewChunkedWriter(&body, mode, seed, 65536)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(trailers...); err != nil {
			t.Fatal(err)
		}
		hr.Body = io.NopCloser(&body)
		resp, err := e.Client().Do(hr)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := e.last(t); got.mode != mode || got.body != data || len(got.trailers) != len(trailers) {
			t.Errorf("%v: %v, %d bytes, trailers %v", mode, got.mode, len(got.body), got.trailers)
		}
	}
}

func send(t *testing.T, e *echoServer, method, target string, h http.Header, body string) {
	t.Helper()
	hr, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range h {
		if name != "Host" && name != "Content-Length" {
			hr.Header[name] = values
		}
	}
	resp, err := e.Client().Do(hr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// curl signs by itself; skipped where it is absent.
func TestCurlRequestsVerify(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	e := newEchoServer(t, false)
	for _, args := range [][]string{
		{"-T", "-", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"},
		{"--data-binary", "@-", "-X", "PUT", "-H", "x-amz-meta-a:  two   words ", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"},
		{"--data-binary", "hello", "-X", "PUT", "-H", "x-amz-content-sha256: " + helloHash},
		{"-X", "GET", "-H", "x-amz-content-sha256: " + EmptySHA256},
	} {
		args = append([]string{"-sS", "--path-as-is", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", exampleKey + ":" + exampleSecret}, args...)
		cmd := exec.Command("curl", append(args, e.URL+"/bucket/dir//a%20b")...)
		cmd.Stdin = strings.NewReader("hello")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		if got := e.last(t); got.auth != AuthHeaderV4 || got.path != "/bucket/dir//a b" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

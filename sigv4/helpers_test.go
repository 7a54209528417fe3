package sigv4

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// The credentials, bucket and time of the examples in the Amazon S3 API Reference.
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleHost   = "examplebucket.s3.amazonaws.com"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

type mapKeys map[string]string

func (m mapKeys) Secret(accessKey string) (string, bool) {
	s, ok := m[accessKey]
	return s, ok
}

func exampleSigner() Signer {
	return Signer{AccessKey: exampleKey, SecretKey: exampleSecret, Region: "us-east-1"}
}

// verifierAt verifies the example keys at a fixed time.
func verifierAt(now time.Time) *Verifier {
	return NewVerifier(Options{
		Keys:  mapKeys{exampleKey: exampleSecret, "OTHER": "other secret"},
		Clock: func() time.Time { return now },
	})
}

func exampleVerifier() *Verifier { return verifierAt(exampleTime) }

// header builds canonical headers of pairs.
func header(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// request builds a Request as a server would see it.
func request(t testing.TB, method, target string, h http.Header) *Request {
	t.Helper()
	r, err := ParseRequest(method, target, exampleHost, h, 0, nil)
	if err != nil {
		t.Fatalf("ParseRequest(%q): %v", target, err)
	}
	return r
}

// signed builds a request signed by the example key at the example time.
func signed(t testing.TB, method, target, payload string, h http.Header) *Request {
	t.Helper()
	return signedBy(t, exampleSigner(), method, target, payload, h)
}

func signedBy(t testing.TB, s Signer, method, target, payload string, h http.Header) *Request {
	t.Helper()
	hr, err := http.NewRequest(method, "http://"+exampleHost+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	hr.Header = h
	if hr.Header == nil {
		hr.Header = http.Header{}
	}
	if _, err := s.Sign(hr, payload, exampleTime); err != nil {
		t.Fatal(err)
	}
	return request(t, method, target, hr.Header)
}

// wantCode fails unless err is an *Error of that code and status.
func wantCode(t testing.TB, err error, code string, status int) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want %s", err, code)
	}
	if e.Code != code || e.Status() != status {
		t.Fatalf("got %s (%d) %q, want %s (%d)", e.Code, e.Status(), e.Message, code, status)
	}
	return e
}

// mustVerify verifies an S3 request that is right.
func mustVerify(t testing.TB, v *Verifier, r *Request) *Result {
	t.Helper()
	res, err := v.Verify(r, ServiceS3)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return res
}

// readBody reads a body of a verified request to its end.
func readBody(t testing.TB, res *Result, body []byte) ([]byte, io.Reader, error) {
	t.Helper()
	r, err := res.BodyReader(bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	got, err := io.ReadAll(r)
	return got, r, err
}

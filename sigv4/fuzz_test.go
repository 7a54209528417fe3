package sigv4

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever target parses is UTF-8, strictly encoded in its canonical form, and parses to the same again (V1).
func FuzzCanonicalRequest(f *testing.F) {
	for _, s := range []string{"/test$file.text", "/?lifecycle", "/?max-keys=2&prefix=J", "/b/%2F//../%c3%bc?a=b+c&a&=", "http://h/p?q", "*", "/%zz", "/?a;b"} {
		f.Add("GET", s, exampleHost, " a  b ")
	}
	f.Fuzz(func(t *testing.T, method, target, host, value string) {
		h := http.Header{"X-Amz-Meta-A": {value}}
		r, err := ParseRequest(method, target, host, h, 0, nil)
		if err != nil {
			wantCode(t, err, CodeInvalidURI, 400)
			return
		}
		if !utf8.ValidString(r.Path) || !isStrict(strings.ReplaceAll(r.CanonicalPath(), "%", ""), true) {
			t.Fatalf("path %q, canonical %q", r.Path, r.CanonicalPath())
		}
		to := exampleSigner().toSign(EmptySHA256, exampleTime)
		to.signed = []string{"host", "x-amz-meta-a"}
		var s scratch
		first, missing := s.sign(r, &to)
		if missing != "" {
			t.Fatalf("missing %q", missing)
		}
		query, _ := r.Query.appendCanonical(nil, "", nil)
		again, err := ParseRequest(method, r.CanonicalPath()+"?"+string(query), host, h, 0, nil)
		if err != nil {
			t.Fatalf("canonical form does not parse: %v", err)
		}
		if second, _ := s.sign(again, &to); first != second || again.Path != r.Path {
			t.Fatalf("canonical form of %q signs differently:\n%s", target, s.canonical)
		}
	})
}

// Whatever Authorization parses has sound fields, and formats back to a header that parses to the same.
func FuzzAuthorizationHeader(f *testing.F) {
	for _, a := range attacksOnHeader {
		r := signedPut(f)
		a.attack(r)
		f.Add(r.Header.Get("Authorization"))
	}
	f.Fuzz(func(t *testing.T, auth string) {
		c, err := parseAuthorization(auth)
		if err != nil {
			wantCode(t, err, CodeAuthorizationHeader, 400)
		} else {
			back := algorithm + " Credential=" + c.accessKey + "/" + c.scope.String() + ", SignedHeaders=" +
				strings.Join(c.signed, ";") + ", Signature=" + c.signature
			d, err := parseAuthorization(back)
			if err != nil || d.scope != c.scope || d.signature != c.signature || d.accessKey != c.accessKey {
				t.Fatalf("%q became %q: %v", auth, back, err)
			}
		}
		r := request(t, "GET", "/k", header("X-Amz-Date", "20130524T000000Z"))
		r.Header["Authorization"] = []string{auth}
		if _, err := exampleVerifier().Verify(r, ServiceS3); err == nil {
			t.Fatalf("%q verified a request that was never signed", auth)
		}
	})
}

// No query that was not signed verifies, and none with a credential field is anonymous (V2).
func FuzzPresignedQuery(f *testing.F) {
	good := presign(f, "x-amz-acl=private", nil)
	_, goodQuery := SplitTarget(good)
	f.Add(goodQuery)
	for _, a := range attacksOnPresigned {
		_, query := SplitTarget(a.attack(good, header()))
		f.Add(query)
	}
	goodRequest := request(f, "PUT", good, header())
	wantQuery, _ := goodRequest.Query.appendCanonical(nil, "", nil)
	f.Fuzz(func(t *testing.T, query string) {
		r, err := ParseRequest("PUT", "/k?"+query, exampleHost, header(), 0, nil)
		if err != nil {
			return
		}
		res, err := exampleVerifier().Verify(r, ServiceS3)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("untyped error %v", err)
		}
		if err != nil {
			return
		}
		got, _ := r.Query.appendCanonical(nil, "", nil)
		if res.Type == AuthPresignedV4 && !bytes.Equal(got, wantQuery) {
			t.Fatalf("%q verified", query)
		}
		if lower := strings.ToLower(string(got)); res.Type == AuthAnonymous &&
			(strings.Contains("&"+lower, "&x-amz-signature=") || strings.Contains("&"+lower, "&x-amz-credential=")) {
			t.Fatalf("%q is anonymous", query)
		}
	})
}

// A signed body that decodes is the one that was signed, and one decoded in small reads decodes alike in large ones.
func FuzzChunkedReader(f *testing.F) {
	for i, mode := range framedModes {
		f.Add([]byte(encodeChunks(f, mode, threeChunks, 16).String()), byte(i), int64(len(threeChunks)))
		for _, a := range attacksOnChunks {
			b := encodeChunks(f, mode, threeChunks, 16)
			if a.modes[0] == mode {
				a.attack(&b)
				f.Add([]byte(b.String()), byte(i), b.payload.DecodedLength)
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, which byte, decoded int64) {
		mode := framedModes[int(which)%len(framedModes)]
		b := chunkedBody{payload: Payload{Mode: mode, DecodedLength: decoded}, seed: sampleSeed()}
		if mode != PayloadChunked {
			b.payload.Trailers = []string{sampleTrailer.Name}
		}
		got, _, err := decodeChunks(b, bytes.NewReader(body))
		small, _, errSmall := decodeChunks(b, oneByOne{bytes.NewReader(body)})
		if (err == nil) != (errSmall == nil) || err == nil && got != small {
			t.Fatalf("large reads: %q, %v; small reads: %q, %v", got, err, small, errSmall)
		}
		if err != nil {
			return
		}
		if int64(len(got)) != decoded {
			t.Fatalf("%d bytes, declared %d", len(got), decoded)
		}
		if mode.signed() && got != threeChunks {
			t.Fatalf("%q was never signed", got)
		}
	})
}

// oneByOne hides all methods but Read and reads single bytes.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

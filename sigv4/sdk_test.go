package sigv4

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

var sdkCredentials = aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}

// sdkSigner signs as the S3 client of aws-sdk-go-v2 does.
func sdkSigner() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

// drawRequest makes a request with odd keys, queries and headers.
func drawRequest(t *rapid.T) *http.Request {
	key := rapid.StringOf(rapid.RuneFrom([]rune("abz09-._~ /+%?#&=;,:'\"()*!@$ü€𝄞"))).Draw(t, "key")
	u := url.URL{Scheme: "https", Host: exampleHost, Path: "/bucket/" + key, RawPath: "/bucket/" + EncodePath(key)}
	var query []string
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"prefix", "acl", "marker", "list-type", "a/b", "x-id"}), 0, 4, rapid.ID).Draw(t, "names") {
		query = append(query, EncodeQuery(name)+"="+EncodeQuery(rapid.String().Draw(t, "value")))
	}
	u.RawQuery = strings.Join(query, "&")
	method := rapid.SampledFrom([]string{"GET", "PUT", "POST", "DELETE", "HEAD"}).Draw(t, "method")
	r := &http.Request{Method: method, URL: &u, Host: exampleHost, Header: http.Header{}}
	r.ContentLength = rapid.Int64Range(0, 3).Draw(t, "length")
	value := rapid.StringOf(rapid.RuneFrom([]rune("ab  ,;\"=")))
	for _, name := range []string{"Content-Type", "X-Amz-Meta-A", "X-Amz-Acl", "If-Match", "Range", "User-Agent"} {
		if rapid.Bool().Draw(t, "has "+name) {
			r.Header[name] = []string{strings.Trim(value.Draw(t, name), " ")}
		}
	}
	return r
}

// The signer's Authorization equals the SDK's, byte for byte, and verifies.
func TestSignerAgainstSDK(t *testing.T) {
	v := exampleVerifier()
	rapid.Check(t, func(t *rapid.T) {
		ours := drawRequest(t)
		theirs := ours.Clone(context.Background())
		if _, err := exampleSigner().Sign(ours, helloHash, exampleTime); err != nil {
			t.Fatal(err)
		}
		theirs.Header.Set("X-Amz-Content-Sha256", helloHash)
		if err := sdkSigner().SignHTTP(context.Background(), sdkCredentials, theirs, helloHash, "s3", "us-east-1", exampleTime); err != nil {
			t.Fatal(err)
		}
		if got, want := ours.Header.Get("Authorization"), theirs.Header.Get("Authorization"); got != want {
			t.Fatalf("%s %s\n got %s\nwant %s", ours.Method, ours.URL, got, want)
		}
		r, err := ParseRequest(theirs.Method, theirs.URL.RequestURI(), theirs.Host, theirs.Header, theirs.ContentLength, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(r, ServiceS3); err != nil {
			t.Fatal(err)
		}
	})
}

// URLs presigned by the SDK verify, with the headers it hoists into the query; and so do ours.
func TestPresignAgainstSDK(t *testing.T) {
	v := exampleVerifier()
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t)
		r.ContentLength = 0
		r.Header.Del("User-Agent")
		rawURL := r.URL.String()
		q := r.URL.Query()
		q.Set("X-Amz-Expires", "3600")
		r.URL.RawQuery = q.Encode()
		signed, headers, err := sdkSigner().PresignHTTP(context.Background(), sdkCredentials, r.Clone(context.Background()), UnsignedPayload, "s3", "us-east-1", exampleTime)
		if err != nil {
			t.Fatal(err)
		}
		verifyURL(t, v, r.Method, signed, headers)

		ours, err := exampleSigner().Presign(r.Method, rawURL, r.Header, time.Hour, exampleTime)
		if err != nil {
			t.Fatal(err)
		}
		verifyURL(t, v, r.Method, ours, r.Header)
	})
}

func verifyURL(t *rapid.T, v *Verifier, method, signed string, h http.Header) {
	t.Helper()
	h = h.Clone()
	h.Del("Host")
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRequest(method, u.RequestURI(), u.Host, h, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(r, ServiceS3); err != nil {
		t.Fatalf("%s\n%v\n%v", signed, fmt.Sprint(h), err)
	}
}

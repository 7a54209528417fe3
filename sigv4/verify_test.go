package sigv4

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Every authentication type has exactly one answer, and no type but the two that verify yields an access key (V2).
func TestDispatchTableIsComplete(t *testing.T) {
	samples := map[AuthType]*Request{
		AuthUnknown:     request(t, "GET", "/k", header("Authorization", "Bearer x")),
		AuthAnonymous:   request(t, "GET", "/k", header()),
		AuthHeaderV4:    signed(t, "GET", "/k", EmptySHA256, header()),
		AuthPresignedV4: request(t, "PUT", presign(t, "", nil), header()),
		AuthHeaderV2:    request(t, "GET", "/k", header("Authorization", "AWS AKID:sig")),
		AuthPresignedV2: request(t, "GET", "/k?AWSAccessKeyId=a&Signature=b&Expires=1", header()),
		AuthPostForm:    request(t, "POST", "/b", header("Content-Type", "multipart/form-data; boundary=x")),
		AuthConflict:    request(t, "GET", "/k?X-Amz-Signature=a&Signature=b", header()),
	}
	for _, typ := range AuthTypes() {
		t.Run(typ.String(), func(t *testing.T) {
			r, ok := samples[typ]
			if !ok {
				t.Fatal("no sample")
			}
			if verifiers[typ] == nil {
				t.Fatal("no entry in the dispatch table")
			}
			if got := Classify(r); got != typ {
				t.Fatalf("classified as %v", got)
			}
			res, err := exampleVerifier().Verify(r, ServiceS3)
			switch typ {
			case AuthHeaderV4, AuthPresignedV4:
				if err != nil || res.AccessKey != exampleKey || res.Type != typ {
					t.Fatalf("%+v, %v", res, err)
				}
			case AuthAnonymous:
				if err != nil || res.AccessKey != "" || res.Type != typ {
					t.Fatalf("%+v, %v", res, err)
				}
			default:
				if err == nil {
					t.Fatal("accepted")
				}
			}
			if err != nil && (typ == AuthHeaderV2 || typ == AuthPresignedV2) && !strings.Contains(err.Error(), algorithm) {
				t.Errorf("%v does not name %s", err, algorithm)
			}
		})
	}
}

// A credential field in any place or spelling is never anonymous (V2).
func TestNoCredentialFieldIsAnonymous(t *testing.T) {
	for _, p := range authParams {
		for _, name := range []string{p, strings.ToLower(p), strings.ToUpper(p)} {
			if got := Classify(request(t, "GET", "/k?"+name, header())); got != AuthPresignedV4 {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	for _, target := range []string{"/k?AWSAccessKeyId", "/k?Signature="} {
		if got := Classify(request(t, "GET", target, header())); got != AuthPresignedV2 {
			t.Errorf("%s: %v", target, got)
		}
	}
	r := request(t, "GET", "/k", header("X-Amz-Security-Token", "t"))
	_, err := exampleVerifier().Verify(r, ServiceS3)
	wantCode(t, err, CodeInvalidToken, 400)
	if got := Classify(request(t, "GET", "/k?X-Amz-Dates=1&x-id=GetObject&response-expires=x", header("X-Amz-Date", "x"))); got != AuthAnonymous {
		t.Errorf("without credentials: %v", got)
	}
}

func TestRegions(t *testing.T) {
	v := NewVerifier(Options{
		Keys: mapKeys{exampleKey: exampleSecret}, Region: "eu-west-1", Clock: func() time.Time { return exampleTime },
	})
	for _, c := range []struct {
		region string
		ok     bool
	}{{"eu-west-1", true}, {"us-east-1", true}, {"us-west-2", false}} {
		s := exampleSigner()
		s.Region = c.region
		_, err := v.Verify(signedBy(t, s, "GET", "/k", EmptySHA256, nil), ServiceS3)
		if c.ok {
			if err != nil {
				t.Errorf("%s: %v", c.region, err)
			}
			continue
		}
		e := wantCode(t, err, CodeAuthorizationHeader, 400)
		if e.Region != "eu-west-1" || !strings.Contains(e.Message, "the region 'us-west-2' is wrong; expecting 'eu-west-1'") {
			t.Errorf("%+v", e)
		}
	}
}

// A signing key verified for one service is no good for another.
func TestServices(t *testing.T) {
	s := exampleSigner()
	for _, signedFor := range []string{ServiceS3, ServiceSTS, ServiceIAM} {
		for _, service := range []string{ServiceS3, ServiceSTS, ServiceIAM} {
			s.Service = signedFor
			_, err := exampleVerifier().Verify(signedBy(t, s, "GET", "/", EmptySHA256, nil), service)
			if (err == nil) != (signedFor == service) {
				t.Errorf("signed for %s, verified for %s: %v", signedFor, service, err)
			}
		}
	}
}

// STS and IAM clients send a form and no x-amz-content-sha256: the payload line is the body's hash.
func TestFormBodyHashIsThePayloadLine(t *testing.T) {
	s := exampleSigner()
	s.Service = ServiceSTS
	form := func() *Request {
		r := signedBy(t, s, "POST", "/", helloHash, header("Content-Type", "application/x-www-form-urlencoded"))
		r.Header.Del("X-Amz-Content-Sha256")
		to := s.toSign(helloHash, exampleTime)
		to.signed = []string{"content-type", "host", "x-amz-date"}
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/"+to.scope.String()+
			", SignedHeaders=content-type;host;x-amz-date, Signature="+signOnce(r, &to))
		r.ContentLength, r.BodySHA256 = 5, helloHash
		return r
	}
	res, err := exampleVerifier().Verify(form(), ServiceSTS)
	if err != nil || res.Payload.Mode != PayloadHash {
		t.Fatalf("%+v, %v", res, err)
	}
	r := form()
	r.BodySHA256 = EmptySHA256
	_, err = exampleVerifier().Verify(r, ServiceSTS)
	wantCode(t, err, CodeSignatureDoesNotMatch, 403)
	r = form()
	r.Header.Set("X-Amz-Content-Sha256", EmptySHA256)
	_, err = exampleVerifier().Verify(r, ServiceSTS)
	wantCode(t, err, CodeXAmzContentSHA256Mismatch, 400)
}

func TestAcceptEncodingRewrittenByCDN(t *testing.T) {
	sign := func(value string) *Request {
		r := request(t, "GET", "/k", header("X-Amz-Date", "20130524T000000Z", "Accept-Encoding", value))
		to := exampleSigner().toSign(EmptySHA256, exampleTime)
		to.signed = []string{"accept-encoding", "host", "x-amz-date"}
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/"+to.scope.String()+
			", SignedHeaders=accept-encoding;host;x-amz-date, Signature="+signOnce(r, &to))
		return r
	}
	r := sign("identity")
	r.Header.Set("Accept-Encoding", "gzip, br")
	mustVerify(t, exampleVerifier(), r)
	r.Header.Del("Accept-Encoding")
	mustVerify(t, exampleVerifier(), r)
	r = sign("gzip")
	mustVerify(t, exampleVerifier(), r)
	r.Header.Set("Accept-Encoding", "br")
	_, err := exampleVerifier().Verify(r, ServiceS3)
	e := wantCode(t, err, CodeSignatureDoesNotMatch, 403)
	if !strings.Contains(e.CanonicalRequest, "\naccept-encoding:br\n") {
		t.Errorf("the canonical request is not of the first try:\n%s", e.CanonicalRequest)
	}
}

func TestPresignedQueryActsAsHeaders(t *testing.T) {
	target := presign(t, "X-Amz-Meta-Colour=dark+blue&x-amz-tagging=a%3Db&x-amz-checksum-crc32=AAAAAA%3D%3D"+
		"&X-Amz-Sdk-Checksum-Algorithm=CRC32&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-id=PutObject", nil)
	res := mustVerify(t, exampleVerifier(), request(t, "PUT", target, header()))
	got := fmt.Sprint(res.QueryHeaders)
	const want = "map[X-Amz-Content-Sha256:[UNSIGNED-PAYLOAD] X-Amz-Meta-Colour:[dark blue] X-Amz-Tagging:[a=b]]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPresignedSignedHeaders(t *testing.T) {
	h := header("Content-Type", "text/plain", "X-Amz-Meta-A", "b")
	target := presign(t, "", h)
	mustVerify(t, exampleVerifier(), request(t, "PUT", target, h))
	_, err := exampleVerifier().Verify(request(t, "PUT", target, header("X-Amz-Meta-A", "b")), ServiceS3)
	wantCode(t, err, CodeSignatureDoesNotMatch, 403)
}

func TestSigningKeyCache(t *testing.T) {
	keys := mapKeys{exampleKey: exampleSecret}
	v := NewVerifier(Options{Keys: keys, Clock: func() time.Time { return exampleTime }, CachedKeysMax: 8})
	good := signedPut(t)
	for range 3 {
		mustVerify(t, v, good)
	}
	if n := v.cache.len(); n != 1 {
		t.Errorf("%d cached keys, want 1", n)
	}

	// A changed secret misses; the old signature fails at once.
	keys[exampleKey] = "new secret"
	_, err := v.Verify(good, ServiceS3)
	wantCode(t, err, CodeSignatureDoesNotMatch, 403)
	if n := v.cache.len(); n != 1 {
		t.Errorf("a failed verification was cached: %d keys", n)
	}

	// A removed key is unknown although its signing key is cached.
	delete(keys, exampleKey)
	_, err = v.Verify(good, ServiceS3)
	wantCode(t, err, CodeInvalidAccessKeyID, 403)

	// The cache is bounded (V6).
	for i := range 100 {
		s := Signer{AccessKey: fmt.Sprint("K", i), SecretKey: "s", Region: "us-east-1"}
		keys[s.AccessKey] = s.SecretKey
		mustVerify(t, v, signedBy(t, s, "GET", "/", EmptySHA256, nil))
	}
	if n := v.cache.len(); n > 8 {
		t.Errorf("%d cached keys, want at most 8", n)
	}
}

func TestSecretsAreNotFormatted(t *testing.T) {
	key := DeriveKey("secret", Scope{"20130524", "us-east-1", "s3"})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, key); got != "[signing key]" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

func TestLongSecret(t *testing.T) {
	for _, n := range []int{1, 40, 59, 60, 61, 200} {
		s := Signer{AccessKey: "LONG", SecretKey: strings.Repeat("x", n), Region: "us-east-1"}
		v := NewVerifier(Options{Keys: mapKeys{"LONG": s.SecretKey}, Clock: func() time.Time { return exampleTime }})
		mustVerify(t, v, signedBy(t, s, "GET", "/", EmptySHA256, nil))
	}
}

func TestAnonymousPayload(t *testing.T) {
	for _, c := range []struct {
		line string
		ok   bool
	}{{UnsignedPayload, true}, {helloHash, true}, {StreamingUnsignedTrailer, true}, {StreamingPayload, false}, {"x", false}} {
		r := request(t, "PUT", "/k", header("X-Amz-Content-Sha256", c.line, "X-Amz-Decoded-Content-Length", "5", "Content-Encoding", "aws-chunked"))
		_, err := exampleVerifier().Verify(r, ServiceS3)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.line, err)
		}
	}
}

func TestFraming(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		mode   PayloadMode
		code   string
		status int
	}{
		{name: "plain unsigned", header: []string{"X-Amz-Content-Sha256", UnsignedPayload}, mode: PayloadUnsigned},
		{name: "java unsigned", header: []string{"X-Amz-Content-Sha256", UnsignedPayload, "Content-Encoding", "gzip, aws-chunked", "X-Amz-Decoded-Content-Length", "1"}, mode: PayloadChunkedUnsignedTrailer},
		{name: "aws-chunked alone", header: []string{"X-Amz-Content-Sha256", UnsignedPayload, "Content-Encoding", "aws-chunked"}, code: CodeInvalidRequest, status: 400},
		{name: "decoded length alone", header: []string{"X-Amz-Content-Sha256", UnsignedPayload, "X-Amz-Decoded-Content-Length", "1"}, code: CodeInvalidRequest, status: 400},
		{name: "streaming without encoding", header: []string{"X-Amz-Content-Sha256", StreamingPayload, "X-Amz-Decoded-Content-Length", "0"}, mode: PayloadChunked},
		{name: "negative", header: []string{"X-Amz-Content-Sha256", StreamingPayload, "X-Amz-Decoded-Content-Length", "-1"}, code: CodeInvalidArgument, status: 400},
		{name: "not a number", header: []string{"X-Amz-Content-Sha256", StreamingPayload, "X-Amz-Decoded-Content-Length", "1e3"}, code: CodeInvalidArgument, status: 400},
		{name: "too large", header: []string{"X-Amz-Content-Sha256", StreamingPayload, "X-Amz-Decoded-Content-Length", "9223372036854775808"}, code: CodeInvalidArgument, status: 400},
		{name: "twice", header: []string{"X-Amz-Content-Sha256", StreamingPayload, "X-Amz-Decoded-Content-Length", "1", "X-Amz-Decoded-Content-Length", "2"}, code: CodeInvalidArgument, status: 400},
		{name: "trailer in a mode without", header: []string{"X-Amz-Content-Sha256", StreamingPayload, "X-Amz-Decoded-Content-Length", "1", "X-Amz-Trailer", "x-amz-checksum-crc32"}, code: CodeInvalidRequest, status: 400},
		{name: "trailer twice", header: []string{"X-Amz-Content-Sha256", StreamingUnsignedTrailer, "X-Amz-Decoded-Content-Length", "1", "X-Amz-Trailer", "a, A"}, code: CodeInvalidRequest, status: 400},
		{name: "trailer signature declared", header: []string{"X-Amz-Content-Sha256", StreamingPayloadTrailer, "X-Amz-Decoded-Content-Length", "1", "X-Amz-Trailer", "x-amz-trailer-signature"}, code: CodeInvalidRequest, status: 400},
		{name: "trailers", header: []string{"X-Amz-Content-Sha256", StreamingPayloadTrailer, "X-Amz-Decoded-Content-Length", "1", "X-Amz-Trailer", "X-Amz-Checksum-Crc32 ,b"}, mode: PayloadChunkedTrailer},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := header(c.header...)
			res, err := exampleVerifier().Verify(signed(t, "PUT", "/k", h.Get("X-Amz-Content-Sha256"), h), ServiceS3)
			if c.code != "" {
				wantCode(t, err, c.code, c.status)
				return
			}
			if err != nil || res.Payload.Mode != c.mode {
				t.Fatalf("%+v, %v", res, err)
			}
			if c.name == "trailers" && fmt.Sprint(res.Payload.Trailers) != "[x-amz-checksum-crc32 b]" {
				t.Errorf("trailers %v", res.Payload.Trailers)
			}
		})
	}
}

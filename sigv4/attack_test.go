package sigv4

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

const helloHash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // "hello"

// replaceAuth edits the Authorization header.
func replaceAuth(old, new string) func(*Request) {
	return func(r *Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
	}
}

// attacksOnHeader start from a good signed PUT with body "hello" and must each be refused.
var attacksOnHeader = []struct {
	name   string
	attack func(*Request)
	code   string
	status int
}{
	// S3.md 3.1
	{"other secret's key", replaceAuth(exampleKey, "OTHER"), CodeSignatureDoesNotMatch, 403},
	{"unknown key", replaceAuth(exampleKey, "NOBODY"), CodeInvalidAccessKeyID, 403},
	{"short signature", replaceAuth("Signature=", "Signature=0"), CodeSignatureDoesNotMatch, 403},
	{"method", func(r *Request) { r.Method = "DELETE" }, CodeSignatureDoesNotMatch, 403},
	{"host", func(r *Request) { r.Host = "other.s3.amazonaws.com" }, CodeSignatureDoesNotMatch, 403},
	{"host port", func(r *Request) { r.Host += ":80" }, CodeSignatureDoesNotMatch, 403},
	{"path", func(r *Request) { r.canonicalPath = "/examplf" }, CodeSignatureDoesNotMatch, 403},
	{"query added", func(r *Request) { r.Query, _ = ParseQuery("acl") }, CodeSignatureDoesNotMatch, 403},
	{"signed header changed", func(r *Request) { r.Header.Set("X-Amz-Acl", "public-read") }, CodeSignatureDoesNotMatch, 403},
	{"signed header removed", func(r *Request) { r.Header.Del("X-Amz-Acl") }, CodeSignatureDoesNotMatch, 403},
	{"payload hash", func(r *Request) { r.Header.Set("X-Amz-Content-Sha256", UnsignedPayload) }, CodeSignatureDoesNotMatch, 403},
	{"payload hash removed", func(r *Request) { r.Header.Del("X-Amz-Content-Sha256"); r.ContentLength = 0 }, CodeSignatureDoesNotMatch, 403},
	// 3.3
	{"region", replaceAuth("/us-east-1/", "/eu-west-1/"), CodeAuthorizationHeader, 400},
	{"service", replaceAuth("/s3/", "/sts/"), CodeAuthorizationHeader, 400},
	{"scope date", replaceAuth("/20130524/", "/20130523/"), CodeAuthorizationHeader, 400},
	{"scope date not a date", replaceAuth("/20130524/", "/2013-5-2/"), CodeAuthorizationHeader, 400},
	{"terminator", replaceAuth("/aws4_request", "/aws5_request"), CodeAuthorizationHeader, 400},
	{"scope too short", replaceAuth("/s3/", "/"), CodeAuthorizationHeader, 400},
	{"scope too long", replaceAuth("/s3/", "/s3/x/"), CodeAuthorizationHeader, 400},
	{"algorithm", replaceAuth("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA1 "), CodeInvalidArgument, 400},
	{"sigv4a", replaceAuth("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "), CodeInvalidArgument, 400},
	{"sigv2", func(r *Request) { r.Header.Set("Authorization", "AWS AKID:c2ln") }, CodeInvalidRequest, 400},
	{"basic", func(r *Request) { r.Header.Set("Authorization", "Basic YTpi") }, CodeInvalidArgument, 400},
	{"empty authorization", func(r *Request) { r.Header.Set("Authorization", "") }, CodeAccessDenied, 403},
	{"unsigned copy source", func(r *Request) { r.Header.Set("X-Amz-Copy-Source", "/b/k") }, CodeAccessDenied, 403},
	{"unsigned non-canonical name", func(r *Request) { r.Header["x-aMz-copy-source"] = []string{"/b/k"} }, CodeAccessDenied, 403},
	{"unsigned host", replaceAuth("host;", ""), CodeAccessDenied, 403},
	{"unsigned date", replaceAuth(";x-amz-date", ""), CodeAccessDenied, 403},
	{"no payload hash, a body", func(r *Request) { r.Header.Del("X-Amz-Content-Sha256") }, CodeInvalidRequest, 400},
	{"no payload hash, chunked", func(r *Request) {
		r.Header.Del("X-Amz-Content-Sha256")
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
	}, CodeInvalidRequest, 400},
	{"no date", func(r *Request) { r.Header.Del("X-Amz-Date") }, CodeAccessDenied, 403},
	{"bad date", func(r *Request) { r.Header.Set("X-Amz-Date", "Fri, 24 May 2013 00:00:00 GMT") }, CodeAccessDenied, 403},
	{"date with fraction", func(r *Request) { r.Header.Set("X-Amz-Date", "20130524T000000.5Z") }, CodeAccessDenied, 403},
	{"two dates", func(r *Request) { r.Header.Add("X-Amz-Date", "20130524T000000Z") }, CodeAccessDenied, 403},
	// 3.4
	{"two authorizations", func(r *Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, CodeInvalidArgument, 400},
	{"query algorithm too", func(r *Request) { r.Query, _ = ParseQuery("X-Amz-Algorithm=AWS4-HMAC-SHA256") }, CodeInvalidArgument, 400},
	{"query credential too", func(r *Request) { r.Query, _ = ParseQuery("x-amz-credential=a") }, CodeInvalidArgument, 400},
	{"v2 query too", func(r *Request) { r.Query, _ = ParseQuery("Signature=a") }, CodeInvalidArgument, 400},
	{"signature twice", replaceAuth(", Signature=", ", Signature=0, Signature="), CodeAuthorizationHeader, 400},
	{"credential twice", replaceAuth(" Credential=", " Credential=a, Credential="), CodeAuthorizationHeader, 400},
	{"no signature", replaceAuth(", Signature=", ", Signaturf="), CodeAuthorizationHeader, 400},
	{"empty signature", func(r *Request) {
		a, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature")
		r.Header.Set("Authorization", a)
	}, CodeAuthorizationHeader, 400},
	{"unknown field", replaceAuth(", Signature=", ", Foo=bar, Signature="), CodeAuthorizationHeader, 400},
	{"bare word", replaceAuth(", Signature=", ", Foo, Signature="), CodeAuthorizationHeader, 400},
	{"unsorted signed headers", replaceAuth("host;x-amz-acl", "x-amz-acl;host"), CodeAuthorizationHeader, 400},
	{"doubled signed header", replaceAuth("host;", "host;host;"), CodeAuthorizationHeader, 400},
	{"upper-case signed header", replaceAuth("host;", "Host;"), CodeAuthorizationHeader, 400},
	{"empty signed header", replaceAuth("host;", "host;;"), CodeAuthorizationHeader, 400},
	{"payload hash twice", func(r *Request) { r.Header.Add("X-Amz-Content-Sha256", helloHash) }, CodeInvalidArgument, 400},
	{"payload hash not hex", func(r *Request) { r.Header.Set("X-Amz-Content-Sha256", strings.Repeat("g", 64)) }, CodeInvalidArgument, 400},
	{"payload mode unknown", func(r *Request) { r.Header.Set("X-Amz-Content-Sha256", "STREAMING-FOO") }, CodeInvalidArgument, 400},
	{"payload mode sigv4a", func(r *Request) {
		r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER")
	}, CodeNotImplemented, 501},
	{"streaming without decoded length", func(r *Request) { r.Header.Set("X-Amz-Content-Sha256", StreamingPayload) }, CodeMissingContentLength, 411},
	{"security token", func(r *Request) { r.Header.Set("X-Amz-Security-Token", "t") }, CodeInvalidToken, 400},
}

func signedPut(t testing.TB) *Request {
	r := signed(t, "PUT", "/example", helloHash, header("X-Amz-Acl", "private"))
	r.ContentLength = int64(len("hello"))
	return r
}

func TestAttacksOnHeader(t *testing.T) {
	mustVerify(t, exampleVerifier(), signedPut(t))
	for _, a := range attacksOnHeader {
		t.Run(a.name, func(t *testing.T) {
			r := signedPut(t)
			a.attack(r)
			_, err := exampleVerifier().Verify(r, ServiceS3)
			wantCode(t, err, a.code, a.status)
			if strings.Contains(err.Error(), exampleSecret) {
				t.Error("the error shows the secret (V7)")
			}
		})
	}
}

func TestEveryByteOfTheSignatureCounts(t *testing.T) {
	v := exampleVerifier()
	for i := range 64 {
		r := signedPut(t)
		auth := []byte(r.Header.Get("Authorization"))
		auth[len(auth)-1-i] ^= 1
		r.Header.Set("Authorization", string(auth))
		_, err := v.Verify(r, ServiceS3)
		wantCode(t, err, CodeSignatureDoesNotMatch, 403)
	}
}

func TestUnsignedHeadersAreNamed(t *testing.T) {
	r := signedPut(t)
	r.Header.Set("X-Amz-Website-Redirect-Location", "/")
	r.Header.Set("X-Amz-Cf-Id", "added by a CDN")
	r.Header.Set("X-Amzn-Trace-Id", "Root=1")
	_, err := exampleVerifier().Verify(r, ServiceS3)
	e := wantCode(t, err, CodeAccessDenied, 403)
	if len(e.Fields) != 1 || e.Fields[0] != (Field{"HeadersNotSigned", "x-amz-website-redirect-location"}) {
		t.Errorf("fields %v", e.Fields)
	}
	r.Header.Del("X-Amz-Website-Redirect-Location")
	mustVerify(t, exampleVerifier(), r)
}

func TestHeaderSkew(t *testing.T) {
	for _, c := range []struct {
		off time.Duration
		ok  bool
	}{
		{0, true}, {14 * time.Minute, true}, {-14 * time.Minute, true}, {15 * time.Minute, true},
		{16 * time.Minute, false}, {-16 * time.Minute, false}, {24 * time.Hour, false},
	} {
		_, err := verifierAt(exampleTime.Add(c.off)).Verify(signedPut(t), ServiceS3)
		if c.ok && err != nil {
			t.Errorf("%v off: %v", c.off, err)
		}
		if !c.ok {
			e := wantCode(t, err, CodeRequestTimeTooSkewed, 403)
			if len(e.Fields) != 3 || e.Fields[0].Value != "20130524T000000Z" || e.Fields[2].Value != "900000" {
				t.Errorf("%v off: fields %v", c.off, e.Fields)
			}
		}
	}
}

func TestDateHeaderInsteadOfAmzDate(t *testing.T) {
	for _, date := range []string{"Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z"} {
		r := request(t, "GET", "/k", header("Date", date))
		s := exampleSigner().toSign(EmptySHA256, exampleTime)
		s.signed = []string{"date", "host"}
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/"+s.scope.String()+
			",SignedHeaders=date;host,Signature="+signOnce(r, &s))
		mustVerify(t, exampleVerifier(), r)
	}
}

// presign returns the target of a good presigned PUT of /k, with extra query parameters signed along.
func presign(t testing.TB, extra string, h http.Header) string {
	t.Helper()
	url, err := exampleSigner().Presign("PUT", "http://"+exampleHost+"/k?"+extra, h, time.Hour, exampleTime)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func replaceTarget(old, new string) func(string, http.Header) string {
	return func(target string, _ http.Header) string { return strings.Replace(target, old, new, 1) }
}

func appendTarget(more string) func(string, http.Header) string {
	return func(target string, _ http.Header) string { return target + more }
}

func addHeader(name, value string) func(string, http.Header) string {
	return func(target string, h http.Header) string {
		h.Set(name, value)
		return target
	}
}

var attacksOnPresigned = []struct {
	name   string
	attack func(target string, h http.Header) string
	code   string
	status int
}{
	{"signature", replaceTarget("X-Amz-Signature=", "X-Amz-Signature=0"), CodeSignatureDoesNotMatch, 403},
	{"path", replaceTarget("/k?", "/l?"), CodeSignatureDoesNotMatch, 403},
	{"more query", appendTarget("&versionId=null"), CodeSignatureDoesNotMatch, 403},
	{"longer life", replaceTarget("Expires=3600", "Expires=36000"), CodeSignatureDoesNotMatch, 403},
	{"life zero", replaceTarget("Expires=3600", "Expires=0"), CodeAuthorizationQuery, 400},
	{"life negative", replaceTarget("Expires=3600", "Expires=-1"), CodeAuthorizationQuery, 400},
	{"life over a week", replaceTarget("Expires=3600", "Expires=604801"), CodeAuthorizationQuery, 400},
	{"life with a sign", replaceTarget("Expires=3600", "Expires=%2B3600"), CodeAuthorizationQuery, 400},
	{"life not a number", replaceTarget("Expires=3600", "Expires=1h"), CodeAuthorizationQuery, 400},
	{"life huge", replaceTarget("Expires=3600", "Expires=99999999999999999999"), CodeAuthorizationQuery, 400},
	{"region", replaceTarget("us-east-1", "eu-west-1"), CodeAuthorizationQuery, 400},
	{"service", replaceTarget("%2Fs3%2F", "%2Fsts%2F"), CodeAuthorizationQuery, 400},
	{"scope date", replaceTarget("%2F20130524%2F", "%2F20130523%2F"), CodeAuthorizationQuery, 400},
	{"terminator", replaceTarget("aws4_request", "aws5_request"), CodeAuthorizationQuery, 400},
	{"algorithm", replaceTarget("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), CodeAuthorizationQuery, 400},
	{"date", replaceTarget("Date=20130524T000000Z", "Date=yesterday"), CodeAuthorizationQuery, 400},
	{"no algorithm", replaceTarget("X-Amz-Algorithm=", "a="), CodeAuthorizationQuery, 400},
	{"no credential", replaceTarget("X-Amz-Credential=", "a="), CodeAuthorizationQuery, 400},
	{"no date", replaceTarget("X-Amz-Date=", "a="), CodeAuthorizationQuery, 400},
	{"no expires", replaceTarget("X-Amz-Expires=", "a="), CodeAuthorizationQuery, 400},
	{"no signed headers", replaceTarget("X-Amz-SignedHeaders=", "a="), CodeAuthorizationQuery, 400},
	{"no signature", replaceTarget("X-Amz-Signature=", "a="), CodeAuthorizationQuery, 400},
	{"lower-case signature name", replaceTarget("X-Amz-Signature=", "x-amz-signature="), CodeAuthorizationQuery, 400},
	{"signature twice", appendTarget("&X-Amz-Signature=00"), CodeAuthorizationQuery, 400},
	{"credential twice", appendTarget("&X-Amz-Credential=a"), CodeAuthorizationQuery, 400},
	{"expires twice", appendTarget("&X-Amz-Expires=1"), CodeAuthorizationQuery, 400},
	{"expires twice, other case", appendTarget("&x-amz-expires=1"), CodeAuthorizationQuery, 400},
	{"security token", appendTarget("&X-Amz-Security-Token=t"), CodeInvalidToken, 400},
	{"security token header", addHeader("X-Amz-Security-Token", "t"), CodeInvalidToken, 400},
	{"authorization too", addHeader("Authorization", "AWS4-HMAC-SHA256 Credential=a"), CodeInvalidArgument, 400},
	{"v2 too", appendTarget("&AWSAccessKeyId=a"), CodeInvalidArgument, 400},
	{"unsigned header", addHeader("X-Amz-Copy-Source", "/b/k"), CodeAccessDenied, 403},
	{"same name in header and query", addHeader("X-Amz-Acl", "public-read"), CodeInvalidArgument, 400},
	{"same name and value, unsigned", addHeader("X-Amz-Acl", "private"), CodeAccessDenied, 403},
	{"same name twice in the header", func(t string, h http.Header) string {
		h["X-Amz-Acl"] = []string{"private", "private"}
		return t
	}, CodeInvalidArgument, 400},
	{"date in header too", addHeader("X-Amz-Date", "20130524T000000Z"), CodeInvalidArgument, 400},
	{"payload hash in the query added", appendTarget("&X-Amz-Content-Sha256=" + helloHash), CodeSignatureDoesNotMatch, 403},
	{"payload hash header", addHeader("X-Amz-Content-Sha256", helloHash), CodeSignatureDoesNotMatch, 403},
	{"line feed in a query header", appendTarget("&x-amz-meta-a=b%0Ac"), CodeInvalidArgument, 400},
}

func TestAttacksOnPresigned(t *testing.T) {
	good := presign(t, "x-amz-acl=private", nil)
	mustVerify(t, exampleVerifier(), request(t, "PUT", good, header()))
	for _, a := range attacksOnPresigned {
		t.Run(a.name, func(t *testing.T) {
			h := header()
			target := a.attack(good, h)
			_, err := exampleVerifier().Verify(request(t, "PUT", target, h), ServiceS3)
			wantCode(t, err, a.code, a.status)
		})
	}
}

func TestPresignedTime(t *testing.T) {
	target := presign(t, "", nil)
	for _, c := range []struct {
		now time.Duration
		ok  bool
	}{
		{-16 * time.Minute, false}, {-14 * time.Minute, true}, {0, true}, {time.Hour, true}, {time.Hour + time.Second, false},
	} {
		_, err := verifierAt(exampleTime.Add(c.now)).Verify(request(t, "PUT", target, header()), ServiceS3)
		if c.ok && err != nil {
			t.Errorf("at %v: %v", c.now, err)
		}
		if !c.ok {
			wantCode(t, err, CodeAccessDenied, 403)
		}
	}
}

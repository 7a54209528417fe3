package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signer signs requests for clients and tests.
type Signer struct {
	AccessKey string
	SecretKey string
	Region    string
	Service   string // "s3" if empty
}

// unsignedByClients are headers that proxies and libraries change; they are never signed.
var unsignedByClients = map[string]bool{
	"accept-encoding": true, "authorization": true, "connection": true, "expect": true, "transfer-encoding": true,
	"user-agent": true, "x-amzn-trace-id": true,
}

// Sign adds X-Amz-Date, X-Amz-Content-Sha256 and Authorization to r. payload is the payload line: a hex hash,
// UnsignedPayload or one of the streaming values; for these the returned Seed starts the body. Host, every header but
// those that proxies change, and a positive ContentLength are signed. Errors: a URL that is not valid percent-encoding.
func (s Signer) Sign(r *http.Request, payload string, at time.Time) (Seed, error) {
	t := s.toSign(payload, at)
	r.Header.Set("X-Amz-Date", t.time)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	req, err := ParseRequest(r.Method, r.URL.RequestURI(), clientHost(r), r.Header, r.ContentLength, nil)
	if err != nil {
		return Seed{}, err
	}
	t.signed = signedNames(r.Header, r.ContentLength)
	sig := signOnce(req, &t)
	r.Header.Set("Authorization", algorithm+" Credential="+s.AccessKey+"/"+t.scope.String()+
		", SignedHeaders="+strings.Join(t.signed, ";")+", Signature="+sig)
	return Seed{Signature: sig, Time: t.time, Scope: t.scope, key: t.key}, nil
}

// Presign returns rawURL with a signature that is valid for expires from at on. header are the headers that the user of
// the URL must send as they are; nil for none. The payload is unsigned unless header has X-Amz-Content-Sha256.
func (s Signer) Presign(method, rawURL string, header http.Header, expires time.Duration, at time.Time) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	payload := UnsignedPayload
	if v := header.Get("X-Amz-Content-Sha256"); v != "" {
		payload = v
	}
	t := s.toSign(payload, at)
	t.presigned = true
	t.signed = signedNames(header, 0)
	target := u.EscapedPath() + "?" + u.RawQuery
	for _, p := range [...]Field{
		{"X-Amz-Algorithm", algorithm},
		{"X-Amz-Credential", s.AccessKey + "/" + t.scope.String()},
		{"X-Amz-Date", t.time},
		{"X-Amz-Expires", strconv.FormatInt(int64(expires/time.Second), 10)},
		{"X-Amz-SignedHeaders", strings.Join(t.signed, ";")},
	} {
		target += "&" + p.Name + "=" + EncodeQuery(p.Value)
	}
	req, err := ParseRequest(method, target, u.Host, header, -1, nil)
	if err != nil {
		return "", err
	}
	query, _ := req.Query.appendCanonical(nil, "", nil)
	return u.Scheme + "://" + u.Host + req.CanonicalPath() + "?" + string(query) +
		"&" + paramSignature + "=" + signOnce(req, &t), nil
}

func (s Signer) toSign(payload string, at time.Time) toSign {
	at = at.UTC()
	service := s.Service
	if service == "" {
		service = ServiceS3
	}
	scope := Scope{Date: at.Format(dateFormat), Region: s.Region, Service: service}
	return toSign{key: DeriveKey(s.SecretKey, scope), time: at.Format(timeFormat), scope: scope, payload: payload}
}

func signOnce(r *Request, t *toSign) string {
	s := scratchPool.Get().(*scratch)
	defer s.release()
	sig, _ := s.sign(r, t)
	return string(sig[:])
}

// clientHost is what net/http's client sends as Host.
func clientHost(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	return r.URL.Host
}

func signedNames(h http.Header, length int64) []string {
	names := []string{"host"}
	if length > 0 {
		names = append(names, "content-length")
	}
	for name := range h {
		if lower := strings.ToLower(name); !unsignedByClients[lower] && lower != "content-length" && lower != "host" {
			names = append(names, lower)
		}
	}
	slices.Sort(names)
	return names
}

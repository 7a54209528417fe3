package sigv4

import (
	"net/http"
	"strconv"
	"strings"
)

// Request is what verification needs of an HTTP request, taken from its wire form.
type Request struct {
	Method string
	Host   string      // as the client sent it, port included
	Header http.Header // canonical names; Go keeps Host, Transfer-Encoding and sometimes Content-Length elsewhere

	ContentLength    int64 // bytes; -1 when unknown
	TransferEncoding []string

	Path  string // decoded once; "/" at least
	Query Query  // what callers must read instead of url.URL.Query

	// BodySHA256 is the lower-case hex hash of the body. It is the payload line when the request has no
	// x-amz-content-sha256, as STS and IAM form requests have none. Leave it empty for S3.
	BodySHA256 string

	canonicalPath string
}

// NewRequest takes a server's request. It reads RequestURI, never URL, which has lost escapes. Errors: InvalidURI.
func NewRequest(r *http.Request) (*Request, error) {
	return ParseRequest(r.Method, r.RequestURI, r.Host, r.Header, r.ContentLength, r.TransferEncoding)
}

// ParseRequest builds a Request of its parts: target is the request target as sent, in origin or absolute form; length
// is in bytes, -1 for unknown. Errors: InvalidURI.
func ParseRequest(method, target, host string, header http.Header, length int64, encodings []string) (*Request, error) {
	rawPath, rawQuery := SplitTarget(target)
	path, canonical, ok := reencode(rawPath, false)
	if !ok || path == "" {
		return nil, newError(CodeInvalidURI, "Couldn't parse the specified URI.")
	}
	query, err := ParseQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	return &Request{
		Method: method, Host: host, Header: header,
		ContentLength: length, TransferEncoding: encodings,
		Path: path, Query: query, canonicalPath: canonical,
	}, nil
}

// SplitTarget splits a request target into raw path and raw query (without '?'). Of an absolute form, scheme and
// authority are dropped; an empty path is "/".
func SplitTarget(target string) (path, query string) {
	if !strings.HasPrefix(target, "/") {
		if _, rest, ok := strings.Cut(target, "://"); ok {
			if i := strings.IndexAny(rest, "/?"); i >= 0 {
				target = rest[i:]
			} else {
				target = ""
			}
		}
	}
	path, query, _ = strings.Cut(target, "?")
	if path == "" {
		path = "/"
	}
	return path, query
}

// CanonicalPath returns the strictly encoded path, the canonical URI.
func (r *Request) CanonicalPath() string { return r.canonicalPath }

// headerValues returns the values of the lower-case name, and whether the request carries it. Where Go keeps a header
// outside of http.Header, the value is rebuilt.
func (r *Request) headerValues(name string, one *[1]string) ([]string, bool) {
	switch name {
	case "host":
		one[0] = r.Host
		return one[:], true
	case "transfer-encoding":
		if len(r.TransferEncoding) > 0 {
			return r.TransferEncoding, true
		}
	}
	if v, ok := r.Header[canonicalName(name)]; ok && len(v) > 0 {
		return v, true
	}
	switch {
	case name == "content-length" && r.ContentLength >= 0:
		one[0] = strconv.FormatInt(r.ContentLength, 10)
		return one[:], true
	case name == "expect":
		// The HTTP/2 server answers and removes it; no other value is allowed.
		one[0] = "100-continue"
		return one[:], true
	}
	return nil, false
}

// amz returns a request header that may also travel as a query parameter of a presigned URL.
func (r *Request) amz(name string, extra http.Header) (string, bool) {
	key := canonicalName(name)
	if v := r.Header[key]; len(v) > 0 {
		return v[0], true
	}
	if v := extra[key]; len(v) > 0 {
		return v[0], true
	}
	return "", false
}

// canonicalName is http.CanonicalHeaderKey without allocation for the names that S3 clients sign.
func canonicalName(lower string) string {
	if c, ok := canonicalNames[lower]; ok {
		return c
	}
	return http.CanonicalHeaderKey(lower)
}

var canonicalNames = func() map[string]string {
	m := make(map[string]string)
	for _, lower := range []string{
		"accept", "accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request", "authorization", "cache-control",
		"content-disposition", "content-encoding", "content-language", "content-length", "content-md5", "content-type",
		"date", "expect", "expires", "host", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since",
		"range", "transfer-encoding", "user-agent", "x-amz-acl", "x-amz-checksum-algorithm", "x-amz-checksum-crc32",
		"x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme", "x-amz-checksum-mode", "x-amz-checksum-sha1",
		"x-amz-checksum-sha256", "x-amz-checksum-type", "x-amz-content-sha256", "x-amz-copy-source", "x-amz-date",
		"x-amz-decoded-content-length", "x-amz-expected-bucket-owner", "x-amz-meta-mtime", "x-amz-metadata-directive",
		"x-amz-sdk-checksum-algorithm", "x-amz-security-token", "x-amz-storage-class", "x-amz-tagging",
		"x-amz-trailer", "x-amz-user-agent",
	} {
		m[lower] = http.CanonicalHeaderKey(lower)
	}
	return m
}()

// lowerName undoes canonicalName.
func lowerName(canonical string) string {
	if l, ok := lowerNames[canonical]; ok {
		return l
	}
	return strings.ToLower(canonical)
}

var lowerNames = func() map[string]string {
	m := make(map[string]string, len(canonicalNames))
	for lower, canonical := range canonicalNames {
		m[canonical] = lower
	}
	return m
}()

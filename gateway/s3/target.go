package s3

import (
	"net/netip"
	"strings"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// Level is what a request addresses.
type Level uint8

// The levels.
const (
	LevelService Level = 1 // "/"
	LevelBucket  Level = 2 // "/b", "/b/"
	LevelObject  Level = 3 // "/b/key"
)

func (l Level) String() string {
	return [...]string{"", "service", "bucket", "object"}[l&3]
}

// Target is the request target, split. Bucket and Key are decoded but not checked: see Names.
type Target struct {
	RawPath     string // path as on the wire, beginning with '/'; the canonical URI of SigV4 is made of it
	RawQuery    string // query as on the wire, without '?'
	Host        string // the authority of an absolute-form target, which overrides the Host header; else the Host header
	Level       Level
	Bucket      string
	Key         string
	VirtualHost bool // the bucket came from the host
}

// ParseTarget splits a request's RequestURI (origin-form or absolute-form) and finds bucket and key.
//
// The host's port is stripped and its letters lowered; if what remains ends in "." and one of domains (lower case, without dot),
// the rest before it is the bucket. IP addresses and all other hosts are path style. The path is percent-decoded once; '+' is
// plus. A bad escape, what is not UTF-8, or another form of target is 400 InvalidURI.
func ParseTarget(requestURI, host string, domains []string) (Target, error) {
	t := Target{Host: host}
	rest := requestURI
	if !strings.HasPrefix(rest, "/") {
		var ok bool
		if t.Host, rest, ok = cutAbsolute(rest); !ok {
			return Target{}, invalidURI()
		}
	}
	t.RawPath, t.RawQuery, _ = strings.Cut(rest, "?")
	path, ok := unescape(t.RawPath, false)
	if !ok || strings.IndexByte(t.RawPath, '#') >= 0 {
		return Target{}, invalidURI()
	}
	path = path[1:]
	if bucket, ok := bucketOfHost(t.Host, domains); ok {
		t.VirtualHost, t.Bucket, t.Key = true, bucket, path
	} else {
		t.Bucket, t.Key, _ = strings.Cut(path, "/")
	}
	switch {
	case t.Key != "":
		t.Level = LevelObject
	case t.Bucket != "" || path != "":
		t.Level = LevelBucket
	default:
		t.Level = LevelService
	}
	return t, nil
}

func invalidURI() *Error { return NewError(CodeInvalidURI, "") }

// cutAbsolute splits "http://host/path?query" into host and "/path?query".
func cutAbsolute(s string) (host, rest string, ok bool) {
	scheme, after, found := strings.Cut(s, "://")
	if !found || !(strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
		return "", "", false
	}
	i := strings.IndexAny(after, "/?")
	if i < 0 {
		i = len(after)
	}
	host, rest = after[:i], after[i:]
	if host == "" || strings.IndexByte(host, '@') >= 0 {
		return "", "", false
	}
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return host, rest, true
}

// bucketOfHost finds the bucket of a virtual-host style request.
func bucketOfHost(host string, domains []string) (string, bool) {
	if len(domains) == 0 {
		return "", false
	}
	host = strings.ToLower(stripPort(host))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return "", false
	}
	best := ""
	for _, d := range domains { // the longest domain that fits
		if len(d) > len(best) && len(host) > len(d)+1 && strings.HasSuffix(host, d) && host[len(host)-len(d)-1] == '.' {
			best = d
		}
	}
	if best == "" {
		return "", false
	}
	for _, d := range domains { // the host may itself be a domain below another one
		if host == d {
			return "", false
		}
	}
	return host[:len(host)-len(best)-1], true
}

func stripPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 || (strings.Count(host, ":") > 1 && host[0] != '[') {
		return host
	}
	return host[:i]
}

// Names checks bucket and key as far as the level has them: 400 InvalidBucketName, KeyTooLongError.
func (t *Target) Names() (object.Bucket, object.Key, error) {
	if t.Level == LevelService {
		return "", "", nil
	}
	b, err := CheckBucket(t.Bucket)
	if err != nil || t.Level == LevelBucket {
		return b, "", err
	}
	k, err := CheckKey(t.Key)
	return b, k, err
}

// CheckBucket is object.ParseBucket with an S3 error: 400 InvalidBucketName.
func CheckBucket(s string) (object.Bucket, error) {
	b, err := object.ParseBucket(s)
	if err != nil {
		return "", NewError(CodeInvalidBucketName, "").With("BucketName", s)
	}
	return b, nil
}

// CheckKey is object.ParseKey with S3 errors: 400 KeyTooLongError, InvalidArgument (empty), InvalidURI (not UTF-8).
func CheckKey(s string) (object.Key, error) {
	k, err := object.ParseKey(s)
	switch {
	case err == nil:
		return k, nil
	case errs.Is(err, errs.LimitExceeded):
		return "", NewError(CodeKeyTooLongError, "").With("Size", utoa(uint64(len(s)))).With("MaxSizeAllowed", utoa(object.KeyBytesMax))
	case s == "":
		return "", NewError(CodeInvalidArgument, "A key must be at least one character")
	}
	return "", invalidURI()
}

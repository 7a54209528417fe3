package s3

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

// parseUint reads decimal digits only: no sign, no space.
func parseUint(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && s[0] != '+'
}

// headerValues are the values of a header. The name is written in this package, canonical or all in lower case.
func headerValues(h http.Header, name string) []string {
	if c := name[0]; 'A' <= c && c <= 'Z' {
		return h[name]
	}
	if c, ok := canonicalNames[name]; ok {
		return h[c]
	}
	return h[textproto.CanonicalMIMEHeaderKey(name)]
}

// canonicalNames saves the work of making names canonical for each request.
var canonicalNames = func() map[string]string {
	m := make(map[string]string)
	for _, name := range []string{
		HeaderChecksumAlgorithm, HeaderSDKChecksumAlgorithm, HeaderChecksumType, HeaderChecksumMode, HeaderTrailer, HeaderObjectSize,
		headerMatchModified, headerMatchSize, headerMatchInitiated, headerCopySource, headerCopySourceRange, "x-amz-request-route",
		"content-type",
	} {
		m[name] = textproto.CanonicalMIMEHeaderKey(name)
	}
	return m
}()

// headerValue is the first value, or "".
func headerValue(h http.Header, name string) string {
	if v := headerValues(h, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// hasControl says whether s has a control character other than tab.
func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return (r < ' ' && r != '\t') || r == 0x7F }) >= 0
}

package sigv4

import (
	"strings"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// unreserved marks the bytes that SigV4 never encodes: A-Z a-z 0-9 - . _ ~ (RFC 3986, section 2.3).
var unreserved = func() (t [256]bool) {
	for c := range t {
		b := byte(c)
		t[c] = b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || strings.IndexByte("-._~", b) >= 0
	}
	return t
}()

// EncodePath percent-encodes all of a decoded path but unreserved characters and '/', as in S3's canonical URI.
func EncodePath(decoded string) string { return encode(decoded, true) }

// EncodeQuery percent-encodes all of a decoded query name or value but unreserved characters.
func EncodeQuery(decoded string) string { return encode(decoded, false) }

func encode(s string, keepSlash bool) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !keeps(s[i], keepSlash) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	out := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; keeps(c, keepSlash) {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out)
}

func keeps(c byte, keepSlash bool) bool { return unreserved[c] || keepSlash && c == '/' }

// decode undoes percent-encoding once. plusIsSpace is for queries. It reports false for a bad escape or bytes that are
// not UTF-8.
func decode(s string, plusIsSpace bool) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && (!plusIsSpace || strings.IndexByte(s, '+') < 0) {
		return s, utf8.ValidString(s)
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", false
			}
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case c == '+' && plusIsSpace:
			out = append(out, ' ')
		default:
			out = append(out, c)
		}
	}
	return string(out), utf8.Valid(out)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// reencode returns the decoded and the strict form of a wire component, sharing memory with raw where they agree.
func reencode(raw string, isQuery bool) (decoded, strict string, ok bool) {
	if isStrict(raw, !isQuery) {
		return raw, raw, true
	}
	decoded, ok = decode(raw, isQuery)
	if !ok {
		return "", "", false
	}
	return decoded, encode(decoded, !isQuery), true
}

// isStrict reports whether s holds only bytes that are never encoded, so that decoding and encoding leave it as it is.
func isStrict(s string, keepSlash bool) bool {
	for i := 0; i < len(s); i++ {
		if !keeps(s[i], keepSlash) {
			return false
		}
	}
	return true
}

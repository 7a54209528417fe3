package s3

import (
	"strings"
	"unicode/utf8"
)

const (
	xmlHeader = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	xmlns     = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`
)

const hexDigits = "0123456789ABCDEF"

// appendText appends s as XML text. Control characters become numeric references (a literal one would be lost or refused, and
// two keys would merge); bytes that are not UTF-8 become U+FFFD.
func appendText(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if (r == utf8.RuneError && n == 1) || r == 0xFFFE || r == 0xFFFF {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + n
			}
			i += n
			continue
		}
		if plainText[c] {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscaped(dst, c)
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// plainText marks the ASCII characters that stand for themselves.
var plainText = func() (t [utf8.RuneSelf]bool) {
	for c := byte(0x20); c < 0x7F; c++ {
		t[c] = c != '<' && c != '>' && c != '&' && c != '"' && c != '\''
	}
	return t
}()

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '<':
		return append(dst, "&lt;"...)
	case '>':
		return append(dst, "&gt;"...)
	case '&':
		return append(dst, "&amp;"...)
	case '"':
		return append(dst, "&quot;"...)
	case '\'':
		return append(dst, "&#39;"...)
	}
	dst = append(dst, "&#x"...)
	if c >= 0x10 {
		dst = append(dst, hexDigits[c>>4])
	}
	return append(dst, hexDigits[c&15], ';')
}

func appendOpen(dst []byte, name string) []byte {
	return append(append(append(dst, '<'), name...), '>')
}

func appendClose(dst []byte, name string) []byte {
	return append(append(append(dst, '<', '/'), name...), '>')
}

// appendElement appends <name>text</name>.
func appendElement(dst []byte, name, text string) []byte {
	return appendClose(appendText(appendOpen(dst, name), text), name)
}

// appendEcho appends an element that repeats what the client sent and knows. What XML 1.0 cannot hold, escaped or not, becomes
// U+FFFD: parsers refuse a whole answer with a control character in it.
func appendEcho(dst []byte, name, text string) []byte {
	return appendElement(dst, name, strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			return utf8.RuneError
		}
		return r
	}, text))
}

// appendEncoded appends an element whose text is URL-encoded if url is set (encoding-type=url).
func appendEncoded(dst []byte, name, text string, url bool) []byte {
	dst = appendOpen(dst, name)
	if url {
		dst = appendURL(dst, text)
	} else {
		dst = appendText(dst, text)
	}
	return appendClose(dst, name)
}

// appendURL percent-encodes all but unreserved characters and '/': space is %20, as S3's encoding-type=url has it.
func appendURL(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' || c == '/' {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// appendRoot appends the XML declaration and the open root element with S3's namespace.
func appendRoot(dst []byte, name string) []byte {
	dst = append(append(append(dst, xmlHeader...), '<'), name...)
	return append(append(dst, xmlns...), '>')
}

package gateway

import (
	"bytes"
	"strconv"
	"strings"
)

// head is what the guard needs of a request head: how its body is framed.
type head struct {
	length  int64 // Content-Length; 0 when there is none
	chunked bool
}

func badHead(message string) *refusal { return &refusal{code: "BadRequest", message: message} }

func headTooLarge() *refusal {
	return &refusal{code: "RequestHeaderSectionTooLarge", message: "Your request header section exceeds the maximum allowed size."}
}

// unfinishedHead judges a head that has not ended yet: its size, and what can never become right.
func unfinishedHead(b []byte) *refusal {
	line := bytes.IndexByte(b, '\n')
	switch {
	case line < 0 && len(b) > requestLineMax, line >= 0 && len(b)-line > headerSectionMax+2:
		return headTooLarge()
	case line == 0, line > 0 && b[line-1] != '\r', bytes.Contains(b, []byte("\n\n")):
		return badHead("A line of the request head does not end in CRLF.")
	}
	return nil
}

// parseHead checks a whole head, its empty line included, and finds the framing of the body. It blanks expectations that are
// ignored.
// Source: RFC 9112, sections 2.2, 3, 5 and 6.3.
func parseHead(b []byte) (h head, r *refusal) {
	end := bytes.Index(b, []byte("\r\n"))
	if end > requestLineMax || len(b)-end > headerSectionMax+4 {
		return h, headTooLarge()
	}
	version, r := checkRequestLine(b[:end])
	if r != nil {
		return h, r
	}
	f := framing{}
	for rest := b[end+2:]; ; {
		end = bytes.Index(rest, []byte("\r\n"))
		if end == 0 {
			break
		}
		name, value, r := parseField(rest[:end])
		if r != nil {
			return h, r
		}
		if r := f.add(name, value); r != nil {
			return h, r
		}
		if len(name) == len("Expect") && strings.EqualFold(string(name), "Expect") {
			ignoreExpectation(value)
		}
		rest = rest[end+2:]
	}
	return f.finish(version)
}

// checkRequestLine wants METHOD SP target SP HTTP/1.x and a target whose escapes are whole.
func checkRequestLine(line []byte) (version string, r *refusal) {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, proto, ok2 := bytes.Cut(rest, []byte(" "))
	version = string(proto)
	if !ok || !ok2 || !isToken(method) || len(target) == 0 || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return "", badHead("The request line is malformed.")
	}
	for i, c := range target {
		switch {
		case c < ' ' || c == 0x7F:
			return "", badHead("The request line holds a control character.")
		case c == '%' && !(i+2 < len(target) && isHexDigit(target[i+1]) && isHexDigit(target[i+2])), c == '#':
			return "", &refusal{code: "InvalidURI", message: "Couldn't parse the specified URI."}
		}
	}
	return version, nil
}

// parseField splits a header line. Folded lines, space before the colon and control characters are refused.
func parseField(line []byte) (name, value []byte, r *refusal) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		return nil, nil, badHead("A header line is malformed.")
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7F {
			return nil, nil, badHead("A header value holds a control character.")
		}
	}
	return name, bytes.Trim(value, " \t"), nil
}

// ignoreExpectation blanks, where it stands, an expectation other than 100-continue, which net/http would answer with a bare 417.
// A server may ignore it (RFC 9110, section 10.1.1), and S3 does.
func ignoreExpectation(value []byte) {
	if !strings.Contains(strings.ToLower(string(value)), "100-continue") {
		copy(value, bytes.Repeat([]byte(" "), len(value)))
	}
}

// framing gathers the fields that say where a body ends.
type framing struct {
	length  string
	coding  string
	lengths int
	codings int
	hosts   int
}

func (f *framing) add(name, value []byte) *refusal {
	switch {
	case len(name) == len("Content-Length") && strings.EqualFold(string(name), "Content-Length"):
		f.length = string(value)
		f.lengths++
	case len(name) == len("Transfer-Encoding") && strings.EqualFold(string(name), "Transfer-Encoding"):
		f.coding = string(value)
		f.codings++
	case len(name) == len("Host") && strings.EqualFold(string(name), "Host"):
		f.hosts++
	}
	if f.lengths > 1 || f.codings > 1 || f.hosts > 1 {
		return badHead("A header that may be given once is repeated.")
	}
	return nil
}

func (f *framing) finish(version string) (h head, r *refusal) {
	switch {
	case f.hosts == 0 && version == "HTTP/1.1":
		return h, badHead("The Host header is missing.")
	case f.codings > 0 && f.lengths > 0:
		return h, badHead("Content-Length and Transfer-Encoding exclude each other.")
	case f.codings > 0 && (version != "HTTP/1.1" || !strings.EqualFold(f.coding, "chunked")):
		return h, badHead("The Transfer-Encoding is not supported.")
	case f.lengths > 0:
		n, err := strconv.ParseUint(f.length, 10, 63)
		if err != nil || f.length[0] == '+' {
			return h, badHead("The Content-Length is malformed.")
		}
		h.length = int64(n)
	}
	h.chunked = f.codings > 0
	return h, nil
}

func isHexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// tokenChar marks the characters of RFC 9110, section 5.6.2.
var tokenChar = func() (t [256]bool) {
	for c := range t {
		b := byte(c)
		t[c] = b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b != 0 && strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
	}
	return t
}()

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenChar[c] {
			return false
		}
	}
	return len(b) > 0
}

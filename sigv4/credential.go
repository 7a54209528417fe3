package sigv4

import (
	"slices"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z" // ISO 8601 basic, UTC
	dateFormat = "20060102"

	signedHeadersMax = 512 // names in one SignedHeaders list; an 8 KiB header section holds fewer that begin with x-amz-
)

// Scope is what a signing key is good for.
type Scope struct {
	Date    string // YYYYMMDD, UTC
	Region  string
	Service string
}

// String formats the scope as in strings to sign: date/region/service/aws4_request.
func (s Scope) String() string {
	return s.Date + "/" + s.Region + "/" + s.Service + "/" + terminator
}

func (s Scope) append(dst []byte) []byte {
	dst = append(dst, s.Date...)
	dst = append(dst, '/')
	dst = append(dst, s.Region...)
	dst = append(dst, '/')
	dst = append(dst, s.Service...)
	return append(dst, "/"+terminator...)
}

// credentials are the parsed fields of an Authorization header or a presigned query, not yet verified.
type credentials struct {
	kind      credentialKind
	accessKey string
	scope     Scope
	signed    []string // lower case, ascending
	signature string   // as sent: a wrong length or alphabet is a mismatch, not a syntax error

	time    time.Time
	timeRaw string        // as sent, for error documents
	expires time.Duration // presigned only
}

// parseAuthorization parses "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...". The three fields may
// come in any order, each exactly once, and no other; spaces around commas are optional.
func parseAuthorization(header string) (c credentials, err error) {
	fields, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return c, inHeader.errorf("expecting the algorithm %q.", algorithm)
	}
	var credential, signed string
	for field := range strings.SplitSeq(fields, ",") {
		name, value, ok := strings.Cut(strings.Trim(field, " "), "=")
		if !ok || value == "" {
			return c, inHeader.errorf("a comma-separated list of name=value pairs is required.")
		}
		target := &c.signature
		switch name {
		case "Credential":
			target = &credential
		case "SignedHeaders":
			target = &signed
		case "Signature":
		default:
			return c, inHeader.errorf("unknown field %q.", name)
		}
		if *target != "" {
			return c, inHeader.errorf("the field %s is given twice.", name)
		}
		*target = value
	}
	if credential == "" || signed == "" || c.signature == "" {
		return c, inHeader.errorf("Credential, SignedHeaders and Signature are required.")
	}
	return c, c.parse(inHeader, credential, signed)
}

// parse fills the fields that both carriers share.
func (c *credentials) parse(kind credentialKind, credential, signed string) error {
	c.kind = kind
	part := strings.Split(credential, "/")
	if len(part) != 5 || slices.Contains(part, "") {
		return kind.errorf("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/%s\".", terminator)
	}
	if part[4] != terminator {
		return kind.errorf("the Credential terminates with %q, expecting %q.", part[4], terminator)
	}
	if !isScopeDate(part[1]) {
		return kind.errorf("incorrect date format %q. This date in the credential must be in the format \"yyyyMMdd\".", part[1])
	}
	c.accessKey = part[0]
	c.scope = Scope{Date: part[1], Region: part[2], Service: part[3]}
	c.signed = strings.Split(signed, ";")
	return checkSignedHeaders(kind, c.signed)
}

// isScopeDate reports whether s is eight digits; whether they are the right ones shows in comparison with the time.
func isScopeDate(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == len(dateFormat)
}

// checkSignedHeaders wants lower-case field names in ascending order, each once.
func checkSignedHeaders(kind credentialKind, names []string) error {
	if len(names) > signedHeadersMax {
		return kind.errorf("more than %d signed headers.", signedHeadersMax)
	}
	for i, name := range names {
		if !isLowerToken(name) {
			return kind.errorf("the SignedHeaders field %q is not a lower-case header name.", name)
		}
		if i > 0 && names[i-1] >= name {
			return kind.errorf("the SignedHeaders must be sorted, each name once; %q is out of order.", name)
		}
	}
	return nil
}

// isLowerToken reports whether s is a header field name (RFC 9110, section 5.6.2) without upper-case letters.
func isLowerToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
}

// checkScope compares the scope with what this server signs for and with the request's own date.
func (c *credentials) checkScope(regions []string, service string) error {
	if !slices.Contains(regions, c.scope.Region) {
		format := "the region '%s' is wrong; expecting '%s'"
		if c.kind == inQuery {
			format = "Error parsing the X-Amz-Credential parameter; " + format
		}
		err := c.kind.errorf(format, c.scope.Region, regions[0]).with("Region", regions[0])
		err.Region = regions[0]
		return err
	}
	if c.scope.Service != service {
		return c.kind.errorf("incorrect service %q. This endpoint belongs to %q.", c.scope.Service, service)
	}
	if date := c.time.Format(dateFormat); c.scope.Date != date {
		return c.kind.errorf("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", c.scope.Date, date)
	}
	return nil
}

package sigv4

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// expiresMax is the longest life of a presigned URL, seven days.
const expiresMax = 604800 * time.Second

// authParams are the query parameters of a presigned URL that carry credentials. Each may occur once.
var authParams = [...]string{
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
	"X-Amz-Security-Token",
}

const (
	paramSignature     = "X-Amz-Signature"
	paramContentSHA256 = "x-amz-content-sha256" // any case
)

// isAuthParam matches the names of authParams in any case.
func isAuthParam(name string) bool {
	if len(name) < len("x-amz-date") || !hasPrefixFold(name, "x-amz-") {
		return false
	}
	for _, p := range authParams {
		if strings.EqualFold(p, name) {
			return true
		}
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// parsePresigned parses the credential parameters of a presigned URL. Errors: AuthorizationQueryParametersError, and
// InvalidToken when there is a security token.
func parsePresigned(q Query) (c credentials, err error) {
	var value [len(authParams)]string
	for i, name := range authParams {
		if q.Count(name) > 1 {
			return c, inQuery.errorf("The query parameter %s is given twice.", name)
		}
		value[i] = q.Get(name)
	}
	if q.Has("X-Amz-Security-Token") {
		return c, errToken()
	}
	for i := range value[:6] {
		if value[i] == "" {
			return c, inQuery.errorf("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, " +
				"X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
		}
	}
	if value[0] != algorithm {
		return c, inQuery.errorf("X-Amz-Algorithm only supports %q", algorithm)
	}
	c.signature = value[5]
	c.timeRaw = value[2]
	if c.time, err = parseTime(value[2]); err != nil {
		return c, inQuery.errorf("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	if c.expires, err = parseExpires(value[3]); err != nil {
		return c, err
	}
	return c, c.parse(inQuery, value[1], value[4])
}

// parseExpires wants 1 to 604,800 seconds in decimal.
func parseExpires(s string) (time.Duration, error) {
	seconds, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil || s[0] == '+':
		return 0, inQuery.errorf("X-Amz-Expires should be a number")
	case seconds < 1:
		return 0, inQuery.errorf("X-Amz-Expires must be positive")
	case seconds > int64(expiresMax/time.Second):
		return 0, inQuery.errorf("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires " +
			"must be less than 604800 seconds")
	}
	return time.Duration(seconds) * time.Second, nil
}

// checkTime refuses a URL that is not valid yet (the clocks may differ by 15 minutes) or not valid any more.
func (c *credentials) checkPresignedTime(now time.Time) error {
	if c.time.After(now.Add(skewMax)) {
		return newError(CodeAccessDenied, "Request is not yet valid").
			with("X-Amz-Date", c.timeRaw).
			with("ServerTime", now.UTC().Format(time.RFC3339))
	}
	if end := c.time.Add(c.expires); now.After(end) {
		return newError(CodeAccessDenied, "Request has expired").
			with("X-Amz-Expires", strconv.FormatInt(int64(c.expires/time.Second), 10)).
			with("Expires", end.UTC().Format(time.RFC3339)).
			with("ServerTime", now.UTC().Format(time.RFC3339))
	}
	return nil
}

// queryHeaders collects the x-amz-* query parameters of a presigned URL that act as headers. Credentials are left out,
// and so are x-amz-checksum-* and x-amz-sdk-checksum-algorithm: SDKs put the empty body's checksum there. The same name
// in header and query is InvalidArgument, unless both say the same, as in the URLs of the AWS SDK for JavaScript v2.
func queryHeaders(q Query, header http.Header) (http.Header, error) {
	var out http.Header
	for i := range q {
		if !hasPrefixFold(q[i].Name, "x-amz-") {
			continue
		}
		lower := strings.ToLower(q[i].Name)
		if strings.HasPrefix(lower, "x-amz-checksum-") || lower == "x-amz-sdk-checksum-algorithm" {
			continue
		}
		key := canonicalName(lower)
		if h := header[key]; len(h) == 1 && !isAuthParam(lower) && strings.Trim(h[0], " \t") == q[i].Value {
			continue
		} else if len(h) > 0 {
			return nil, newError(CodeInvalidArgument, "%s is given both as a header and as a query parameter.", lower).
				with("ArgumentName", lower)
		}
		if isAuthParam(lower) {
			if !isExactAuthParam(q[i].Name) {
				return nil, inQuery.errorf("The query parameter %q is not spelt as it must be.", q[i].Name)
			}
			continue
		}
		if !isLowerToken(lower) || strings.ContainsAny(q[i].Value, "\r\n\x00") {
			return nil, newError(CodeInvalidArgument, "The query parameter %q cannot be a header.", q[i].Name)
		}
		if out == nil {
			out = make(http.Header)
		}
		out[key] = append(out[key], q[i].Value)
	}
	if len(out[canonicalName(paramContentSHA256)]) > 1 {
		return nil, newError(CodeInvalidArgument, "%s is given twice.", paramContentSHA256)
	}
	return out, nil
}

func isExactAuthParam(name string) bool {
	for _, p := range authParams {
		if p == name {
			return true
		}
	}
	return false
}

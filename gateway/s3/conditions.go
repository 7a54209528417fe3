package s3

import (
	"net/http"
	"strings"

	"minikv/internal/digest"
)

// Match is a parsed If-Match or If-None-Match.
type Match struct {
	Set   bool          // the header is there
	Any   bool          // "*"
	ETags []digest.ETag // tags that are no ETag of this store are left out: they match nothing
}

// Matches says whether an existing object with the ETag is meant.
func (m *Match) Matches(e digest.ETag) bool {
	if m.Any {
		return true
	}
	for _, t := range m.ETags {
		if t == e {
			return true
		}
	}
	return false
}

// parseMatch reads the lines of a header. weak says that W/"tag" is compared like "tag" (If-None-Match), else it matches nothing.
func parseMatch(lines []string, weak bool) Match {
	m := Match{Set: len(lines) > 0}
	for _, line := range lines {
		for rest := line; rest != ""; {
			var tag string
			tag, rest = cutTag(rest)
			if tag == "*" {
				m.Any = true
			}
			if w, is := strings.CutPrefix(tag, "W/"); is {
				if !weak {
					continue
				}
				tag = w
			}
			if e, ok := digest.ParseETag(tag); ok {
				m.ETags = append(m.ETags, e)
			}
		}
	}
	return m
}

// cutTag cuts the first tag off a list; a comma inside quotes separates nothing.
func cutTag(s string) (tag, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return strings.Trim(s[:i], " \t"), s[i+1:]
		}
	}
	return strings.Trim(s, " \t"), ""
}

// ReadConditions are those of GET and HEAD, and with other header names those on a copy's source. Times are whole seconds since
// 1970; nil for none.
type ReadConditions struct {
	IfMatch           Match
	IfNoneMatch       Match
	IfModifiedSince   *int64
	IfUnmodifiedSince *int64
	prefix            string // of the header names
}

// ParseReadConditions reads If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since. A date that is none is 400
// InvalidArgument (W5), where RFC 9110 would ignore it.
func ParseReadConditions(h http.Header) (ReadConditions, error) { return parseReadConditions(h, "") }

// ParseCopyConditions reads the x-amz-copy-source-if-* headers; errors as ParseReadConditions.
func ParseCopyConditions(h http.Header) (ReadConditions, error) {
	return parseReadConditions(h, "x-amz-copy-source-")
}

func parseReadConditions(h http.Header, prefix string) (c ReadConditions, err error) {
	c.prefix = prefix
	c.IfMatch = parseMatch(headerValues(h, prefix+"If-Match"), false)
	c.IfNoneMatch = parseMatch(headerValues(h, prefix+"If-None-Match"), true)
	if c.IfModifiedSince, err = timeCondition(h, prefix+"If-Modified-Since"); err != nil {
		return c, err
	}
	c.IfUnmodifiedSince, err = timeCondition(h, prefix+"If-Unmodified-Since")
	return c, err
}

func timeCondition(h http.Header, name string) (*int64, error) {
	v := headerValues(h, name)
	if len(v) == 0 {
		return nil, nil
	}
	sec, ok := ParseHTTPTime(v[0])
	if !ok {
		return nil, InvalidArgument(name, v[0], "The date of "+name+" is not well-formed")
	}
	return &sec, nil
}

// Any says whether there is a condition.
func (c *ReadConditions) Any() bool {
	return c.IfMatch.Set || c.IfNoneMatch.Set || c.IfModifiedSince != nil || c.IfUnmodifiedSince != nil
}

// Check evaluates the conditions of GET and HEAD against an object that exists, with RFC 9110 precedence (section 13.2.2): nil,
// 412 PreconditionFailed, or 304 NotModified.
func (c *ReadConditions) Check(e digest.ETag, modifiedMS int64) error {
	failed, notModified := c.evaluate(e, modifiedMS)
	switch {
	case failed != "":
		return PreconditionFailed(c.prefix + failed)
	case notModified != "":
		return NotModified()
	}
	return nil
}

// CheckCopy evaluates conditions on a copy's source: nil or 412, never 304.
func (c *ReadConditions) CheckCopy(e digest.ETag, modifiedMS int64) error {
	failed, notModified := c.evaluate(e, modifiedMS)
	switch {
	case failed != "":
		return PreconditionFailed(c.prefix + failed)
	case notModified != "":
		return PreconditionFailed(c.prefix + notModified)
	}
	return nil
}

// evaluate names the condition that fails, or the one that says "you have it".
func (c *ReadConditions) evaluate(e digest.ETag, modifiedMS int64) (failed, notModified string) {
	sec := floorSeconds(modifiedMS)
	switch {
	case c.IfMatch.Set:
		if !c.IfMatch.Matches(e) {
			return "If-Match", ""
		}
	case c.IfUnmodifiedSince != nil && sec > *c.IfUnmodifiedSince:
		return "If-Unmodified-Since", ""
	}
	switch {
	case c.IfNoneMatch.Set:
		if c.IfNoneMatch.Matches(e) {
			return "", "If-None-Match"
		}
	case c.IfModifiedSince != nil && sec <= *c.IfModifiedSince:
		return "", "If-Modified-Since"
	}
	return "", ""
}

package sigv4

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// queryParamsMax bounds the parameters of one query; S3 operations have at most about 30.
const queryParamsMax = 256

// Param is one query parameter, decoded. A parameter without '=' has HasValue false and an empty Value.
type Param struct {
	Name     string
	Value    string
	HasValue bool

	encName  string // strict encoding of Name
	encValue string // strict encoding of Value
}

// Query is a parsed query string in wire order, duplicates kept.
type Query []Param

// ParseQuery parses the raw query of a request target, without '?'. '+' is a space. A bad escape, bytes that are not
// UTF-8, a raw ';' (which some parsers take for a separator) and more than 256 parameters are InvalidURI: nothing is
// ever dropped silently, as net/url does.
func ParseQuery(raw string) (Query, error) {
	if raw == "" {
		return nil, nil
	}
	n := strings.Count(raw, "&") + 1
	if n > queryParamsMax {
		return nil, newError(CodeInvalidURI, "The query string has more than %d parameters.", queryParamsMax)
	}
	if strings.IndexByte(raw, ';') >= 0 {
		return nil, newError(CodeInvalidURI, "Couldn't parse the specified URI: unescaped ';' in the query string.")
	}
	q := make(Query, 0, n)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, hasValue := strings.Cut(pair, "=")
		p := Param{HasValue: hasValue}
		var okName, okValue bool
		p.Name, p.encName, okName = reencode(rawName, true)
		p.Value, p.encValue, okValue = reencode(rawValue, true)
		if !okName || !okValue {
			return nil, newError(CodeInvalidURI, "Couldn't parse the specified URI: bad escape in the query string.")
		}
		q = append(q, p)
	}
	return q, nil
}

// Get returns the first value of name, or "".
func (q Query) Get(name string) string {
	v, _ := q.Lookup(name)
	return v
}

// Has reports whether name is present, with or without a value.
func (q Query) Has(name string) bool {
	_, ok := q.Lookup(name)
	return ok
}

// Lookup returns the first value of name and whether it is present.
func (q Query) Lookup(name string) (string, bool) {
	for i := range q {
		if q[i].Name == name {
			return q[i].Value, true
		}
	}
	return "", false
}

// Count returns how often name occurs.
func (q Query) Count(name string) int {
	n := 0
	for i := range q {
		if q[i].Name == name {
			n++
		}
	}
	return n
}

// Values returns the query as url.Values.
func (q Query) Values() url.Values {
	v := make(url.Values, len(q))
	for _, p := range q {
		v[p.Name] = append(v[p.Name], p.Value)
	}
	return v
}

// appendCanonical appends the canonical query string: strictly encoded, sorted by encoded name, then encoded value,
// the parameter named skip left out. order is scratch, returned for reuse.
func (q Query) appendCanonical(dst []byte, skip string, order []int) ([]byte, []int) {
	order = order[:0]
	for i := range q {
		if skip == "" || q[i].Name != skip {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(strings.Compare(q[a].encName, q[b].encName), strings.Compare(q[a].encValue, q[b].encValue))
	})
	for n, i := range order {
		if n > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, q[i].encName...)
		dst = append(dst, '=')
		dst = append(dst, q[i].encValue...)
	}
	return dst, order
}

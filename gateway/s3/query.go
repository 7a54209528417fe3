package s3

import (
	"strings"
	"unicode/utf8"
)

// Param is one query parameter, decoded.
type Param struct{ Name, Value string }

// Query is the parameters of a request, in order.
type Query []Param

// queryParamsMax bounds the parameters of a request; no operation has nearly as many.
const queryParamsMax = 256

// ParseQuery reads a raw query. '+' is a space and percent-encoding is decoded once, in names and values; ';' is an ordinary
// character. A bad escape or what is not UTF-8 is 400 InvalidURI, never dropped (url.ParseQuery would).
func ParseQuery(raw string) (Query, error) {
	if raw == "" {
		return nil, nil
	}
	q := make(Query, 0, min(1+strings.Count(raw, "&"), 16))
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		if len(q) == queryParamsMax {
			return nil, NewError(CodeInvalidURI, "The query has too many parameters")
		}
		name, value, _ := strings.Cut(pair, "=")
		n, ok1 := unescape(name, true)
		v, ok2 := unescape(value, true)
		if !ok1 || !ok2 {
			return nil, NewError(CodeInvalidURI, "The query string is not well-formed")
		}
		q = append(q, Param{n, v})
	}
	return q, nil
}

// Lookup is the first value of the parameter, and whether there is one.
func (q Query) Lookup(name string) (string, bool) {
	for _, p := range q {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Get is the first value of the parameter, or "".
func (q Query) Get(name string) string {
	v, _ := q.Lookup(name)
	return v
}

// Has says whether the parameter is there, with or without a value.
func (q Query) Has(name string) bool {
	_, ok := q.Lookup(name)
	return ok
}

// unescape decodes percent-encoding once; plus says whether '+' is a space. False: a bad escape, or not UTF-8.
func unescape(s string, plus bool) (string, bool) {
	i := 0
	for i < len(s) && s[i] != '%' && (!plus || s[i] != '+') {
		i++
	}
	if i == len(s) {
		return s, utf8.ValidString(s)
	}
	b := make([]byte, i, len(s))
	copy(b, s)
	for ; i < len(s); i++ {
		switch {
		case s[i] == '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return "", false
			}
			b = append(b, hi<<4|lo)
			i += 2
		case plus && s[i] == '+':
			b = append(b, ' ')
		default:
			b = append(b, s[i])
		}
	}
	return string(b), utf8.Valid(b)
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

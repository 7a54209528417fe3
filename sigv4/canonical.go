package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
)

// toSign is everything that goes into one request signature besides the request.
type toSign struct {
	key       SigningKey
	time      string // YYYYMMDDTHHMMSSZ
	scope     Scope
	signed    []string // lower case, ascending
	payload   string   // the payload line
	presigned bool     // leaves X-Amz-Signature out of the query
	identity  bool     // signs "identity" for the accept-encoding header that a CDN rewrote
}

// scratch holds the buffers of one signature; reused through scratchPool.
type scratch struct {
	canonical []byte
	mac       mac // mac.inner holds the string to sign
	order     []int
	one       [1]string
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// scratchKeepMax is the largest canonical request whose buffer is worth keeping, bytes.
const scratchKeepMax = 16 << 10

func (s *scratch) release() {
	if cap(s.canonical) <= scratchKeepMax {
		scratchPool.Put(s)
	}
}

// sign computes the signature. missing names a signed header that the request lacks, or is empty.
func (s *scratch) sign(r *Request, t *toSign) (sig signature, missing string) {
	missing = s.buildCanonical(r, t)
	sum := sha256.Sum256(s.canonical)
	s.mac.init(t.key[:])
	b := append(s.mac.inner, algorithm+"\n"...)
	b = append(b, t.time...)
	b = append(b, '\n')
	b = t.scope.append(b)
	b = append(b, '\n')
	s.mac.inner = hex.AppendEncode(b, sum[:])
	return s.mac.signature(), missing
}

// stringToSign returns what sign has signed.
func (s *scratch) stringToSign() string { return string(s.mac.inner[sha256.BlockSize:]) }

// buildCanonical writes the canonical request into s.canonical:
//
//	method \n path \n query \n (name ":" value \n)* \n signed;headers \n payload
func (s *scratch) buildCanonical(r *Request, t *toSign) (missing string) {
	b := append(s.canonical[:0], r.Method...)
	b = append(b, '\n')
	b = append(b, r.canonicalPath...)
	b = append(b, '\n')
	skip := ""
	if t.presigned {
		skip = paramSignature
	}
	b, s.order = r.Query.appendCanonical(b, skip, s.order)
	b = append(b, '\n')
	for _, name := range t.signed {
		values, ok := r.headerValues(name, &s.one)
		if !ok {
			missing = name
		}
		b = append(b, name...)
		b = append(b, ':')
		if t.identity && name == acceptEncoding {
			b = append(b, "identity"...)
		} else {
			b = appendHeaderValues(b, values)
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range t.signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	s.canonical = append(b, t.payload...)
	return missing
}

const acceptEncoding = "accept-encoding"

// appendHeaderValues joins values by comma, each trimmed and with runs of spaces collapsed to one. For signing only:
// stored values keep their spaces.
func appendHeaderValues(b []byte, values []string) []byte {
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		v = strings.Trim(v, " \t")
		if !strings.Contains(v, "  ") {
			b = append(b, v...)
			continue
		}
		for j := 0; j < len(v); j++ {
			if v[j] != ' ' || v[j-1] != ' ' {
				b = append(b, v[j])
			}
		}
	}
	return b
}

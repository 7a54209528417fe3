package digest

import (
	"crypto/md5"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
)

// ETag is the entity tag of an object: the MD5 of its bytes, or the MD5 of its parts' MD5s with the number of parts.
// It is comparable with ==.
type ETag struct {
	Sum   [16]byte
	Parts uint32 // 0: not multipart
}

// String is the tag without quotes: 32 hexadecimal digits, and "-N" for a multipart object.
func (e ETag) String() string { return string(e.Append(nil)) }

// Quoted is the tag in quotes, as headers and XML have it.
func (e ETag) Quoted() string {
	return string(append(e.Append(append(make([]byte, 0, 44), '"')), '"'))
}

// Append appends what String gives.
func (e ETag) Append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, e.Sum[:])
	if e.Parts > 0 {
		dst = append(dst, '-')
		dst = strconv.AppendUint(dst, uint64(e.Parts), 10)
	}
	return dst
}

// ParseETag reads a tag, quoted or not, in either letter case. A weak tag (W/) is not a tag of an object.
func ParseETag(s string) (ETag, bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	var e ETag
	if i := strings.IndexByte(s, '-'); i >= 0 {
		n, err := strconv.ParseUint(s[i+1:], 10, 32)
		if err != nil || n == 0 || s[i+1] == '0' || s[i+1] == '+' {
			return ETag{}, false
		}
		e.Parts, s = uint32(n), s[:i]
	}
	if len(s) != 32 {
		return ETag{}, false
	}
	if _, err := hex.Decode(e.Sum[:], []byte(s)); err != nil {
		return ETag{}, false
	}
	return e, true
}

// ETagJoiner makes the ETag of a multipart object: md5(md5s)-N. Add the parts in order.
type ETagJoiner struct {
	h hash.Hash
	n uint32
}

// Add takes the MD5 of the next part.
func (j *ETagJoiner) Add(md5sum [16]byte) {
	if j.h == nil {
		j.h = md5.New()
	}
	j.h.Write(md5sum[:])
	j.n++
}

// ETag is the tag of the parts added so far.
func (j *ETagJoiner) ETag() ETag {
	if j.h == nil {
		j.h = md5.New()
	}
	e := ETag{Parts: j.n}
	j.h.Sum(e.Sum[:0])
	return e
}

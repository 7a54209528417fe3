package digest

import (
	"encoding/base64"
	"strconv"
	"strings"

	"minikv/internal/errs"
)

// Sum holds the bytes of a sum, left-aligned; CRCs are big endian.
type Sum [SumBytesMax]byte

// Checksum is a value with its algorithm and what it covers. It is comparable with ==.
type Checksum struct {
	Algorithm Algorithm
	Type      Type
	Parts     uint32 // number of parts of a COMPOSITE value, else 0
	Sum       Sum
}

// New makes a FULL_OBJECT checksum from exactly the algorithm's Size bytes; other lengths are errs.Invalid.
func New(a Algorithm, sum []byte) (Checksum, error) {
	if !a.Valid() || len(sum) != a.Size() {
		return Checksum{}, errs.E("digest.New", errs.Invalid, "a %s sum has %d bytes, not %d", a, a.Size(), len(sum))
	}
	c := Checksum{Algorithm: a, Type: FullObject}
	copy(c.Sum[:], sum)
	return c, nil
}

// IsZero says that there is no checksum.
func (c Checksum) IsZero() bool { return c.Algorithm == None }

// Bytes is the sum, Size bytes long. It is valid as long as c is not changed.
func (c *Checksum) Bytes() []byte { return c.Sum[:c.Algorithm.Size()] }

// String is the value as S3 writes it: base64, and "-N" for a COMPOSITE value.
func (c Checksum) String() string { return string(c.Append(nil)) }

// Append appends what String gives.
func (c Checksum) Append(dst []byte) []byte {
	dst = base64.StdEncoding.AppendEncode(dst, c.Sum[:c.Algorithm.Size()])
	if c.Type == Composite && c.Parts > 0 {
		dst = append(dst, '-')
		dst = strconv.AppendUint(dst, uint64(c.Parts), 10)
	}
	return dst
}

// Equal says whether both have the same algorithm, type, parts and sum.
func (c Checksum) Equal(o Checksum) bool { return c == o }

// Parse reads a value in base64, with "-N" (1 to 10,000) for a COMPOSITE one. What is not exactly the algorithm's length is
// errs.Invalid.
func Parse(a Algorithm, s string) (Checksum, error) {
	const op = "digest.Parse"
	var c Checksum
	if !a.Valid() {
		return c, errs.E(op, errs.Invalid, "unknown checksum algorithm")
	}
	c.Algorithm, c.Type = a, FullObject
	if i := strings.IndexByte(s, '-'); i >= 0 { // not in the standard base64 alphabet
		n, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || n < 1 || n > 10000 || s[i+1] == '0' || s[i+1] == '+' {
			return Checksum{}, errs.E(op, errs.Invalid, "the number of parts of a %s checksum is malformed", a)
		}
		c.Type, c.Parts, s = Composite, uint32(n), s[:i]
	}
	if base64.StdEncoding.EncodedLen(a.Size()) != len(s) || strings.ContainsAny(s, "\r\n") {
		return Checksum{}, errs.E(op, errs.Invalid, "a %s checksum has %d characters of base64", a, base64.StdEncoding.EncodedLen(a.Size()))
	}
	var buf [SumBytesMax + 3]byte
	n, err := base64.StdEncoding.Strict().Decode(buf[:], []byte(s))
	if err != nil || n != a.Size() {
		return Checksum{}, errs.E(op, errs.Invalid, "a %s checksum is %d bytes in base64", a, a.Size())
	}
	copy(c.Sum[:], buf[:n])
	return c, nil
}

package history

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Body is the bytes of a value: a line that names it and its length, then noise that depends on both. At least BodyMin bytes.
func Body(v Value, size int) []byte {
	size = max(size, BodyMin)
	b := make([]byte, 0, size)
	b = fmt.Appendf(b, "value %d of %d bytes\n", v, size)
	x := uint64(v)*0x9E3779B97F4A7C15 + uint64(size)
	for len(b) < size {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = append(b, byte(x>>32))
	}
	return b
}

// BodyMin is the length in bytes of the smallest body.
const BodyMin = 48

// ParseBody says which value the bytes are; Foreign when they are not exactly those of one, for example torn or mixed.
func ParseBody(b []byte) Value {
	line, _, found := bytes.Cut(b, []byte("\n"))
	f := bytes.Fields(line)
	if !found || len(f) != 5 {
		return Foreign
	}
	v, err := strconv.ParseUint(string(f[1]), 10, 32)
	if err != nil || v == 0 || Value(v) == Foreign || !bytes.Equal(b, Body(Value(v), len(b))) {
		return Foreign
	}
	return Value(v)
}

// MD5 is the ETag that S3 gives a body put at once, without quotes.
func MD5(body []byte) string {
	sum := md5.Sum(body)
	return hex.EncodeToString(sum[:])
}

package s3

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"minikv/internal/object"
)

// A continuation token is base64 (URL alphabet, no padding) of
//
//	byte 0       1      2          2+n       6+n
//	     | version | kind | last thing | CRC32C |
//
// kind 0: a key, 1: a common prefix. The CRC finds tokens that were cut or mistyped; a token grants nothing.
const (
	tokenVersion   = 1
	tokenOverhead  = 6
	tokenKeyMax    = object.KeyBytesMax
	tokenKindKey   = 0
	tokenKindGroup = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NextToken makes the continuation token that begins after the last thing of a page: a key, or a common prefix.
func NextToken(last string, prefix bool) string { return string(appendToken(nil, last, prefix)) }

func appendToken(dst []byte, last string, prefix bool) []byte {
	var buf [tokenKeyMax + tokenOverhead]byte
	kind := byte(tokenKindKey)
	if prefix {
		kind = tokenKindGroup
	}
	b := append(buf[:0], tokenVersion, kind)
	b = append(b, last...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

// parseToken reads a token; a bad one is 400 InvalidArgument.
func parseToken(s string) (last string, prefix bool, err error) {
	bad := InvalidArgument("continuation-token", s, "The continuation token provided is incorrect")
	if base64.RawURLEncoding.DecodedLen(len(s)) > tokenKeyMax+tokenOverhead {
		return "", false, bad
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < tokenOverhead || b[0] != tokenVersion || b[1] > tokenKindGroup {
		return "", false, bad
	}
	n := len(b) - 4
	if binary.BigEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return "", false, bad
	}
	return string(b[2:n]), b[1] == tokenKindGroup, nil
}

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

// appendToken builds the bytes behind dst, encodes them behind that, and moves the result down: a buffer of its own would escape.
func appendToken(dst []byte, last string, prefix bool) []byte {
	n := len(dst)
	kind := byte(tokenKindKey)
	if prefix {
		kind = tokenKindGroup
	}
	dst = append(dst, tokenVersion, kind)
	dst = append(dst, last...)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
	end := len(dst)
	dst = base64.RawURLEncoding.AppendEncode(dst, dst[n:end])
	return append(dst[:n], dst[end:]...)
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

package object

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"minikv/internal/errs"
)

// Limits of names and objects, in bytes unless said.
const (
	KeyBytesMax        = 1024
	PartsMax           = 10000                   // parts of one upload
	PartBytesMax       = 5 << 30                 // one part, one PUT
	PartBytesMin       = 5 << 20                 // every part but the last, at complete
	ObjectBytesMax     = PartsMax * PartBytesMax // 48.8 TiB
	UserMetadataMax    = 2 << 10                 // names plus values
	TagsMax            = 10
	TagKeyMax          = 128 // in characters
	TagValueMax        = 256 // in characters
	bucketNameBytesMin = 3
	bucketNameBytesMax = 63
)

// Key is an object's name: 1 to 1,024 bytes of UTF-8. It is a name, never a path.
type Key string

// ParseKey checks a key.
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
func ParseKey(s string) (Key, error) {
	const op = "object.ParseKey"
	switch {
	case s == "":
		return "", errs.E(op, errs.Invalid, "the key is empty")
	case len(s) > KeyBytesMax:
		return "", errs.E(op, errs.LimitExceeded, "the key has %d bytes; at most %d are allowed", len(s), KeyBytesMax)
	case !utf8.ValidString(s):
		return "", errs.E(op, errs.Invalid, "the key is not valid UTF-8")
	}
	return Key(s), nil
}

// Bucket is a bucket's name, valid by the AWS rules for general purpose buckets.
type Bucket string

// ParseBucket checks a bucket name.
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func ParseBucket(s string) (Bucket, error) {
	const op = "object.ParseBucket"
	if len(s) < bucketNameBytesMin || len(s) > bucketNameBytesMax {
		return "", errs.E(op, errs.Invalid, "a bucket name has 3 to 63 characters")
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && ((c != '-' && c != '.') || i == 0 || i == len(s)-1) {
			return "", errs.E(op, errs.Invalid, "a bucket name has lower-case letters, digits, hyphens and periods, and begins and ends with a letter or digit")
		}
	}
	for _, p := range []string{"..", ".-", "-."} { // every label begins and ends with a letter or digit
		if strings.Contains(s, p) {
			return "", errs.E(op, errs.Invalid, "a bucket name has no period beside a period or hyphen")
		}
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "", errs.E(op, errs.Invalid, "a bucket name is not an IP address")
	}
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(s, p) {
			return "", errs.E(op, errs.Invalid, "bucket names beginning with %q are reserved", p)
		}
	}
	for _, p := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(s, p) {
			return "", errs.E(op, errs.Invalid, "bucket names ending with %q are reserved", p)
		}
	}
	return Bucket(s), nil
}

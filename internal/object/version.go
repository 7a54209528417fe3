package object

import (
	"encoding/hex"

	"minikv/internal/errs"
)

// NullVersion is the text that addresses the null version of a key.
const NullVersion = "null"

// VersionLen is the length of a version in bytes: commit index (8, BE), command (2), operation (2). Later ones are greater.
const VersionLen = 12

// VersionText is a version id as clients see it: 24 lower-case hexadecimal digits, or "null".
func VersionText(version []byte, null bool) string {
	if null {
		return NullVersion
	}
	return hex.EncodeToString(version)
}

// ParseVersion reads a version id as clients write it. It must be exactly what VersionText gives; else errs.Invalid.
func ParseVersion(s string) (version []byte, null bool, err error) {
	if s == NullVersion {
		return nil, true, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != VersionLen || hex.EncodeToString(b) != s {
		return nil, false, errs.E("object.ParseVersion", errs.Invalid, "Invalid version id specified")
	}
	return b, false, nil
}

package digest

import "strings"

// Algorithm is a checksum algorithm of S3. Its number is part of stored formats (D1).
type Algorithm uint8

// The algorithms. Append only.
const (
	None      Algorithm = 0
	CRC32     Algorithm = 1 // IEEE
	CRC32C    Algorithm = 2 // Castagnoli
	CRC64NVME Algorithm = 3
	SHA1      Algorithm = 4
	SHA256    Algorithm = 5

	algorithmEnd Algorithm = 6
)

// SumBytesMax is the length of the longest sum, in bytes.
const SumBytesMax = 32

type algorithmInfo struct {
	name, element, header string
	size                  int
	crc                   bool
}

var algorithms = [algorithmEnd]algorithmInfo{
	CRC32:     {"CRC32", "ChecksumCRC32", "x-amz-checksum-crc32", 4, true},
	CRC32C:    {"CRC32C", "ChecksumCRC32C", "x-amz-checksum-crc32c", 4, true},
	CRC64NVME: {"CRC64NVME", "ChecksumCRC64NVME", "x-amz-checksum-crc64nvme", 8, true},
	SHA1:      {"SHA1", "ChecksumSHA1", "x-amz-checksum-sha1", 20, false},
	SHA256:    {"SHA256", "ChecksumSHA256", "x-amz-checksum-sha256", 32, false},
}

func (a Algorithm) info() algorithmInfo {
	if a < algorithmEnd {
		return algorithms[a]
	}
	return algorithmInfo{}
}

// String is the name as the S3 API writes it ("CRC64NVME"); None is "".
func (a Algorithm) String() string { return a.info().name }

// Element is the name of the XML element that carries the value ("ChecksumCRC64NVME").
func (a Algorithm) Element() string { return a.info().element }

// Header is the lower-case header that carries the value ("x-amz-checksum-crc64nvme").
func (a Algorithm) Header() string { return a.info().header }

// Size is the length of a sum in bytes; 0 for None and unknown algorithms.
func (a Algorithm) Size() int { return a.info().size }

// IsCRC says whether sums of parts combine to the sum of the whole.
func (a Algorithm) IsCRC() bool { return a.info().crc }

// Valid says whether a is one of the algorithms, None excluded.
func (a Algorithm) Valid() bool { return a > None && a < algorithmEnd }

// All is every algorithm, in order of number. The caller must not change it.
func All() []Algorithm { return all[:] }

var all = [...]Algorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256}

// ParseAlgorithm reads a name, letter case ignored, as AWS does.
func ParseAlgorithm(s string) (Algorithm, bool) {
	for _, a := range all {
		if strings.EqualFold(s, algorithms[a].name) {
			return a, true
		}
	}
	return None, false
}

// AlgorithmOfHeader finds the algorithm of a header or trailer name, letter case ignored.
func AlgorithmOfHeader(name string) (Algorithm, bool) {
	for _, a := range all {
		if strings.EqualFold(name, algorithms[a].header) {
			return a, true
		}
	}
	return None, false
}

// Type says what a multipart object's checksum covers. Its number is part of stored formats (D1).
type Type uint8

// The types. Append only.
const (
	NoType     Type = 0
	FullObject Type = 1 // of all bytes
	Composite  Type = 2 // of the parts' digests, written with "-N"
)

// String is the name as the S3 API writes it; NoType is "".
func (t Type) String() string {
	switch t {
	case FullObject:
		return "FULL_OBJECT"
	case Composite:
		return "COMPOSITE"
	}
	return ""
}

// ParseType reads a name, letter case ignored.
func ParseType(s string) (Type, bool) {
	switch {
	case strings.EqualFold(s, "FULL_OBJECT"):
		return FullObject, true
	case strings.EqualFold(s, "COMPOSITE"):
		return Composite, true
	}
	return NoType, false
}

// Possible says whether a multipart upload may have the pair: CRC64NVME only FULL_OBJECT, SHA only COMPOSITE, the other CRCs both.
func Possible(a Algorithm, t Type) bool {
	switch {
	case !a.Valid():
		return false
	case t == FullObject:
		return a.IsCRC()
	case t == Composite:
		return a != CRC64NVME
	}
	return false
}

// DefaultType is the type of a multipart upload that names only an algorithm: CRC64NVME FULL_OBJECT, all others COMPOSITE.
func DefaultType(a Algorithm) Type {
	switch {
	case !a.Valid():
		return NoType
	case a == CRC64NVME:
		return FullObject
	}
	return Composite
}

// Set is a set of algorithms, one bit each.
type Set uint16

// SetOf makes a set; None is left out.
func SetOf(as ...Algorithm) Set {
	var s Set
	for _, a := range as {
		s = s.With(a)
	}
	return s
}

// With adds an algorithm; None and unknown ones change nothing.
func (s Set) With(a Algorithm) Set {
	if !a.Valid() {
		return s
	}
	return s | 1<<a
}

// Has says whether the set holds a.
func (s Set) Has(a Algorithm) bool { return a.Valid() && s&(1<<a) != 0 }

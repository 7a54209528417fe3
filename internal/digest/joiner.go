package digest

import (
	"crypto/sha1"
	"encoding/binary"
	"hash"
	"hash/crc32"

	"github.com/minio/crc64nvme"
	"github.com/minio/sha256-simd"

	"minikv/internal/errs"
)

// Joiner makes the checksum of a multipart object from those of its parts, added in order. Only sums are read, never bytes.
type Joiner struct {
	a     Algorithm
	t     Type
	parts uint32
	crc   uint64
	h     hash.Hash
}

// NewJoiner starts a join; an impossible pair is errs.InvalidRequest.
func NewJoiner(a Algorithm, t Type) (*Joiner, error) {
	if !Possible(a, t) {
		return nil, errs.E("digest.NewJoiner", errs.InvalidRequest, "the %s checksum type cannot be used with the %s checksum algorithm", t, a)
	}
	j := &Joiner{a: a, t: t}
	if t == Composite {
		j.h = newHash(a)
	}
	return j, nil
}

// Add takes the checksum of the next part's bytes (FULL_OBJECT of that part) and its size in bytes. Another algorithm than
// the join's is errs.InvalidRequest.
func (j *Joiner) Add(part Checksum, size uint64) error {
	if part.Algorithm != j.a || part.Type != FullObject {
		return errs.E("digest.Joiner.Add", errs.InvalidRequest, "part %d has no %s checksum", j.parts+1, j.a)
	}
	if j.t == Composite {
		j.h.Write(part.Bytes())
	} else {
		j.crc = combine(j.a, j.crc, crcValue(&part), size)
	}
	j.parts++
	return nil
}

// Checksum is the checksum of the parts added so far.
func (j *Joiner) Checksum() Checksum {
	c := Checksum{Algorithm: j.a, Type: j.t}
	if j.t == Composite {
		c.Parts = j.parts
		j.h.Sum(c.Sum[:0])
		return c
	}
	putCRC(&c, j.crc)
	return c
}

// Combine is the FULL_OBJECT checksum of the bytes of x followed by those of y, which has size bytes. Both must have the same
// CRC algorithm, else errs.Invalid. O(log size).
func Combine(x, y Checksum, size uint64) (Checksum, error) {
	if !x.Algorithm.IsCRC() || x.Algorithm != y.Algorithm || x.Type != FullObject || y.Type != FullObject {
		return Checksum{}, errs.E("digest.Combine", errs.Invalid, "only full CRCs of one algorithm combine")
	}
	putCRC(&x, combine(x.Algorithm, crcValue(&x), crcValue(&y), size))
	return x, nil
}

// Of is the FULL_OBJECT checksum of p.
func Of(a Algorithm, p []byte) Checksum {
	c := Checksum{Algorithm: a, Type: FullObject}
	switch a {
	case CRC32:
		putCRC(&c, uint64(crc32.ChecksumIEEE(p)))
	case CRC32C:
		putCRC(&c, uint64(crc32.Checksum(p, castagnoli)))
	case CRC64NVME:
		putCRC(&c, crc64nvme.Checksum(p))
	case SHA1:
		s := sha1.Sum(p)
		copy(c.Sum[:], s[:])
	case SHA256:
		c.Sum = sha256.Sum256(p)
	default:
		return Checksum{}
	}
	return c
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newHash makes a hash of the algorithm; nil for None.
func newHash(a Algorithm) hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(castagnoli)
	case CRC64NVME:
		return crc64nvme.New()
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	}
	return nil
}

func crcValue(c *Checksum) uint64 {
	if c.Algorithm.Size() == 4 {
		return uint64(binary.BigEndian.Uint32(c.Sum[:4]))
	}
	return binary.BigEndian.Uint64(c.Sum[:8])
}

func putCRC(c *Checksum, v uint64) {
	if c.Algorithm.Size() == 4 {
		binary.BigEndian.PutUint32(c.Sum[:4], uint32(v))
		return
	}
	binary.BigEndian.PutUint64(c.Sum[:8], v)
}

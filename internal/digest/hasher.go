package digest

import (
	"crypto/md5"
	"crypto/sha1"
	"hash"
	"hash/crc32"
	"sync"

	"github.com/minio/crc64nvme"
	"github.com/minio/sha256-simd"

	"minikv/internal/crc32c"
)

// BlockBytes is how much the Hasher feeds to one digest before it turns to the next: small enough to stay in the L2 cache.
const BlockBytes = 64 << 10

// Options say what a Hasher computes.
type Options struct {
	MD5       bool // for the ETag and Content-MD5
	SHA256    bool // for x-amz-content-sha256; implied by SHA256 in Checksums
	Checksums Set
}

// Hasher computes several digests in one pass. Get one with NewHasher, give it back with Release. Not for concurrent use.
type Hasher struct {
	opt    Options
	n      uint64
	md5    hash.Hash
	sha256 hash.Hash
	sha1   hash.Hash
	crc32  uint32
	crc32c uint32
	crc64  uint64
	sides  []*side           // of Feed
	buf    [SumBytesMax]byte // for Sum: a local one would escape through hash.Hash
}

// Sums is what a Hasher found.
type Sums struct {
	Size   uint64 // bytes written
	MD5    [16]byte
	SHA256 [32]byte
	opt    Options
	crc32  uint32
	crc32c uint32
	crc64  uint64
	sha1   [20]byte
}

var hashers = sync.Pool{New: func() any { return &Hasher{md5: md5.New(), sha256: sha256.New(), sha1: sha1.New()} }}

// NewHasher takes a hasher from the pool.
func NewHasher(opt Options) *Hasher {
	h := hashers.Get().(*Hasher)
	opt.SHA256 = opt.SHA256 || opt.Checksums.Has(SHA256)
	h.opt = opt
	h.n, h.crc32, h.crc32c, h.crc64 = 0, 0, 0, 0
	if opt.MD5 {
		h.md5.Reset()
	}
	if opt.SHA256 {
		h.sha256.Reset()
	}
	if opt.Checksums.Has(SHA1) {
		h.sha1.Reset()
	}
	return h
}

// Release waits for what was fed and gives the hasher back to the pool; it must not be used after.
func (h *Hasher) Release() {
	h.stopSides()
	hashers.Put(h)
}

// Size is the number of bytes written and fed.
func (h *Hasher) Size() uint64 { return h.n }

// Write feeds p to every digest. It never fails and keeps nothing of p after it returns.
func (h *Hasher) Write(p []byte) (int, error) {
	h.Wait()
	h.n += uint64(len(p))
	h.blocks(p, true)
	return len(p), nil
}

// blocks feeds p to every digest, or to all but MD5.
func (h *Hasher) blocks(p []byte, withMD5 bool) {
	for len(p) > 0 {
		b := p[:min(len(p), BlockBytes)]
		p = p[len(b):]
		h.block(b, withMD5)
	}
}

// slow says that something besides MD5 takes long.
func (h *Hasher) slow() bool { return h.opt.SHA256 || h.opt.Checksums.Has(SHA1) }

func (h *Hasher) block(b []byte, withMD5 bool) {
	if h.opt.SHA256 {
		h.sha256.Write(b)
	}
	if h.opt.MD5 && withMD5 {
		h.md5.Write(b)
	}
	s := h.opt.Checksums
	if s.Has(CRC32) {
		h.crc32 = crc32.Update(h.crc32, crc32.IEEETable, b)
	}
	if s.Has(CRC32C) {
		h.crc32c = crc32c.Update(h.crc32c, b)
	}
	if s.Has(CRC64NVME) {
		h.crc64 = crc64nvme.Update(h.crc64, b)
	}
	if s.Has(SHA1) {
		h.sha1.Write(b)
	}
}

// Sums gives the digests of what was written and fed so far; more may follow.
func (h *Hasher) Sums() Sums {
	h.Wait()
	s := Sums{Size: h.n, opt: h.opt, crc32: h.crc32, crc32c: h.crc32c, crc64: h.crc64}
	if h.opt.MD5 {
		copy(s.MD5[:], h.md5.Sum(h.buf[:0]))
	}
	if h.opt.SHA256 {
		copy(s.SHA256[:], h.sha256.Sum(h.buf[:0]))
	}
	if h.opt.Checksums.Has(SHA1) {
		copy(s.sha1[:], h.sha1.Sum(h.buf[:0]))
	}
	return s
}

// ETag is the ETag of the bytes; zero without Options.MD5.
func (s *Sums) ETag() ETag { return ETag{Sum: s.MD5} }

// Checksum is the FULL_OBJECT checksum of the bytes; zero when the algorithm was not asked for.
func (s *Sums) Checksum(a Algorithm) Checksum {
	if !s.opt.Checksums.Has(a) {
		return Checksum{}
	}
	c := Checksum{Algorithm: a, Type: FullObject}
	switch a {
	case CRC32:
		putCRC(&c, uint64(s.crc32))
	case CRC32C:
		putCRC(&c, uint64(s.crc32c))
	case CRC64NVME:
		putCRC(&c, s.crc64)
	case SHA1:
		copy(c.Sum[:], s.sha1[:])
	case SHA256:
		c.Sum = s.SHA256
	}
	return c
}

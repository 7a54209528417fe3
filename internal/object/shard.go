package object

import (
	"crypto/sha256"
	"encoding/binary"

	"minikv/internal/errs"
)

// ShardsMax bounds the number of shards of a pool.
const ShardsMax = 1 << 16

// ShardDigest says what a replica holds of one shard, exactly: two replicas with the same digest hold the same blobs (ids and
// lengths; what a volume believes of their state is a hint and left out). It does not depend on any order, so that replicas need
// not agree on one. It guards against accidents, not against one who chooses ids.
type ShardDigest struct {
	Shard uint32
	Blobs uint64
	Bytes uint64    // the lengths of the blobs
	Sum   [4]uint64 // for each blob SHA-256(id, length as u64 LE), cut into four u64 LE that are added up, each mod 2^64
}

// ShardDigestLen is the length in bytes of a digest made by AppendTo.
const ShardDigestLen = 4 + 8 + 8 + 32

// Add takes a blob in. The same blob must not be added twice.
func (d *ShardDigest) Add(id BlobID, length int64) {
	h := sumOf(id, length)
	for i := range d.Sum {
		d.Sum[i] += h[i]
	}
	d.Blobs++
	d.Bytes += uint64(length)
}

// Remove takes a blob out that was added.
func (d *ShardDigest) Remove(id BlobID, length int64) {
	h := sumOf(id, length)
	for i := range d.Sum {
		d.Sum[i] -= h[i]
	}
	d.Blobs--
	d.Bytes -= uint64(length)
}

func sumOf(id BlobID, length int64) (sum [4]uint64) {
	var b [BlobIDLen + 8]byte
	copy(b[:], id[:])
	binary.LittleEndian.PutUint64(b[BlobIDLen:], uint64(length))
	h := sha256.Sum256(b[:])
	for i := range sum {
		sum[i] = binary.LittleEndian.Uint64(h[8*i:])
	}
	return sum
}

// AppendTo appends the digest in ShardDigestLen bytes: shard u32, blobs u64, bytes u64, sum 4 x u64, little-endian.
func (d *ShardDigest) AppendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, d.Shard)
	b = binary.LittleEndian.AppendUint64(b, d.Blobs)
	b = binary.LittleEndian.AppendUint64(b, d.Bytes)
	for _, v := range d.Sum {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// ParseShardDigests reads what AppendTo wrote, any number of times. Errors: errs.Invalid.
func ParseShardDigests(b []byte) ([]ShardDigest, error) {
	if len(b)%ShardDigestLen != 0 || len(b) > ShardsMax*ShardDigestLen {
		return nil, errs.E("object.ParseShardDigests", errs.Invalid, "%d bytes are no digests of %d bytes", len(b), ShardDigestLen)
	}
	all := make([]ShardDigest, len(b)/ShardDigestLen)
	for i := range all {
		d, b := &all[i], b[i*ShardDigestLen:]
		d.Shard, d.Blobs, d.Bytes = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:])
		for j := range d.Sum {
			d.Sum[j] = binary.LittleEndian.Uint64(b[20+8*j:])
		}
	}
	return all, nil
}

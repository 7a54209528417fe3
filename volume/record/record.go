// Package record is the codec between bytes and the records of a segment: blobs, and the small ones that say what became of them.
//
// A record is a header of 64 bytes, a table of block checksums, and data; each part begins at a multiple of the segment's
// alignment A (8 in segments of small blobs, 4,096 in those of large ones, so that they can be written past the page cache):
//
//	0        64                   D = up(64 + 4n, A)        D + length    up(D + length, A)
//	| header | table: n x u32     | zeros | data            | zeros       |
//
//	n = up(length, 64 KiB) / 64 KiB; table[i] is the CRC32C of block i of the data, masked.
//
// The header, little-endian:
//
//	 0  u32  CRC32C of bytes 4 to 63, masked
//	 4  u8   type
//	 5  u8   flags
//	 6  u16  length of the header: 64
//	 8  16B  blob id; zero in records about none or several
//	24  u64  cluster epoch
//	32  u64  shard epoch
//	40  u64  sequence: grows with every record of the volume, never repeats in it
//	48  u32  length of the data in bytes, at most 8 MiB
//	52  u32  zero
//	56  u64  durable_to: where in this segment the bytes ended that were surely on disk when the record was written
//
// Invariants:
//
//  1. Stored checksums are plain CRC32C XOR Mask(seed of the segment, offset of the record, blob id), blocks also with their
//     number: a record copied, moved, or left from an earlier life of the file never passes for one of this segment.
//  2. Everything is fixed when it is written; what becomes of a blob is said by later records.
//  3. The state of a blob is the highest of all that its records say, in the order prepared, committed, dropped: records may be
//     read in any order, and twice.
package record

import (
	"encoding/binary"

	"minikv/internal/crc32c"
	"minikv/internal/errs"
	"minikv/internal/object"
)

// Sizes in bytes.
const (
	HeaderLen = 64
	BlockLen  = 64 << 10 // what one checksum covers: small enough for ranges, large enough to cost nothing
	DataMax   = 8 << 20  // the largest blob; bounds what a reader must hold
	BlocksMax = DataMax / BlockLen
)

// Type says what a record is.
type Type uint8

// The types. Append only.
const (
	Blob      Type = 1 // data: the blob, prepared
	Commit    Type = 2 // data: ids of blobs whose run was published
	Abort     Type = 3 // data: ids of blobs given up by their writer
	Tombstone Type = 4 // data: ids of blobs whose run is gone
	Mark      Type = 5 // no data: durable_to is all there is to say; certifies the group before it
	Seal      Type = 6 // data: where other segments end
	typeEnd   Type = 7
)

var typeNames = [typeEnd]string{"none", "blob", "commit", "abort", "tombstone", "mark", "seal"}

func (t Type) String() string {
	if t < typeEnd {
		return typeNames[t]
	}
	return "unknown"
}

// Flags qualify a record.
type Flags uint8

// The flags.
const (
	Committed Flags = 1 << 0 // of a copied blob: it was committed already
	Clean     Flags = 1 << 1 // of a mark: the volume was closed after it
	flagsAll        = Committed | Clean
)

// Header is what comes before the data.
type Header struct {
	Type      Type
	Flags     Flags
	ID        object.BlobID
	Epochs    object.Epochs
	Sequence  uint64
	Length    uint32
	DurableTo uint64
}

// CRC is the plain CRC32C of b.
func CRC(b []byte) uint32 { return crc32c.Checksum(b) }

// UpdateCRC continues a plain CRC32C over more bytes.
func UpdateCRC(crc uint32, b []byte) uint32 { return crc32c.Update(crc, b) }

// Mask is what the checksums of the record at offset off of the segment with the given seed are XORed with.
func Mask(seed, off uint64, id object.BlobID) uint32 {
	h := mix(seed ^ off)
	h = mix(h ^ binary.LittleEndian.Uint64(id[0:8]))
	h = mix(h ^ binary.LittleEndian.Uint64(id[8:16]))
	return uint32(h >> 32)
}

func mix(h uint64) uint64 {
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	h ^= h >> 32
	return h
}

// BlockMask is the mask of block i's checksum, made from the record's mask.
func BlockMask(mask uint32, i int) uint32 { return mask + uint32(i+1)*0x9E3779B1 }

// Blocks is the number of blocks of length bytes of data.
func Blocks(length int) int { return (length + BlockLen - 1) / BlockLen }

// Layout is where the parts of records lie in a segment.
type Layout struct {
	Align int // bytes, a power of two
}

func (l Layout) up(n int) int { return (n + l.Align - 1) &^ (l.Align - 1) }

// DataOff is where the data of a record of length bytes begins, counted from the record's begin.
func (l Layout) DataOff(length int) int { return l.up(HeaderLen + 4*Blocks(length)) }

// Size is the length of the whole record.
func (l Layout) Size(length int) int { return l.up(l.DataOff(length) + length) }

// Put writes the header for offset off of the segment with the seed to b[:HeaderLen].
func (h *Header) Put(b []byte, seed, off uint64) {
	b = b[:HeaderLen]
	b[4], b[5] = byte(h.Type), byte(h.Flags)
	binary.LittleEndian.PutUint16(b[6:], HeaderLen)
	copy(b[8:24], h.ID[:])
	binary.LittleEndian.PutUint64(b[24:], h.Epochs.Cluster)
	binary.LittleEndian.PutUint64(b[32:], h.Epochs.Shard)
	binary.LittleEndian.PutUint64(b[40:], h.Sequence)
	binary.LittleEndian.PutUint32(b[48:], h.Length)
	binary.LittleEndian.PutUint32(b[52:], 0)
	binary.LittleEndian.PutUint64(b[56:], h.DurableTo)
	binary.LittleEndian.PutUint32(b, CRC(b[4:])^Mask(seed, off, h.ID))
}

// Parse reads the header of the record at offset off. ok is false when there is none, or a damaged one.
func Parse(b []byte, seed, off uint64) (h Header, ok bool) {
	if len(b) < HeaderLen || b[4] == 0 || binary.LittleEndian.Uint16(b[6:]) != HeaderLen {
		return Header{}, false
	}
	b = b[:HeaderLen]
	id := object.BlobID(b[8:24])
	if CRC(b[4:])^Mask(seed, off, id) != binary.LittleEndian.Uint32(b) {
		return Header{}, false
	}
	h = Header{
		Type: Type(b[4]), Flags: Flags(b[5]), ID: id,
		Epochs:    object.Epochs{Cluster: binary.LittleEndian.Uint64(b[24:]), Shard: binary.LittleEndian.Uint64(b[32:])},
		Sequence:  binary.LittleEndian.Uint64(b[40:]),
		Length:    binary.LittleEndian.Uint32(b[48:]),
		DurableTo: binary.LittleEndian.Uint64(b[56:]),
	}
	return h, h.Length <= DataMax
}

// Check refuses a header that parsed but says what this version does not know, with errs.Unsupported.
func (h *Header) Check() error {
	if h.Type >= typeEnd || h.Flags&^flagsAll != 0 {
		return errs.E("record.Check", errs.Unsupported, "record type %d with flags %#x is newer than this program, which knows types up to %d", h.Type, h.Flags, typeEnd-1)
	}
	return nil
}

// PutTable writes the plain block checksums, masked, to b.
func PutTable(b []byte, crcs []uint32, mask uint32) {
	for i, c := range crcs {
		binary.LittleEndian.PutUint32(b[4*i:], c^BlockMask(mask, i))
	}
}

// TableEntry is the plain checksum of block i in a stored table.
func TableEntry(table []byte, i int, mask uint32) uint32 {
	return binary.LittleEndian.Uint32(table[4*i:]) ^ BlockMask(mask, i)
}

// Verify checks data, which begins with block first, against the stored table; all blocks in it but the blob's last are whole.
// bad is the number of the first block that fails, or -1.
func Verify(data, table []byte, first int, mask uint32) (bad int) {
	for i := first; len(data) > 0; i++ {
		n := min(BlockLen, len(data))
		if CRC(data[:n]) != TableEntry(table, i, mask) {
			return i
		}
		data = data[n:]
	}
	return -1
}

// Sums appends the plain checksums of the blocks of the concatenated buffers to crcs.
func Sums(crcs []uint32, data [][]byte) []uint32 {
	crc, room := uint32(0), BlockLen
	for _, b := range data {
		for len(b) > 0 {
			n := min(room, len(b))
			crc = UpdateCRC(crc, b[:n])
			b = b[n:]
			if room -= n; room == 0 {
				crcs = append(crcs, crc)
				crc, room = 0, BlockLen
			}
		}
	}
	if room < BlockLen {
		crcs = append(crcs, crc)
	}
	return crcs
}

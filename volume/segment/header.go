package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"minikv/internal/errs"
	"minikv/volume/record"
)

// FormatVersion is the version of volumes that this program writes, and the highest it reads.
//
//	version | since | what changed
//	1       | 0.1   | first
const FormatVersion = 1

// HeaderLen is the length of a segment's header in bytes; records follow.
const HeaderLen = 4096

// PreambleLen is the length of what all files of a volume begin with, in every version:
//
//	0 8B magic | 8 u16 format version | 10 u16 zero | 12 u32 CRC32C of bytes 0 to 11
const PreambleLen = 16

// Magics of the files of a volume.
const (
	MagicSegment = "mkvseg\r\n"
	MagicVolume  = "mkvvol\r\n"
	MagicIndex   = "mkvidx\r\n"
	MagicScrub   = "mkvscr\r\n"
	MagicClean   = "mkvcln\r\n"
	MagicLost    = "mkvlst\r\n"
	MagicFilter  = "mkvflt\r\n"
)

// PutPreamble writes the preamble of this version to b.
func PutPreamble(b []byte, magic string) {
	copy(b, magic)
	binary.LittleEndian.PutUint16(b[8:], FormatVersion)
	binary.LittleEndian.PutUint16(b[10:], 0)
	binary.LittleEndian.PutUint32(b[12:], record.CRC(b[:12]))
}

// CheckPreamble refuses what is damaged with errs.Corrupt, and a newer version with errs.Unsupported and both numbers. It has its own
// checksum so that a flipped bit is never taken for a newer version, nor a newer version for damage.
func CheckPreamble(b []byte, magic, name string) error {
	const op = "segment.CheckPreamble"
	if len(b) < PreambleLen || binary.LittleEndian.Uint32(b[12:]) != record.CRC(b[:12]) {
		return errs.E(op, errs.Corrupt, "%s: the first %d bytes fail their checksum", name, PreambleLen)
	}
	if string(b[:8]) != magic {
		return errs.E(op, errs.Corrupt, "%s begins with %q, not %q", name, b[:8], magic)
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != FormatVersion {
		return errs.E(op, errs.Unsupported, "%s has format version %d; this program reads version %d", name, v, FormatVersion)
	}
	return nil
}

// Kind says which blobs a segment takes.
type Kind uint8

// The kinds. Control records go to small segments.
const (
	Small Kind = 1 // blobs below the limit: buffered, so that they stay cached
	Large Kind = 2 // the others: written past the page cache
)

func (k Kind) String() string {
	switch k {
	case Small:
		return "small"
	case Large:
		return "large"
	}
	return "unknown"
}

// Align is the alignment of records in bytes.
func (k Kind) Align() int {
	if k == Large {
		return 4096
	}
	return 8
}

// UUID names a volume, or one life of it.
type UUID [16]byte

// Header is what a segment says of itself, in its first 4,096 bytes; the rest of them is zero:
//
//	 0 16B preamble            | 16 16B volume | 32 16B incarnation of the volume
//	48 u64 number              | 56 u64 seed   | 64 u64 capacity in bytes, header included
//	72 u32 alignment           | 76 u8 kind    | 77 3B zero
//	4092 u32 CRC32C of all before it
type Header struct {
	Volume      UUID
	Incarnation UUID   // drawn when the volume was made
	Number      uint64 // never reused in a volume
	Seed        uint64 // drawn anew whenever a file becomes a segment; masks its checksums
	Capacity    int64
	Kind        Kind
}

func (h *Header) encode(b []byte) {
	b = b[:HeaderLen]
	clear(b)
	PutPreamble(b, MagicSegment)
	copy(b[16:], h.Volume[:])
	copy(b[32:], h.Incarnation[:])
	binary.LittleEndian.PutUint64(b[48:], h.Number)
	binary.LittleEndian.PutUint64(b[56:], h.Seed)
	binary.LittleEndian.PutUint64(b[64:], uint64(h.Capacity))
	binary.LittleEndian.PutUint32(b[72:], uint32(h.Kind.Align()))
	b[76] = byte(h.Kind)
	binary.LittleEndian.PutUint32(b[HeaderLen-4:], record.CRC(b[:HeaderLen-4]))
}

func decodeHeader(b []byte, name string) (Header, error) {
	const op = "segment.Open"
	if err := CheckPreamble(b, MagicSegment, name); err != nil {
		return Header{}, err
	}
	if len(b) < HeaderLen || binary.LittleEndian.Uint32(b[HeaderLen-4:]) != record.CRC(b[:HeaderLen-4]) {
		return Header{}, errs.E(op, errs.Corrupt, "%s: the header fails its checksum", name)
	}
	h := Header{
		Volume: UUID(b[16:32]), Incarnation: UUID(b[32:48]),
		Number: binary.LittleEndian.Uint64(b[48:]), Seed: binary.LittleEndian.Uint64(b[56:]),
		Capacity: int64(binary.LittleEndian.Uint64(b[64:])), Kind: Kind(b[76]),
	}
	if (h.Kind != Small && h.Kind != Large) || binary.LittleEndian.Uint32(b[72:]) != uint32(h.Kind.Align()) || h.Capacity < HeaderLen {
		return Header{}, errs.E(op, errs.Unsupported, "%s: kind %d, alignment %d and capacity %d are unknown to this program", name, h.Kind, binary.LittleEndian.Uint32(b[72:]), h.Capacity)
	}
	return h, nil
}

// NumberMax bounds segment numbers: the index keeps 32 bits.
const NumberMax = 1<<32 - 1

// Name is the file name of a segment.
func Name(number uint64, kind Kind) string { return fmt.Sprintf("%08x.%s.seg", number, kind) }

// ParseName reads a file name; ok is false for other files.
func ParseName(name string) (number uint64, kind Kind, ok bool) {
	for _, k := range []Kind{Small, Large} {
		if hex, found := strings.CutSuffix(name, "."+k.String()+".seg"); found && len(hex) == 8 {
			n, err := strconv.ParseUint(hex, 16, 32)
			return n, k, err == nil
		}
	}
	return 0, 0, false
}

var zeros [4096]byte

func isZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

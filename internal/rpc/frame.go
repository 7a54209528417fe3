package rpc

import (
	"encoding/binary"

	"minikv/internal/crc32c"
	"minikv/internal/errs"
	"minikv/internal/object"
)

// A frame is a message that carries bytes of a blob: a fixed header, little-endian, and the bytes.
//
//	 0  u8   version, 1
//	 1  u8   what: 1 a piece of a blob
//	 2  u16  zero
//	 4  u32  CRC32C of the bytes
//	 8  u32  length of the bytes, at most 1 MiB
//	12  u32  total: length of the whole blob that is prepared, or of the whole answer
//	16  16B  blob id
//	32  u64  cluster epoch (prepare)
//	40  u64  shard epoch (prepare)
//	48  u64  offset: of the bytes in the blob
//	56  u32  zero
//	60  u32  CRC32C of bytes 0 to 59
const (
	frameVersion   = 1
	framePiece     = 1
	frameHeaderLen = 64

	// FrameMax is the longest piece in bytes; BlobMax the longest blob.
	FrameMax = 1 << 20
	BlobMax  = 8 << 20
)

// frameHeader is the header without what follows from the bytes.
type frameHeader struct {
	id     object.BlobID
	epochs object.Epochs
	offset uint64
	total  uint32
	length uint32
	crc    uint32
}

// put writes the header to b, which has frameHeaderLen bytes.
func (h *frameHeader) put(b []byte) {
	le := binary.LittleEndian
	b[0], b[1], b[2], b[3] = frameVersion, framePiece, 0, 0
	le.PutUint32(b[4:], h.crc)
	le.PutUint32(b[8:], h.length)
	le.PutUint32(b[12:], h.total)
	copy(b[16:32], h.id[:])
	le.PutUint64(b[32:], h.epochs.Cluster)
	le.PutUint64(b[40:], h.epochs.Shard)
	le.PutUint64(b[48:], h.offset)
	le.PutUint32(b[56:], 0)
	le.PutUint32(b[60:], crc32c.Checksum(b[:60]))
}

// parseFrameHeader reads a header of exactly frameHeaderLen bytes. errs.Corrupt: its checksum is wrong; errs.Invalid: it breaks
// a bound; errs.Unsupported: a newer version.
func parseFrameHeader(b []byte) (frameHeader, error) {
	const op = "rpc.frame"
	le := binary.LittleEndian
	if len(b) != frameHeaderLen {
		return frameHeader{}, errs.E(op, errs.Invalid, "a frame header of %d bytes", len(b))
	}
	if crc32c.Checksum(b[:60]) != le.Uint32(b[60:]) {
		return frameHeader{}, errs.E(op, errs.Corrupt, "the checksum of a frame header is wrong")
	}
	if b[0] != frameVersion || b[1] != framePiece || le.Uint16(b[2:]) != 0 || le.Uint32(b[56:]) != 0 {
		return frameHeader{}, errs.E(op, errs.Unsupported, "frame version %d, type %d", b[0], b[1])
	}
	h := frameHeader{
		crc: le.Uint32(b[4:]), length: le.Uint32(b[8:]), total: le.Uint32(b[12:]), id: object.BlobID(b[16:32]),
		epochs: object.Epochs{Cluster: le.Uint64(b[32:]), Shard: le.Uint64(b[40:])}, offset: le.Uint64(b[48:]),
	}
	if h.length > FrameMax || h.total > BlobMax || h.offset > BlobMax {
		return frameHeader{}, errs.E(op, errs.Invalid, "a frame of %d bytes at %d of %d", h.length, h.offset, h.total)
	}
	return h, nil
}

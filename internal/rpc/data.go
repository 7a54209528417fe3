package rpc

import (
	"encoding/binary"
	"io"
	"net"

	"google.golang.org/genproto/googleapis/rpc/status"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// Large blobs have connections of their own, on the same port as gRPC, from which the handshake tells them: between the memory of
// one node and that of another there are only the kernel's copies, where gRPC makes two more, in frames of 16 KiB, and hands
// each through several goroutines. A connection carries one call at a time; each call is a request, bytes, and an answer. All else
// (rules, deadlines, kinds of errors) is as for calls by gRPC, which also carries large blobs while there is no such connection.
//
// A request, little-endian:
//
//	 0  u8   version, 1
//	 1  u8   what: 1 prepare, 2 read
//	 2  u16  zero
//	 4  u32  time that is left for it, in ms
//	 8  u32  number of the volume; 0: any
//	12  u32  length of the blob, or how many bytes are wanted
//	16  16B  blob id
//	32  u64  cluster epoch (prepare)
//	40  u64  shard epoch (prepare)
//	48  u64  offset (read)
//	56  32B  incarnation of the volume, in hexadecimal; zeros: any
//	88  u32  zero
//	92  u32  CRC32C of bytes 0 to 91
//
// Bytes travel in pieces of at most 256 KiB: u32 length, u32 sum, bytes. Those of a prepare end where its length is reached,
// those of a read with a piece of length 0, failed or not. Pieces end at multiples of 256 KiB in the blob. The sum is the CRC32C of
// 16B blob id, u64 offset in the blob, u32 length, bytes, so that no piece passes for another, wherever it comes from. An answer:
//
//	 0  u32  length of the failure; 0: none
//	 4  u32  CRC32C of the rest, the length and the failure included
//	 8  u8   1: durable (prepare)
//	 9  3B   zero
//	12  the failure: a google.rpc.Status
const (
	dataVersion    = 1
	dataPrepare    = 1
	dataRead       = 2
	dataRequestLen = 96
	dataAnswerLen  = 12
	pieceHeaderLen = 8
	incarnationLen = 32

	// pieceMax fits the cache of one core, so that what is summed there is copied from there.
	pieceMax   = 256 << 10
	failureMax = 16 << 10
)

// dataRequest is a request's content.
type dataRequest struct {
	what   byte
	millis uint32
	ref    VolumeRef
	length uint32
	id     object.BlobID
	epochs object.Epochs
	offset uint64
}

// dataMethods are all requests that there are, and the methods whose rules hold for them.
var dataMethods = map[byte]string{dataPrepare: methodPrepare, dataRead: methodReadAt}

func (q *dataRequest) method() string { return dataMethods[q.what] }

// put writes the request to b, which has dataRequestLen bytes. The incarnation has at most incarnationLen.
func (q *dataRequest) put(b []byte) {
	le := binary.LittleEndian
	clear(b[:dataRequestLen])
	b[0], b[1] = dataVersion, q.what
	le.PutUint32(b[4:], q.millis)
	le.PutUint32(b[8:], q.ref.Number)
	le.PutUint32(b[12:], q.length)
	copy(b[16:32], q.id[:])
	le.PutUint64(b[32:], q.epochs.Cluster)
	le.PutUint64(b[40:], q.epochs.Shard)
	le.PutUint64(b[48:], q.offset)
	copy(b[56:56+incarnationLen], q.ref.Incarnation)
	le.PutUint32(b[92:], checksum(b[:92]))
}

// parseDataRequest reads exactly dataRequestLen bytes. errs.Corrupt: its checksum is wrong; errs.Invalid: it breaks a bound;
// errs.Unsupported: a newer form.
func parseDataRequest(b []byte) (dataRequest, error) {
	const op = "rpc.data"
	le := binary.LittleEndian
	if len(b) != dataRequestLen {
		return dataRequest{}, errs.E(op, errs.Invalid, "a request of %d bytes", len(b))
	}
	if checksum(b[:92]) != le.Uint32(b[92:]) {
		return dataRequest{}, errs.E(op, errs.Corrupt, "the checksum of a request is wrong")
	}
	if _, known := dataMethods[b[1]]; !known || b[0] != dataVersion || le.Uint16(b[2:]) != 0 || le.Uint32(b[88:]) != 0 {
		return dataRequest{}, errs.E(op, errs.Unsupported, "request version %d, type %d", b[0], b[1])
	}
	incarnation := b[56 : 56+incarnationLen]
	for len(incarnation) > 0 && incarnation[len(incarnation)-1] == 0 {
		incarnation = incarnation[:len(incarnation)-1]
	}
	q := dataRequest{
		what: b[1], millis: le.Uint32(b[4:]), ref: VolumeRef{le.Uint32(b[8:]), string(incarnation)}, length: le.Uint32(b[12:]),
		id: object.BlobID(b[16:32]), epochs: object.Epochs{Cluster: le.Uint64(b[32:]), Shard: le.Uint64(b[40:])}, offset: le.Uint64(b[48:]),
	}
	if q.length == 0 || q.length > BlobMax || q.offset > BlobMax {
		return dataRequest{}, errs.E(op, errs.Invalid, "%d bytes at %d", q.length, q.offset)
	}
	return q, nil
}

// pieceHeader is a piece's length and sum.
type pieceHeader struct{ length, crc uint32 }

// headerOf is that of the bytes at an offset of a blob.
func headerOf(id object.BlobID, off uint64, b []byte) pieceHeader {
	return pieceHeader{uint32(len(b)), updateCRC(seedOf(id, off, len(b)), b)}
}

// seedOf is the sum of what comes before a piece's n bytes.
func seedOf(id object.BlobID, off uint64, n int) uint32 {
	var b [28]byte
	copy(b[:], id[:])
	binary.LittleEndian.PutUint64(b[16:], off)
	binary.LittleEndian.PutUint32(b[24:], uint32(n))
	return checksum(b[:])
}

func (h pieceHeader) put(b []byte) {
	binary.LittleEndian.PutUint32(b, h.length)
	binary.LittleEndian.PutUint32(b[4:], h.crc)
}

func parsePieceHeader(b []byte) pieceHeader {
	return pieceHeader{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
}

// check says whether the bytes came as they left, and are those at the offset of the blob.
func (h pieceHeader) check(id object.BlobID, off uint64, b []byte) error {
	if headerOf(id, off, b) != h {
		return errs.E("rpc.data", errs.Corrupt, "bytes of blob %s changed on the way", id)
	}
	return nil
}

// pieceAt is how many of left bytes a piece at offset off has.
func pieceAt(off uint64, left int) int { return min(left, pieceMax-int(off%pieceMax)) }

// appendAnswer appends an answer; err is one that encode made, or nil.
func appendAnswer(dst []byte, durable bool, err error) []byte {
	var failure []byte
	if err != nil {
		s, _ := grpcstatus.FromError(err)
		failure, _ = proto.Marshal(s.Proto()) // of valid strings: clip
		if len(failure) > failureMax || len(failure) == 0 {
			failure, _ = proto.Marshal(&status.Status{Code: int32(s.Code()), Message: clip(s.Message())})
		}
	}
	var h [dataAnswerLen]byte
	binary.LittleEndian.PutUint32(h[:], uint32(len(failure)))
	if durable {
		h[8] = 1
	}
	binary.LittleEndian.PutUint32(h[4:], answerSum(&h, failure))
	return append(append(dst, h[:]...), failure...)
}

// answerSum is the CRC32C of an answer without that of itself.
func answerSum(h *[dataAnswerLen]byte, failure []byte) uint32 {
	return updateCRC(updateCRC(checksum(h[:4]), h[8:]), failure)
}

// readAnswer reads an answer. err is the failure, as gRPC would have given it, or why there is no answer.
func readAnswer(c net.Conn, scratch *[dataAnswerLen]byte) (durable bool, err error) {
	const op = "rpc.data"
	if _, err := io.ReadFull(c, scratch[:]); err != nil {
		return false, brokenConn(err)
	}
	le := binary.LittleEndian
	n, crc := le.Uint32(scratch[:]), le.Uint32(scratch[4:])
	if n > failureMax || scratch[8] > 1 || scratch[9]|scratch[10]|scratch[11] != 0 {
		return false, errs.E(op, errs.Invalid, "an answer that is none")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		return false, brokenConn(err)
	}
	if answerSum(scratch, b) != crc {
		return false, errs.E(op, errs.Corrupt, "an answer changed on the way")
	}
	if n == 0 {
		return scratch[8] == 1, nil
	}
	var s status.Status
	if proto.Unmarshal(b, &s) != nil || s.Code == 0 {
		return false, errs.E(op, errs.Corrupt, "an answer that is none")
	}
	return false, grpcstatus.FromProto(&s).Err()
}

package object

import (
	"encoding/binary"
	"encoding/hex"

	"minikv/internal/errs"
)

// BlobID names immutable bytes for ever; it is never reused.
//
//	byte 0       1            13        16
//	     | pool |     run     | counter |
//	     | 8 b  | 96 bits     | 24 b BE |
type BlobID [16]byte

// BlobIDLen is the length of a BlobID in bytes.
const BlobIDLen = 16

// CountersMax is the number of blobs one run can name.
const CountersMax = 1 << 24

// RunBase is the blob id with counter 0: the name of a run, all the bytes that one PutObject, UploadPart or batch put wrote.
type RunBase BlobID

// NewRunBase makes the base id of a run in a pool from 12 bytes that no other run ever has: random ones, or
// random ones with a count of runs behind, which keeps rows of neighbours in time together.
func NewRunBase(pool uint8, random [12]byte) RunBase {
	var b RunBase
	b[0] = pool
	copy(b[1:13], random[:])
	return b
}

// Blob is the id of the run's blob with the given counter, below CountersMax.
func (b RunBase) Blob(counter uint32) BlobID {
	id := BlobID(b)
	id[13], id[14], id[15] = byte(counter>>16), byte(counter>>8), byte(counter)
	return id
}

func (b RunBase) String() string { return hex.EncodeToString(b[:]) }

// Run is the base id of the run that the blob belongs to.
func (id BlobID) Run() RunBase {
	b := RunBase(id)
	b[13], b[14], b[15] = 0, 0, 0
	return b
}

// Pool is the pool whose shard table places the blob.
func (id BlobID) Pool() uint8 { return id[0] }

// Counter is the blob's number within its run.
func (id BlobID) Counter() uint32 {
	return uint32(id[13])<<16 | uint32(id[14])<<8 | uint32(id[15])
}

// Hash spreads ids evenly; the shard of a blob is Hash mod the pool's number of shards. The function is part of the format.
func (id BlobID) Hash() uint64 {
	return HashWords(binary.BigEndian.Uint64(id[0:8]), binary.BigEndian.Uint64(id[8:16]))
}

// HashWords is Hash of the id whose bytes are first and then second, each big-endian.
func HashWords(first, second uint64) uint64 {
	h := first*0x9E3779B97F4A7C15 ^ second
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	h ^= h >> 32
	return h
}

// Shard is the shard, below shards, that the blob belongs to.
func (id BlobID) Shard(shards uint32) uint32 { return uint32(id.Hash() % uint64(shards)) }

func (id BlobID) String() string { return hex.EncodeToString(id[:]) }

// BlobIDFrom reads an id of exactly BlobIDLen bytes.
func BlobIDFrom(b []byte) (BlobID, error) {
	if len(b) != BlobIDLen {
		return BlobID{}, errs.E("object.BlobIDFrom", errs.Invalid, "a blob id has %d bytes, not %d", BlobIDLen, len(b))
	}
	return BlobID(b), nil
}

// ParseBlobID reads 32 hexadecimal digits.
func ParseBlobID(s string) (BlobID, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return BlobID{}, errs.WrapKind("object.ParseBlobID", errs.Invalid, err)
	}
	return BlobIDFrom(b)
}

// Epochs fences a prepared blob: the cluster's epoch when the request began and the epoch of the shard it was placed by.
type Epochs struct {
	Cluster uint64 // hourly counter; prepares below the horizon are refused
	Shard   uint64 // version of the shard row
}

// BlobState is what a volume believes of a blob. It is only a hint: the run row decides who is alive.
type BlobState uint8

// The states. A lost hint leaves Prepared, which is kept and served.
const (
	BlobPrepared  BlobState = 1
	BlobCommitted BlobState = 2
	BlobAborted   BlobState = 3
)

func (s BlobState) String() string {
	switch s {
	case BlobPrepared:
		return "prepared"
	case BlobCommitted:
		return "committed"
	case BlobAborted:
		return "aborted"
	}
	return "unknown"
}

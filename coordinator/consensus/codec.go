package consensus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// Layout of one entry in the Raft log, big endian:
//
//	byte 0         1      2       10     18             26         30         34
//	     | version | type | index | term | appended, ns | data len | ext. len | data | extensions | CRC32C of all before |
//	     | 1       | 1    | 8     | 8    | 8            | 4        | 4        |      |            | 4                    |
//
// The appended time is Unix nanoseconds; 0: not set. It is only for metrics.
const (
	codecVersion = 1
	codecHeader  = 34
	codecTrailer = 4
	// codecID names this layout in segment headers and in the log's own state: "minikv", then the version.
	codecID uint64 = 0x6d696e696b760000 | codecVersion

	entryDataBytesMax = 32 << 20 // above the largest group of commands; below raft-wal's bound of 64 MiB
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// codec is raft-wal's Codec with a checksum, since raft-wal checks none when it reads.
type codec struct{}

// ID is the layout's number.
func (codec) ID() uint64 { return codecID }

// Encode writes l.
func (codec) Encode(l *raft.Log, w io.Writer) error {
	if len(l.Data) > entryDataBytesMax || len(l.Extensions) > entryDataBytesMax {
		return fmt.Errorf("a log entry of %d bytes is too large", len(l.Data)+len(l.Extensions))
	}
	if b, ok := w.(*bytes.Buffer); ok {
		b.Grow(codecHeader + len(l.Data) + len(l.Extensions) + codecTrailer)
	}
	var head [codecHeader]byte
	head[0], head[1] = codecVersion, byte(l.Type)
	binary.BigEndian.PutUint64(head[2:], l.Index)
	binary.BigEndian.PutUint64(head[10:], l.Term)
	if !l.AppendedAt.IsZero() {
		binary.BigEndian.PutUint64(head[18:], uint64(l.AppendedAt.UnixNano()))
	}
	binary.BigEndian.PutUint32(head[26:], uint32(len(l.Data)))
	binary.BigEndian.PutUint32(head[30:], uint32(len(l.Extensions)))
	sum := uint32(0)
	for _, part := range [][]byte{head[:], l.Data, l.Extensions} {
		sum = crc32.Update(sum, castagnoli, part)
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	_, err := w.Write(binary.BigEndian.AppendUint32(nil, sum))
	return err
}

// Decode reads an entry into l, which keeps no reference to b. Any deviation is errs.Corrupt.
func (codec) Decode(b []byte, l *raft.Log) error {
	const op = "consensus.Decode"
	if len(b) < codecHeader+codecTrailer {
		return errs.E(op, errs.Corrupt, "a log entry of %d bytes is too short", len(b))
	}
	body := b[:len(b)-codecTrailer]
	if got, want := crc32.Checksum(body, castagnoli), binary.BigEndian.Uint32(b[len(body):]); got != want {
		return errs.E(op, errs.Corrupt, "a log entry has CRC32C %08x, not %08x", got, want)
	}
	if b[0] != codecVersion {
		return errs.E(op, errs.Unsupported, "a log entry has version %d; this program reads version %d", b[0], codecVersion)
	}
	dataLen, extLen := uint64(binary.BigEndian.Uint32(b[26:])), uint64(binary.BigEndian.Uint32(b[30:]))
	if codecHeader+dataLen+extLen != uint64(len(body)) {
		return errs.E(op, errs.Corrupt, "a log entry's lengths do not add up")
	}
	*l = raft.Log{
		Index: binary.BigEndian.Uint64(b[2:]),
		Term:  binary.BigEndian.Uint64(b[10:]),
		Type:  raft.LogType(b[1]),
	}
	if ns := int64(binary.BigEndian.Uint64(b[18:])); ns != 0 {
		l.AppendedAt = time.Unix(0, ns)
	}
	if dataLen > 0 {
		l.Data = bytes.Clone(body[codecHeader : codecHeader+dataLen])
	}
	if extLen > 0 {
		l.Extensions = bytes.Clone(body[codecHeader+dataLen:])
	}
	return nil
}

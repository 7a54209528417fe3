// Package backup is the form of a metadata backup, pure bytes:
//
//	| magic "mkvback\x01", 8 bytes, its last is the version |
//	| length 4 | header, JSON | CRC32C of the header 4 |
//	then pieces: | length 4, 1 to 1 MiB | data | CRC32C 4, of all data so far |
//	then the end: | 0, 4 bytes | bytes of data, 8 | CRC32C of all data 4 |
//
// Numbers are big endian. The data is a folder as tar, as in a snapshot.
//
//	B1 A backup that was cut short, changed or continued is refused: io.EOF comes only after the end and nothing behind it.
package backup

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"time"

	"minikv/internal/errs"
)

const (
	magic     = "mkvback\x01"
	pieceMax  = 1 << 20
	pieceSize = 256 << 10
	headerMax = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says what a backup is of.
type Header struct {
	Made     time.Time `json:"made"`
	Version  string    `json:"version"` // of the program
	Cluster  string    `json:"cluster"` // id
	Index    uint64    `json:"index"`   // of the last entry that it holds
	Term     uint64    `json:"term"`
	Epoch    uint64    `json:"epoch"`
	Level    uint32    `json:"level"` // highest command level in use
	Objects  uint64    `json:"objects"`
	Bytes    uint64    `json:"bytes"` // of the objects, which are not in it
	Buckets  uint64    `json:"buckets"`
	Volumes  []Volume  `json:"volumes"` // that hold the objects
	Replicas uint32    `json:"replication"`
	Fsync    string    `json:"fsync"`
}

// Volume is one that the objects of a backup are on.
type Volume struct {
	Number uint32 `json:"number"`
	ID     string `json:"id"`
	Node   string `json:"node"`
}

// Writer writes a backup. Close ends it; without, it is one that was cut short.
type Writer struct {
	w     io.Writer
	buf   []byte
	sum   uint32
	total uint64
}

// NewWriter begins a backup.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	const op = "backup.NewWriter"
	doc, err := json.Marshal(h)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if len(doc) > headerMax {
		return nil, errs.E(op, errs.LimitExceeded, "a header of %d bytes", len(doc))
	}
	b := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(doc)))
	b = append(b, doc...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(doc, castagnoli))
	_, err = w.Write(b)
	return &Writer{w: w, buf: make([]byte, 4, pieceSize+8)}, errs.Wrap(op, err)
}

func (w *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m := min(len(p)-n, pieceSize+4-len(w.buf))
		w.buf = append(w.buf, p[n:n+m]...)
		if n += m; len(w.buf) == pieceSize+4 {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (w *Writer) flush() error {
	data := w.buf[4:]
	if len(data) == 0 {
		return nil
	}
	w.sum, w.total = crc32.Update(w.sum, castagnoli, data), w.total+uint64(len(data))
	binary.BigEndian.PutUint32(w.buf, uint32(len(data)))
	_, err := w.w.Write(binary.BigEndian.AppendUint32(w.buf, w.sum))
	w.buf = w.buf[:4]
	return errs.Wrap("backup.Write", err)
}

// Close writes what is left and the end.
func (w *Writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 4), w.total)
	_, err := w.w.Write(binary.BigEndian.AppendUint32(b, w.sum))
	return errs.Wrap("backup.Close", err)
}

// Reader reads a backup.
type Reader struct {
	Header Header

	r     *bufio.Reader
	piece []byte // not read yet
	buf   []byte
	sum   uint32
	total uint64
	err   error
}

// NewReader reads the header. errs.Corrupt: it is none or a damaged one; errs.Unsupported: of another version.
func NewReader(r io.Reader) (*Reader, error) {
	const op = "backup.NewReader"
	b := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	var start [len(magic) + 4]byte
	if _, err := io.ReadFull(b.r, start[:]); err != nil {
		return nil, cut(op, err)
	}
	if n := len(magic) - 1; string(start[:n]) != magic[:n] {
		return nil, errs.E(op, errs.Corrupt, "this is no backup of minikv")
	} else if start[n] != magic[n] {
		return nil, errs.E(op, errs.Unsupported, "the backup has format %d; this minikv reads format %d", start[n], magic[n])
	}
	n := binary.BigEndian.Uint32(start[len(magic):])
	if n > headerMax {
		return nil, errs.E(op, errs.Corrupt, "the backup's header is damaged")
	}
	doc := make([]byte, n+4)
	if _, err := io.ReadFull(b.r, doc); err != nil {
		return nil, cut(op, err)
	}
	if crc32.Checksum(doc[:n], castagnoli) != binary.BigEndian.Uint32(doc[n:]) {
		return nil, errs.E(op, errs.Corrupt, "the backup's header does not match its checksum")
	}
	if err := json.Unmarshal(doc[:n], &b.Header); err != nil {
		return nil, errs.WrapKind(op, errs.Corrupt, err)
	}
	return b, nil
}

// cut makes an early end a damage.
func cut(op string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errs.E(op, errs.Corrupt, "the backup was cut short")
	}
	return errs.Wrap(op, err)
}

func (b *Reader) Read(p []byte) (int, error) {
	if len(b.piece) == 0 && b.err == nil {
		b.err = b.next()
	}
	if len(b.piece) == 0 {
		return 0, b.err
	}
	n := copy(p, b.piece)
	b.piece = b.piece[n:]
	return n, nil
}

// next reads and checks a piece, or the end: io.EOF.
func (b *Reader) next() error {
	const op = "backup.Read"
	var head [4]byte
	if _, err := io.ReadFull(b.r, head[:]); err != nil {
		return cut(op, err)
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	switch {
	case n == 0:
		return b.end()
	case n > pieceMax:
		return errs.E(op, errs.Corrupt, "the backup is damaged after %d bytes of data", b.total)
	}
	if cap(b.buf) < n+4 {
		b.buf = make([]byte, n+4)
	}
	b.buf = b.buf[:n+4]
	if _, err := io.ReadFull(b.r, b.buf); err != nil {
		return cut(op, err)
	}
	b.sum = crc32.Update(b.sum, castagnoli, b.buf[:n])
	if b.sum != binary.BigEndian.Uint32(b.buf[n:]) {
		return errs.E(op, errs.Corrupt, "the backup is damaged after %d bytes of data", b.total)
	}
	b.piece, b.total = b.buf[:n], b.total+uint64(n)
	return nil
}

func (b *Reader) end() error {
	const op = "backup.Read"
	var tail [12]byte
	if _, err := io.ReadFull(b.r, tail[:]); err != nil {
		return cut(op, err)
	}
	if binary.BigEndian.Uint64(tail[:]) != b.total || binary.BigEndian.Uint32(tail[8:]) != b.sum {
		return errs.E(op, errs.Corrupt, "the backup's end does not match its data")
	}
	if _, err := b.r.ReadByte(); err == nil {
		return errs.E(op, errs.Corrupt, "the backup goes on behind its end")
	} else if err != io.EOF {
		return errs.Wrap(op, err)
	}
	return io.EOF
}

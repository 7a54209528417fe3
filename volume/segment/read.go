package segment

import (
	"errors"
	"io"
	"sync"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/volume/record"
)

// scratchLen holds a whole record of one block in either alignment, or a header with the longest table.
const scratchLen = record.BlockLen + 2*4096

var scratchPool = sync.Pool{New: func() any {
	b := make([]byte, scratchLen)
	return &b
}}

// ReadAt reads into dst the bytes from off on of the blob whose record of length bytes begins at at. Every block touched is
// verified before ReadAt returns; damage is errs.Corrupt with segment and offset, and then no byte in dst is to be used. It
// returns the number of bytes read, less than len(dst) only at the blob's end.
func (f *File) ReadAt(id object.BlobID, at int64, length int, dst []byte, off int64) (int, error) {
	if off >= int64(length) {
		return 0, nil
	}
	dst = dst[:min(int64(len(dst)), int64(length)-off)]
	scratch := scratchPool.Get().(*[]byte)
	defer scratchPool.Put(scratch)
	if dataOff := f.Layout().DataOff(length); length <= record.BlockLen {
		return f.readSmall(id, at, length, dataOff, dst, off, (*scratch)[:dataOff+length])
	}
	return f.readLarge(id, at, length, dst, off, *scratch)
}

// readSmall takes header, table and data in one read.
func (f *File) readSmall(id object.BlobID, at int64, length, dataOff int, dst []byte, off int64, b []byte) (int, error) {
	if err := f.read(b, at); err != nil {
		return 0, err
	}
	if err := f.checkHeader(b, id, at, length); err != nil {
		return 0, err
	}
	data := b[dataOff:]
	if record.Verify(data, b[record.HeaderLen:], 0, record.Mask(f.Seed, uint64(at), id)) >= 0 {
		return 0, f.corrupt(at+int64(dataOff), id, 0)
	}
	return copy(dst, data[off:]), nil
}

// readLarge takes header and table first, then whole blocks straight into dst and the edges through scratch.
func (f *File) readLarge(id object.BlobID, at int64, length int, dst []byte, off int64, scratch []byte) (int, error) {
	tableEnd := record.HeaderLen + 4*record.Blocks(length)
	head := scratch[record.BlockLen : record.BlockLen+tableEnd]
	if err := f.read(head, at); err != nil {
		return 0, err
	}
	if err := f.checkHeader(head, id, at, length); err != nil {
		return 0, err
	}
	r := blockReader{f: f, id: id, length: length, data: at + int64(f.Layout().DataOff(length)), table: head[record.HeaderLen:tableEnd], mask: record.Mask(f.Seed, uint64(at), id)}
	done := 0
	for done < len(dst) {
		n, err := r.some(dst[done:], int(off)+done, scratch[:record.BlockLen])
		if err != nil {
			return 0, err
		}
		done += n
	}
	return done, nil
}

// blockReader reads the blocks of one blob.
type blockReader struct {
	f      *File
	id     object.BlobID
	length int
	data   int64 // offset of the data in the file
	table  []byte
	mask   uint32
}

// some reads as many whole blocks as fit into dst, or else a part of one.
func (r *blockReader) some(dst []byte, off int, scratch []byte) (int, error) {
	first, in := off/record.BlockLen, off%record.BlockLen
	whole := len(dst) &^ (record.BlockLen - 1)
	if off+len(dst) == r.length {
		whole = len(dst) // the blob's last block counts as whole
	}
	if in == 0 && whole > 0 {
		return whole, r.verified(dst[:whole], first)
	}
	block := scratch[:min(record.BlockLen, r.length-first*record.BlockLen)]
	if err := r.verified(block, first); err != nil {
		return 0, err
	}
	return copy(dst, block[in:]), nil
}

// hotBytes is read at once and then verified: it is still in the core's own cache.
const hotBytes = 4 * record.BlockLen

// verified reads blocks from number first on.
func (r *blockReader) verified(b []byte, first int) error {
	for len(b) > 0 {
		hot := b[:min(len(b), hotBytes)]
		b = b[len(hot):]
		if err := r.f.read(hot, r.data+int64(first)*record.BlockLen); err != nil {
			return err
		}
		if bad := record.Verify(hot, r.table, first, r.mask); bad >= 0 {
			return r.f.corrupt(r.data+int64(bad)*record.BlockLen, r.id, bad)
		}
		first += hotBytes / record.BlockLen
	}
	return nil
}

// HeaderAt reads and checks the header of the blob's record at at.
func (f *File) HeaderAt(id object.BlobID, at int64, length int) (record.Header, error) {
	var b [record.HeaderLen]byte
	if err := f.read(b[:], at); err != nil {
		return record.Header{}, err
	}
	if err := f.checkHeader(b[:], id, at, length); err != nil {
		return record.Header{}, err
	}
	h, _ := record.Parse(b[:], f.Seed, uint64(at))
	return h, nil
}

// Sums reads the plain block checksums of the blob's record at at, without the data.
func (f *File) Sums(id object.BlobID, at int64, length int) ([]uint32, error) {
	b := make([]byte, record.HeaderLen+4*record.Blocks(length))
	if err := f.read(b, at); err != nil {
		return nil, err
	}
	if err := f.checkHeader(b, id, at, length); err != nil {
		return nil, err
	}
	mask := record.Mask(f.Seed, uint64(at), id)
	sums := make([]uint32, record.Blocks(length))
	for i := range sums {
		sums[i] = record.TableEntry(b[record.HeaderLen:], i, mask)
	}
	return sums, nil
}

func (f *File) checkHeader(b []byte, id object.BlobID, at int64, length int) error {
	h, ok := record.Parse(b, f.Seed, uint64(at))
	if !ok || h.ID != id || int(h.Length) != length || h.Type != record.Blob {
		return errs.E("segment.ReadAt", errs.Corrupt, "segment %s offset %d: the header of blob %s fails its checksum", Name(f.Number, f.Kind), at, id)
	}
	return nil
}

func (f *File) corrupt(off int64, id object.BlobID, block int) error {
	return errs.E("segment.ReadAt", errs.Corrupt, "segment %s offset %d: block %d of blob %s fails its checksum", Name(f.Number, f.Kind), off, block, id)
}

// read fills b from off; what the disk cannot give is damage.
func (f *File) read(b []byte, off int64) error {
	n, err := f.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &errs.Error{Op: "segment.ReadAt", Kind: errs.Corrupt, Msg: Name(f.Number, f.Kind) + " cannot be read", Cause: err}
}

// HasRecord says whether a record's header is at off.
func (f *File) HasRecord(off int64) bool {
	var b [record.HeaderLen]byte
	if off+record.HeaderLen > f.Capacity || f.read(b[:], off) != nil {
		return false
	}
	_, ok := record.Parse(b[:], f.Seed, uint64(off))
	return ok
}

// Raw gives n bytes from off on as the disk has them, unverified; what it cannot give counts as zeros.
func (f *File) Raw(off int64, n int) []byte {
	w := &window{f: f, end: off + int64(n), buf: make([]byte, n), off: off}
	w.patch()
	return w.buf
}

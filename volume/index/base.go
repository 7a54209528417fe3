package index

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// Base is an immutable table in a mapped file: open addressing in hash order like Table, over all of the hash. Its bytes are
//
//	slots: 32 B each (Entry.AppendTo), zero when empty, up to a multiple of a page
//	sums:  u32 for each page of slots: CRC32C XOR PageMask(seed, page)
//
// A page is verified when it is first touched. Lookups take no lock and touch no memory of the garbage collector's.
// A nil Base is empty.
//
// Invariant: entries are in strictly ascending order of (hash, id); none is before its home, the slot hash * homes / 2^64, and no
// empty slot is between its home and it.
type Base struct {
	slots   []byte
	sums    []byte
	homes   uint64
	entries int64
	seed    uint64
	checked []atomic.Uint32 // a bit for each page
}

// PageLen is the length in bytes of what has one checksum.
const PageLen = 4096

const (
	pageSlots = int64(PageLen / EntryLen)
	// fullHomes of fullOf homes are taken in a new base: 37.7 bytes for each entry, sums included.
	fullHomes, fullOf = 85, 100
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pageMask makes the sum of a page in another place, or of another file, fail.
func pageMask(seed uint64, page int64) uint32 {
	return uint32((seed^uint64(page)*0x9E3779B97F4A7C15)*0xD6E8FEB86659FD93>>32) | 1
}

// BaseSize is the length in bytes of slots and sums for so many slots.
func BaseSize(slots int64) int64 { return slots * int64(EntryLen) / PageLen * (PageLen + 4) }

// OpenBase looks at a base of BaseSize(slots) bytes at b. unmap, which may be nil, is called when nobody uses the base any more.
func OpenBase(b []byte, slots int64, homes uint64, entries int64, seed uint64, unmap func() error) (*Base, error) {
	if slots%pageSlots != 0 || slots < 0 || int64(len(b)) != BaseSize(slots) || homes > uint64(slots) || entries > slots || (homes == 0 && entries > 0) {
		return nil, errs.E("index.OpenBase", errs.Corrupt, "%d slots, %d homes and %d entries in %d bytes", slots, homes, entries, len(b))
	}
	t := &Base{
		slots: b[:slots*int64(EntryLen)], sums: b[slots*int64(EntryLen):], homes: homes, entries: entries, seed: seed,
		checked: make([]atomic.Uint32, slots/pageSlots/32+1),
	}
	if unmap != nil {
		runtime.AddCleanup(t, func(unmap func() error) { _ = unmap() }, unmap) // nothing can be done about an error
	}
	return t, nil
}

// Len is the number of entries.
func (t *Base) Len() int64 {
	if t == nil {
		return 0
	}
	return t.entries
}

// Bytes is the length of the mapped bytes.
func (t *Base) Bytes() int64 {
	if t == nil {
		return 0
	}
	return int64(len(t.slots) + len(t.sums))
}

// Get finds the entry of id. An error means that the file is damaged or cannot be read.
func (t *Base) Get(id object.BlobID) (e Entry, found bool, err error) {
	if t == nil || t.entries == 0 {
		return e, false, nil
	}
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			e, found, err = Entry{}, false, errs.WrapKind("index.Get", errs.Corrupt, vfs.FaultError(r))
		}
		runtime.KeepAlive(t)
	}()
	h := id.Hash()
	at, _ := bits.Mul64(h, t.homes)
	lo, hi := binary.LittleEndian.Uint64(id[:]), binary.LittleEndian.Uint64(id[8:])
	i := int(at) * EntryLen
	if err := t.check(int64(i) / PageLen); err != nil {
		return e, false, err
	}
	for ; i < len(t.slots); i += EntryLen {
		if i%PageLen == 0 {
			if err := t.check(int64(i) / PageLen); err != nil {
				return e, false, err
			}
		}
		s := t.slots[i : i+EntryLen : i+EntryLen]
		if binary.LittleEndian.Uint64(s) == lo && binary.LittleEndian.Uint64(s[8:]) == hi && binary.LittleEndian.Uint32(s[24:]) != 0 {
			return ParseEntry(s), true, nil
		}
		if binary.LittleEndian.Uint32(s[24:]) == 0 {
			return e, false, nil
		}
		if x := object.BlobID(s[:16]); x.Hash() >= h && after(x, h, id) {
			return e, false, nil
		}
	}
	return e, false, nil
}

// after says whether x comes after (h, id).
func after(x object.BlobID, h uint64, id object.BlobID) bool {
	xh := x.Hash()
	return xh > h || (xh == h && less(id, x))
}

// check verifies a page at its first use.
func (t *Base) check(page int64) error {
	word, bit := &t.checked[page/32], uint32(1)<<(page%32)
	if word.Load()&bit != 0 {
		return nil
	}
	sum := crc32.Checksum(t.slots[page*PageLen:(page+1)*PageLen], castagnoli) ^ pageMask(t.seed, page)
	if sum != binary.LittleEndian.Uint32(t.sums[4*page:]) {
		return errs.E("index.Get", errs.Corrupt, "page %d of the index fails its checksum", page)
	}
	word.Or(bit)
	return nil
}

// Scan visits entries in order, beginning after the given id (the zero id: at the start, itself included), until visit returns false.
func (t *Base) Scan(from object.BlobID, visit func(*Entry) bool) (err error) {
	if t == nil || t.entries == 0 {
		return nil
	}
	c := t.cursor(from)
	for {
		e, ok, err := c.peek()
		if err != nil || !ok || !visit(e) {
			return err
		}
		c.ready = false
	}
}

// cursor goes through a base in order.
type cursor struct {
	t     *Base
	i     int // of the next slot in bytes
	skip  object.BlobID
	skipH uint64
	e     Entry
	ready bool // e is the next entry
}

func (t *Base) cursor(from object.BlobID) *cursor {
	c := &cursor{t: t}
	if from != (object.BlobID{}) && t != nil {
		c.skip, c.skipH = from, from.Hash()
		at, _ := bits.Mul64(c.skipH, t.homes)
		c.i = int(at) * EntryLen
	}
	return c
}

// peek gives the next entry, the same one until ready is unset.
func (c *cursor) peek() (e *Entry, ok bool, err error) {
	if c.ready {
		return &c.e, true, nil
	}
	if c.t == nil || c.t.entries == 0 {
		return nil, false, nil
	}
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			e, ok, err = nil, false, errs.WrapKind("index.Scan", errs.Corrupt, vfs.FaultError(r))
		}
		runtime.KeepAlive(c.t)
	}()
	checked := -1
	for ; c.i < len(c.t.slots); c.i += EntryLen {
		if page := c.i / PageLen; page != checked {
			if err := c.t.check(int64(page)); err != nil {
				return nil, false, err
			}
			checked = page
		}
		s := c.t.slots[c.i : c.i+EntryLen : c.i+EntryLen]
		if binary.LittleEndian.Uint32(s[24:]) == 0 {
			continue
		}
		c.e = ParseEntry(s)
		if c.skip != (object.BlobID{}) && !after(c.e.ID, c.skipH, c.skip) {
			continue
		}
		c.i += EntryLen
		c.ready = true
		return &c.e, true, nil
	}
	return nil, false, nil
}

// Writer writes a base to a file, entries in order.
type Writer struct {
	f       vfs.File
	off     int64 // of buf in the file
	buf     []byte
	sums    []byte
	seed    uint64
	next    int64 // slot
	homes   uint64
	entries int64
	err     error
}

const writeStep = 1 << 20 // bytes written at once, a multiple of a page

// NewWriter begins a base of at most so many entries at offset off of f.
func NewWriter(f vfs.File, off, entries int64, seed uint64) *Writer {
	homes := uint64(0)
	if entries > 0 {
		homes = uint64(entries)*fullOf/fullHomes + 1
	}
	return &Writer{f: f, off: off, homes: homes, seed: seed, buf: make([]byte, 0, min(writeStep, (int64(homes)*int64(EntryLen)/PageLen+2)*PageLen))}
}

// Add appends an entry, which comes after the one before.
func (w *Writer) Add(e *Entry) {
	home, _ := bits.Mul64(e.ID.Hash(), w.homes)
	for w.next < int64(home) {
		w.put(nil)
	}
	w.put(e)
	w.entries++
}

var noEntry [EntryLen]byte

func (w *Writer) put(e *Entry) {
	if e == nil {
		w.buf = append(w.buf, noEntry[:]...)
	} else {
		w.buf = e.AppendTo(w.buf)
	}
	w.next++
	if len(w.buf) == writeStep {
		w.flush()
	}
}

func (w *Writer) flush() {
	page := (w.next*int64(EntryLen) - int64(len(w.buf))) / PageLen
	for b := w.buf; len(b) > 0; b = b[PageLen:] {
		w.sums = binary.LittleEndian.AppendUint32(w.sums, crc32.Checksum(b[:PageLen], castagnoli)^pageMask(w.seed, page))
		page++
	}
	w.write(w.buf)
	w.buf = w.buf[:0]
}

func (w *Writer) write(b []byte) {
	if w.err == nil && len(b) > 0 {
		_, w.err = w.f.WriteAt(b, w.off)
	}
	w.off += int64(len(b))
}

// Err is the first error; after one, Add does nothing of use.
func (w *Writer) Err() error { return w.err }

// Finish writes what is left and gives what OpenBase needs.
func (w *Writer) Finish() (slots int64, homes uint64, entries int64, err error) {
	for w.next < int64(w.homes) || w.next%pageSlots != 0 {
		w.put(nil)
	}
	w.flush()
	w.write(w.sums)
	return w.next, w.homes, w.entries, w.err
}

package index

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
	"runtime"
	"runtime/debug"
	"sync"
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
	pages   uint64
	entries int64
	seed    uint64
	checked []atomic.Uint32 // a bit for each page that was verified and has its tags
	tags    tags
	making  sync.Mutex // held to make tags
	filter  atomic.Pointer[Filter]
}

// PageLen is the length in bytes of what has one checksum.
const PageLen = 4096

const (
	pageSlots = uint64(PageLen / EntryLen)
	// fullHomes of fullOf homes are taken in a new base: 37.7 bytes for each entry, sums included.
	fullHomes, fullOf = 85, 100
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pageMask makes the sum of a page in another place, or of another file, fail.
func pageMask(seed, page uint64) uint32 {
	return uint32((seed^page*0x9E3779B97F4A7C15)*0xD6E8FEB86659FD93>>32) | 1
}

// BaseSize is the length in bytes of slots and sums for so many slots.
func BaseSize(slots int64) int64 { return slots * int64(EntryLen) / PageLen * (PageLen + 4) }

// OpenBase looks at a base of BaseSize(slots) bytes at b. unmap, which may be nil, is called when nobody uses the base any more.
func OpenBase(b []byte, slots int64, homes uint64, entries int64, seed uint64, unmap func() error) (*Base, error) {
	if slots%int64(pageSlots) != 0 || slots < 0 || int64(len(b)) != BaseSize(slots) || homes > uint64(slots) || entries > slots || (homes == 0 && entries > 0) {
		return nil, errs.E("index.OpenBase", errs.Corrupt, "%d slots, %d homes and %d entries in %d bytes", slots, homes, entries, len(b))
	}
	pages := uint64(slots) / pageSlots
	t := &Base{
		slots: b[:slots*int64(EntryLen)], sums: b[slots*int64(EntryLen):], homes: homes, pages: pages, entries: entries, seed: seed,
		checked: make([]atomic.Uint32, pages/32+1), tags: newTags(slots),
	}
	t.checked[pages/32].Store(1 << (pages % 32)) // the empty slots behind the last
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

// Bytes is the length of the mapped bytes, and of the tags and the filter in memory.
func (t *Base) Bytes() int64 {
	if t == nil {
		return 0
	}
	n := int64(len(t.slots) + len(t.sums) + len(t.tags))
	if f := t.filter.Load(); f != nil {
		n += f.Bytes()
	}
	return n
}

// Get finds the entry of id. An error means that the file is damaged or cannot be read.
func (t *Base) Get(id object.BlobID) (e Entry, found bool, err error) {
	found, err = t.get(keyOf(&id), &e)
	return e, found, err
}

// get is Get into e. It is written so that lookups that follow each other overlap in the processor: what the next step depends on is not
// guessed, and what is on its way from memory is not stored in other sizes than it is loaded in, which would let all later loads wait.
func (t *Base) get(k key, e *Entry) (found bool, err error) {
	if t == nil || t.entries == 0 {
		return false, nil
	}
	home, _ := bits.Mul64(k.h, t.homes)
	if !t.verified(home/pageSlots) || !t.verified((home+tagReach-1)/pageSlots) {
		return t.cold(k, home, e)
	}
	at, over := t.tags.find(home, k.h)
	if at < 0 && over {
		return false, nil
	}
	if at >= 0 {
		if found, err = t.load(k, home+uint64(at), e); found || err != nil {
			return found, err
		}
	}
	return t.walk(k, home, e)
}

// cold is get where pages were not verified yet: the filter may tell without them that there is no such entry.
func (t *Base) cold(k key, home uint64, e *Entry) (found bool, err error) {
	if f := t.filter.Load(); f != nil && f.Lacks(k.id()) {
		return false, nil
	}
	return t.walk(k, home, e)
}

// sure is get that does not ask the filter.
func (t *Base) sure(k key, e *Entry) (found bool, err error) {
	if t == nil || t.entries == 0 {
		return false, nil
	}
	home, _ := bits.Mul64(k.h, t.homes)
	return t.walk(k, home, e)
}

// SetFilter lets lookups of what is on pages that were not touched since the base was opened pass by a filter of all its ids: so what is
// not in a base on a cold disk is found out without reading it. A filter of other ids hides entries; it must be the base's own.
func (t *Base) SetFilter(f *Filter) {
	if t != nil {
		t.filter.Store(f)
	}
}

// Filtered says whether the base has a filter.
func (t *Base) Filtered() bool { return t != nil && t.filter.Load() != nil }

// MakeFilter makes the filter of a base, reading all of it; nil when more, asked now and then, says no.
func (t *Base) MakeFilter(more func() bool) (*Filter, error) {
	if t == nil {
		return nil, nil
	}
	f, stopped := NewTableFilter(t.entries, t.seed), false
	err := t.Scan(object.BlobID{}, func(e *Entry) bool {
		f.Add(e.ID)
		stopped = f.entries%4096 == 0 && !more()
		return !stopped
	})
	if err != nil || stopped {
		return nil, err
	}
	return f, nil
}

// load looks whether a verified slot has the entry.
func (t *Base) load(k key, slot uint64, e *Entry) (found bool, err error) {
	old, ended := debug.SetPanicOnFault(true), false
	defer func() {
		if !ended {
			debug.SetPanicOnFault(old)
			found, err = false, t.faulted("index.Get", recover())
		}
	}()
	s := t.slots[slot*uint64(EntryLen):][:EntryLen]
	if found = binary.LittleEndian.Uint64(s) == k.lo && binary.LittleEndian.Uint64(s[8:]) == k.hi; found {
		loadEntry(e, s)
	}
	runtime.KeepAlive(t)
	ended = true
	debug.SetPanicOnFault(old)
	return found, nil
}

// damagedBase is the error of a base that is damaged or cannot be read.
type damagedBase struct {
	error
	base *Base
}

func (d *damagedBase) Unwrap() error { return d.error }

// DamagedBase is the base that was found damaged, which may have been replaced since; nil if err says nothing of one.
func DamagedBase(err error) *Base {
	var d *damagedBase
	if errors.As(err, &d) {
		return d.base
	}
	return nil
}

// faulted makes an error of a fault in the mapping.
func (t *Base) faulted(op string, recovered any) error {
	return &damagedBase{errs.WrapKind(op, errs.Corrupt, vfs.FaultError(recovered)), t}
}

// walk goes from slot to slot, from the home on.
func (t *Base) walk(k key, home uint64, e *Entry) (found bool, err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			found, err = false, t.faulted("index.Get", r)
		}
		runtime.KeepAlive(t)
	}()
	for slot := home; slot < t.pages*pageSlots; slot++ {
		if slot == home || slot%pageSlots == 0 {
			if err := t.check(slot / pageSlots); err != nil {
				return false, err
			}
		}
		s := t.slots[slot*uint64(EntryLen):][:EntryLen]
		lo, hi := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[8:])
		taken := binary.LittleEndian.Uint32(s[24:]) != 0
		switch {
		case lo == k.lo && hi == k.hi && taken:
			loadEntry(e, s)
			return true, nil
		case !taken || k.before(lo, hi):
			return false, nil
		}
	}
	return false, nil
}

// key is an id as a lookup uses it.
type key struct{ h, lo, hi uint64 } // the hash; the first and the second 8 bytes, little-endian

func keyOf(id *object.BlobID) key {
	lo, hi := binary.LittleEndian.Uint64(id[:8]), binary.LittleEndian.Uint64(id[8:])
	return key{object.HashWords(bits.ReverseBytes64(lo), bits.ReverseBytes64(hi)), lo, hi}
}

func (k *key) id() (id object.BlobID) {
	binary.LittleEndian.PutUint64(id[:], k.lo)
	binary.LittleEndian.PutUint64(id[8:], k.hi)
	return id
}

// before says whether k is before the id of these words in the order of (hash, id).
func (k *key) before(lo, hi uint64) bool {
	first, second := bits.ReverseBytes64(lo), bits.ReverseBytes64(hi)
	h := object.HashWords(first, second)
	if h != k.h {
		return h > k.h
	}
	f, s := bits.ReverseBytes64(k.lo), bits.ReverseBytes64(k.hi)
	return f < first || (f == first && s < second)
}

// after says whether x comes after (h, id).
func after(x object.BlobID, h uint64, id object.BlobID) bool {
	xh := x.Hash()
	return xh > h || (xh == h && less(id, x))
}

// verified says that a page was looked at before; there is nothing to verify behind the last.
func (t *Base) verified(page uint64) bool {
	return t.checked[page/32].Load()&(1<<(page%32)) != 0
}

// Touched is the number of pages that were verified since the base was opened.
func (t *Base) Touched() (n int) {
	if t == nil {
		return 0
	}
	for i := range t.checked {
		n += bits.OnesCount32(t.checked[i].Load())
	}
	return n - 1 // without the one behind the last
}

// check verifies a page at its first use, and makes its tags.
func (t *Base) check(page uint64) error {
	if t.verified(page) {
		return nil
	}
	slots := t.slots[page*PageLen : (page+1)*PageLen]
	if crc32.Checksum(slots, castagnoli)^pageMask(t.seed, page) != binary.LittleEndian.Uint32(t.sums[4*page:]) {
		return &damagedBase{errs.E("index.Get", errs.Corrupt, "page %d of the index fails its checksum", page), t}
	}
	t.making.Lock()
	defer t.making.Unlock()
	if !t.verified(page) { // else others read the tags already
		t.tags.fill(slots, page*pageSlots, t.homes)
		t.checked[page/32].Or(1 << (page % 32))
	}
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
			e, ok, err = nil, false, c.t.faulted("index.Scan", r)
		}
		runtime.KeepAlive(c.t)
	}()
	checked := -1
	for ; c.i < len(c.t.slots); c.i += EntryLen {
		if page := c.i / PageLen; page != checked {
			if err := c.t.check(uint64(page)); err != nil {
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
	page := (uint64(w.next)*uint64(EntryLen) - uint64(len(w.buf))) / PageLen
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
	for w.next < int64(w.homes) || uint64(w.next)%pageSlots != 0 {
		w.put(nil)
	}
	w.flush()
	w.write(w.sums)
	return w.next, w.homes, w.entries, w.err
}

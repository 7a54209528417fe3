// Package index finds blobs: id -> segment, offset, length, state, and the epoch of its prepare. It is the truth about what a volume
// holds while the volume is open; segments rebuild it.
//
// Table keeps entries of 32 bytes without pointers, sorted by the hash of the id, in open addressing: an entry's place is found from
// its hash, and entries that meet push each other on in hash order. So a miss ends at the first higher hash, paging through the
// whole table is a scan that survives growth, and merging two tables (or writing one down) is linear. The table is cut into 64
// parts by the highest bits of the hash, each with its own lock, growing on its own.
//
// Invariants, per part:
//
//  1. The entries are in strictly ascending order of (hash, id).
//  2. No entry is before its home, and no empty slot lies between its home and it.
package index

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"minikv/internal/object"
)

// State is what the index knows of a blob's life. The higher one wins, but for Evicted, which gives way to a new record.
type State uint8

// The states, in the order of record's third invariant.
const (
	Prepared  State = 1
	Committed State = 2
	Dropped   State = 3 // aborted; kept, as the next, until its record's segment is gone
	Deleted   State = 4 // a durable tombstone says so
	// Evicted blobs are others' business now. Nothing on disk says so: they may be here again after a restart, and may be prepared anew.
	Evicted State = 5
)

// Entry is what the index knows of a blob.
type Entry struct {
	ID      object.BlobID
	Segment uint32
	Unit    uint32 // offset of the record in the segment, in units of 8 bytes
	lenst   uint32 // length in the lower 24 bits, state above
	Epoch   uint32 // the cluster's epoch at the prepare; it ticks hourly
}

// EntryLen is the size of an entry in memory.
const EntryLen = int(unsafe.Sizeof(Entry{}))

// MakeEntry makes an entry. off is a multiple of 8, length below 16 MiB.
func MakeEntry(id object.BlobID, segment uint32, off int64, length int, state State, epoch uint64) Entry {
	return Entry{ID: id, Segment: segment, Unit: uint32(off / 8), lenst: uint32(length) | uint32(state)<<24, Epoch: uint32(epoch)}
}

// Off is the offset of the record in bytes.
func (e *Entry) Off() int64 { return int64(e.Unit) * 8 }

// Length is the blob's length in bytes.
func (e *Entry) Length() int { return int(e.lenst & (1<<24 - 1)) }

// State is the blob's state.
func (e *Entry) State() State { return State(e.lenst >> 24) }

// SetState changes the state.
func (e *Entry) SetState(s State) { e.lenst = e.lenst&(1<<24-1) | uint32(s)<<24 }

const (
	partBits  = 6
	parts     = 1 << partBits
	sizeMin   = 16 // slots of a part that has any
	overflow  = 64 // slots beyond the last home
	loadTenth = 8  // a part grows when so many tenths of its homes are taken
)

// Table is the index in memory. The zero value is empty and ready. All methods may be called concurrently.
type Table struct {
	maybes [parts]atomic.Pointer[maybes] // of each part
	_      [64]byte                      // what all readers look at is not on a line with what is written
	parts  [parts]part
	count  atomic.Int64
}

type part struct {
	mu    sync.RWMutex
	maybe *maybes
	slots []Entry // lenst 0: empty
	bits  uint    // homes: 1 << bits
	used  int
	_     [64]byte // no two locks on one cache line
}

func split(h uint64) (int, uint64) { return int(h >> (64 - partBits)), h << partBits }

func (p *part) home(h uint64) int { return int(h >> (64 - p.bits)) }

// find gives the slot of id, or the one where it belongs; h is the hash without the part's bits.
func (p *part) find(h uint64, id object.BlobID) (slot int, found bool) {
	if p.slots == nil {
		return 0, false
	}
	for i := p.home(h); i < len(p.slots); i++ {
		e := &p.slots[i]
		if e.lenst == 0 {
			return i, false
		}
		if e.ID == id {
			return i, true
		}
		if _, eh := split(e.ID.Hash()); eh > h || (eh == h && less(id, e.ID)) {
			return i, false
		}
	}
	return len(p.slots), false
}

func less(a, b object.BlobID) bool { return string(a[:]) < string(b[:]) }

// Get finds the entry of id. For most ids that are not there it takes no lock.
func (t *Table) Get(id object.BlobID) (e Entry, found bool) {
	h := id.Hash()
	found = t.may(h) && t.get(h, &id, &e)
	return e, found
}

// may says that an entry with this hash may be there.
func (t *Table) may(hash uint64) bool {
	m := t.maybes[hash>>(64-partBits)].Load()
	return m != nil && m.has(hash)
}

// get is Get into e.
func (t *Table) get(hash uint64, id *object.BlobID, e *Entry) bool {
	n, h := split(hash)
	p := &t.parts[n]
	p.mu.RLock()
	slot, found := p.find(h, *id)
	if found {
		*e = p.slots[slot]
	}
	p.mu.RUnlock()
	return found
}

// Put adds an entry or replaces that of the same id; it returns the replaced one, if any.
func (t *Table) Put(e Entry) (old Entry, replaced bool) {
	hash := e.ID.Hash()
	n, h := split(hash)
	p := &t.parts[n]
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, found := p.find(h, e.ID)
	if found {
		old, p.slots[slot] = p.slots[slot], e
		return old, true
	}
	t.insert(slot, hash, &e)
	return Entry{}, false
}

// add is Put of an entry whose id, with this hash, is not there; false, and nothing is put, if it is.
func (t *Table) add(hash uint64, e *Entry) bool {
	n, h := split(hash)
	p := &t.parts[n]
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, found := p.find(h, e.ID)
	if !found {
		t.insert(slot, hash, e)
	}
	return !found
}

// insert adds an entry with this hash to a locked part that does not have it; slot is where find said that it belongs.
func (t *Table) insert(slot int, hash uint64, e *Entry) {
	n, h := split(hash)
	p := &t.parts[n]
	t.count.Add(1)
	p.insert(slot, h, e)
	p.maybe.add(hash)
	if t.maybes[n].Load() != p.maybe {
		t.maybes[n].Store(p.maybe)
	}
}

func (p *part) insert(slot int, h uint64, e *Entry) {
	if p.slots == nil {
		p.reset(bits.Len(sizeMin) - 1)
		p.rebuilt()
		slot = p.home(h)
	}
	if p.used*10 >= (1<<p.bits)*loadTenth {
		p.grow()
		slot, _ = p.find(h, e.ID)
	}
	for !p.put(slot, e) {
		p.grow()
		slot, _ = p.find(h, e.ID)
	}
}

// put makes room for an entry at slot, by pushing on what is there; false if there is none up to the end.
func (p *part) put(slot int, e *Entry) bool {
	end := slot
	for end < len(p.slots) && p.slots[end].lenst != 0 {
		end++
	}
	if end >= len(p.slots) {
		return false
	}
	copy(p.slots[slot+1:end+1], p.slots[slot:end])
	p.slots[slot] = *e
	p.used++
	return true
}

func (p *part) reset(bits int) {
	p.bits = uint(bits)
	p.slots = make([]Entry, 1<<bits+overflow)
	p.used = 0
}

// rebuilt gives a part that was made anew its maybes.
func (p *part) rebuilt() {
	p.maybe = newMaybes(p.bits)
	for i := range p.slots {
		if p.slots[i].lenst != 0 {
			p.maybe.add(p.slots[i].ID.Hash())
		}
	}
}

// grow doubles the part. Its entries come in order, so each goes to its home or behind the one before.
func (p *part) grow() {
	old := p.slots
	for b := int(p.bits) + 1; ; b++ {
		p.reset(b)
		if p.refill(old) {
			p.rebuilt()
			return
		}
	}
}

func (p *part) refill(old []Entry) bool {
	next := 0
	for i := range old {
		if old[i].lenst == 0 {
			continue
		}
		_, h := split(old[i].ID.Hash())
		next = max(next, p.home(h))
		if next >= len(p.slots) {
			return false
		}
		p.slots[next] = old[i]
		p.used++
		next++
	}
	return true
}

// Update lets change alter the entry of id in place, under the lock; it returns false, and change is not called, if there is none.
// change must not alter the id.
func (t *Table) Update(id object.BlobID, change func(e *Entry)) bool {
	n, h := split(id.Hash())
	p := &t.parts[n]
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, found := p.find(h, id)
	if found {
		change(&p.slots[slot])
	}
	return found
}

// Delete takes the entry of id out if it is in the given segment.
func (t *Table) Delete(id object.BlobID, segment uint32) bool {
	n, h := split(id.Hash())
	p := &t.parts[n]
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, found := p.find(h, id)
	if !found || p.slots[slot].Segment != segment {
		return false
	}
	// Entries behind it that are not at home move one back.
	i := slot
	for ; i+1 < len(p.slots) && p.slots[i+1].lenst != 0; i++ {
		if _, h := split(p.slots[i+1].ID.Hash()); p.home(h) == i+1 {
			break
		}
		p.slots[i] = p.slots[i+1]
	}
	p.slots[i] = Entry{}
	p.used--
	t.count.Add(-1)
	return true
}

// Reserve makes room for n entries in an empty table. Without it, entries put in the order of a scan would crowd at the begin of parts
// that are still small.
func (t *Table) Reserve(n int64) {
	each := n/parts + n/parts/8 + sizeMin
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		if p.used == 0 {
			p.reset(bits.Len64(uint64(each * 10 / loadTenth)))
			p.rebuilt()
		}
		p.mu.Unlock()
	}
}

// Len is the number of entries.
func (t *Table) Len() int64 { return t.count.Load() }

// Bytes is the memory of the table.
func (t *Table) Bytes() int64 {
	var n int64
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.RLock()
		n += int64(len(p.slots)) * int64(EntryLen)
		p.mu.RUnlock()
	}
	return n
}

// Scan visits entries in the order of (hash, id), beginning after the given id, until visit returns false. The zero id begins at the
// start, itself included. Entries that come or go meanwhile may be missed; all others are visited once. visit is called under a
// lock of the table and must not use it.
func (t *Table) Scan(after object.BlobID, visit func(*Entry) bool) {
	n, h := split(after.Hash())
	from := after != object.BlobID{}
	for ; n < parts; n++ {
		if !t.parts[n].scan(from, h, after, visit) {
			return
		}
		from = false
	}
}

func (p *part) scan(from bool, h uint64, after object.BlobID, visit func(*Entry) bool) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	i := 0
	if from {
		slot, found := p.find(h, after)
		if i = slot; found {
			i++
		}
	}
	for ; i < len(p.slots); i++ {
		if p.slots[i].lenst != 0 && !visit(&p.slots[i]) {
			return false
		}
	}
	return true
}

// AppendTo writes the entry in EntryLen bytes: id, segment, unit, length and state, epoch; little-endian.
func (e *Entry) AppendTo(b []byte) []byte {
	b = append(b, e.ID[:]...)
	b = binary.LittleEndian.AppendUint32(b, e.Segment)
	b = binary.LittleEndian.AppendUint32(b, e.Unit)
	b = binary.LittleEndian.AppendUint32(b, e.lenst)
	return binary.LittleEndian.AppendUint32(b, e.Epoch)
}

// loadEntry is ParseEntry into e: on little-endian machines a plain copy, in as large steps as it will be read in.
func loadEntry(e *Entry, b []byte) {
	if !littleEndian {
		*e = ParseEntry(b)
		return
	}
	*e = *(*Entry)(unsafe.Pointer((*[EntryLen]byte)(b)))
}

// littleEndian says whether this machine has an Entry in memory as AppendTo writes it.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// ParseEntry reads what AppendTo wrote; b has EntryLen bytes.
func ParseEntry(b []byte) Entry {
	return Entry{
		ID: object.BlobID(b[:16]), Segment: binary.LittleEndian.Uint32(b[16:]), Unit: binary.LittleEndian.Uint32(b[20:]),
		lenst: binary.LittleEndian.Uint32(b[24:]), Epoch: binary.LittleEndian.Uint32(b[28:]),
	}
}

package index

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"minikv/internal/object"
)

// Index is what a volume holds: a mapped Base, and over it a small Table of what is newer. Freeze and Replace merge them: meanwhile there
// are three levels, of which the uppermost that has an id counts. All methods may be called concurrently, readers wait for nobody.
//
// Entries in a segment that was dropped are invisible and stay behind at the next merge.
type Index struct {
	mu     sync.RWMutex // held by writers of the overlay; exclusively to change the levels
	levels atomic.Pointer[levels]
	dead   atomic.Pointer[map[uint32]struct{}] // dropped segments; replaced, never altered
}

type levels struct {
	overlay, frozen *Table // frozen is nil but for the time of a merge; nobody writes to it
	base            *Base
}

// New is an index over a base, which may be nil.
func New(base *Base) *Index {
	x := &Index{}
	x.levels.Store(&levels{overlay: &Table{}, base: base})
	x.dead.Store(&map[uint32]struct{}{})
	return x
}

func (x *Index) isDead(segment uint32) bool {
	dead := *x.dead.Load()
	if len(dead) == 0 {
		return false
	}
	_, ok := dead[segment]
	return ok
}

// Get finds the entry of id. An error means that the base is damaged or cannot be read.
func (x *Index) Get(id object.BlobID) (e Entry, found bool, err error) {
	found, err = x.levels.Load().get(&id, &e)
	if found && x.isDead(e.Segment) {
		return x.moved(id)
	}
	return e, found, err
}

// moved is Get of an id that was found in a dropped segment. It may have been moved elsewhere before that was dropped, but after its
// entry was read: the lock keeps further segments from being dropped, and what was moved out of dropped ones is seen now.
func (x *Index) moved(id object.BlobID) (e Entry, found bool, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	found, err = x.levels.Load().get(&id, &e)
	if found && x.isDead(e.Segment) {
		return Entry{}, false, nil
	}
	return e, found, err
}

func (l *levels) get(id *object.BlobID, e *Entry) (found bool, err error) {
	k := keyOf(id)
	if l.overlay.may(k.h) && l.overlay.get(k.h, id, e) {
		return true, nil
	}
	if l.frozen != nil && l.frozen.may(k.h) && l.frozen.get(k.h, id, e) {
		return true, nil
	}
	return l.base.get(k, e)
}

// below looks under the overlay, without the filter of the base.
func (l *levels) below(id object.BlobID) (e Entry, found bool, err error) {
	k := keyOf(&id)
	if l.frozen != nil && l.frozen.may(k.h) && l.frozen.get(k.h, &id, &e) {
		return e, true, nil
	}
	found, err = l.base.sure(k, &e)
	return e, found, err
}

// Sure is Get that asks no filter: what it does not find is not there, as long as the file is what it was written as.
func (x *Index) Sure(id object.BlobID) (Entry, bool, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	l := x.levels.Load()
	e, found := l.overlay.Get(id)
	var err error
	if !found {
		e, found, err = l.below(id)
	}
	if found && x.isDead(e.Segment) {
		return Entry{}, false, nil
	}
	return e, found, err
}

// Base is the mapped base, which may be nil.
func (x *Index) Base() *Base { return x.levels.Load().base }

// Put adds an entry or replaces that of the same id, whatever that is: nothing is looked up below the overlay, so no page of the base is
// read. Who must know what is replaced asks Get before, or uses Move.
func (x *Index) Put(e Entry) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.levels.Load().overlay.Put(e)
}

// Add puts entries of ids that the index did not know a moment ago. known[i] says that entry i was not put: the index may know its id by now
// from other writers (see Move then). It looks nowhere but into memory.
func (x *Index) Add(entries []Entry, known []bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	l := x.levels.Load()
	for i := range entries {
		e := &entries[i]
		hash := e.ID.Hash()
		known[i] = l.frozen != nil && l.frozen.may(hash) || !l.overlay.add(hash, e)
	}
}

// Move is Put, but the entry keeps the state of the one it replaces (old, if replaced) if that is higher; now is what is in the index after it.
func (x *Index) Move(e Entry) (old, now Entry, replaced bool, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	l := x.levels.Load()
	now = e
	old, replaced = l.overlay.move(&now, func() (o Entry, ok bool) {
		k := keyOf(&e.ID)
		if l.frozen != nil && l.frozen.may(k.h) && l.frozen.get(k.h, &e.ID, &o) {
			return o, true
		}
		ok, err = l.base.get(k, &o)
		return o, ok
	}, x.isDead)
	return old, now, replaced, err
}

// Update lets change alter the entry of id; it returns false, and change is not called, if there is none. change must not alter the id.
func (x *Index) Update(id object.BlobID, change func(e *Entry)) (found bool, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	l := x.levels.Load()
	l.overlay.modify(id, func() (e Entry, ok bool) {
		e, ok, err = l.below(id)
		return e, ok
	}, func(e *Entry) {
		if found = !x.isDead(e.Segment); found {
			change(e)
		}
	})
	return found, err
}

// Forget takes the entry of id out if it is in the given segment and newer than the last Freeze; an older one then counts again.
func (x *Index) Forget(id object.BlobID, segment uint32) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.levels.Load().overlay.Delete(id, segment)
}

// Drop makes all entries in a segment invisible, for ever: numbers of segments are not used again.
func (x *Index) Drop(segment uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	dead := maps.Clone(*x.dead.Load())
	dead[segment] = struct{}{}
	x.dead.Store(&dead)
}

// Len is the number of entries, invisible and superseded ones included.
func (x *Index) Len() int64 {
	l := x.levels.Load()
	n := l.overlay.Len() + l.base.Len()
	if l.frozen != nil {
		n += l.frozen.Len()
	}
	return n
}

// New tells how many entries are newer than the base.
func (x *Index) New() int64 {
	l := x.levels.Load()
	if l.frozen != nil {
		return l.overlay.Len() + l.frozen.Len()
	}
	return l.overlay.Len()
}

// BaseLen is the number of entries of the base.
func (x *Index) BaseLen() int64 { return x.levels.Load().base.Len() }

// Dead is the number of dropped segments that the base may still speak of.
func (x *Index) Dead() int { return len(*x.dead.Load()) }

// Bytes is the memory of the index, mapped bytes included.
func (x *Index) Bytes() int64 {
	l := x.levels.Load()
	n := l.overlay.Bytes() + l.base.Bytes()
	if l.frozen != nil {
		n += l.frozen.Bytes()
	}
	return n
}

// Merge is a frozen overlay to be merged with the base.
type Merge struct {
	x       *Index
	from    *levels
	rebuilt *Table // in the place of the base
	dead    map[uint32]struct{}
}

// Freeze begins a merge of all that is in the index now. One merge at a time: it ends with Replace.
func (x *Index) Freeze() *Merge {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.levels.Load()
	l := &levels{overlay: &Table{}, frozen: old.overlay, base: old.base}
	x.levels.Store(l)
	return &Merge{x: x, from: l, dead: *x.dead.Load()}
}

// Entries is how many entries the merged table has at most.
func (m *Merge) Entries() int64 {
	if m.rebuilt != nil {
		return m.from.frozen.Len() + m.rebuilt.Len()
	}
	return m.from.frozen.Len() + m.from.base.Len()
}

// Rebuilt merges the frozen overlay with this table instead of with a base that is damaged.
func (m *Merge) Rebuilt(t *Table) { m.rebuilt = t }

// Visit goes through the merged entries in order, until visit returns false.
func (m *Merge) Visit(visit func(*Entry) bool) error {
	c := m.from.base.cursor(object.BlobID{})
	if m.rebuilt != nil {
		c = (*Base)(nil).cursor(object.BlobID{})
	}
	return visitMerged(c, m.from.frozen, m.rebuilt, object.BlobID{}, func(e *Entry) bool {
		if _, dead := m.dead[e.Segment]; dead {
			return true
		}
		return visit(e)
	})
}

// Replace puts the base made of the merged entries in the place of what was frozen.
func (m *Merge) Replace(base *Base) {
	m.x.mu.Lock()
	defer m.x.mu.Unlock()
	m.x.levels.Store(&levels{overlay: m.x.levels.Load().overlay, base: base})
	dead := maps.Clone(*m.x.dead.Load())
	left := map[uint32]struct{}{} // of which the overlay may speak
	m.x.levels.Load().overlay.Scan(object.BlobID{}, func(e *Entry) bool {
		if _, d := m.dead[e.Segment]; d {
			left[e.Segment] = struct{}{}
		}
		return true
	})
	for n := range m.dead {
		if _, stays := left[n]; !stays {
			delete(dead, n)
		}
	}
	m.x.dead.Store(&dead)
}

// Scan visits entries in the order of (hash, id), beginning after the given id, until visit returns false. The zero id begins at the
// start, itself included. Entries that come or go meanwhile may be missed; all others are visited once.
func (x *Index) Scan(from object.BlobID, visit func(*Entry) bool) error {
	l := x.levels.Load()
	var lost error
	err := visitMerged(l.base.cursor(from), l.overlay, l.frozen, from, func(e *Entry) bool {
		if !x.isDead(e.Segment) {
			return visit(e)
		}
		now, found, err := x.moved(e.ID)
		if lost = err; err != nil {
			return false
		}
		return !found || visit(&now)
	})
	return cmp.Or(lost, err)
}

// visitMerged visits the entries of base from a cursor on, and of up to two tables, upper before lower, after from. The tables are copied
// part by part, so that visit may take its time.
func visitMerged(c *cursor, upper, lower *Table, from object.BlobID, visit func(*Entry) bool) error {
	first, _ := split(from.Hash())
	if from == (object.BlobID{}) {
		first = 0
	}
	for n := first; n < parts; n++ {
		over := overPart(upper, lower, n, from)
		for i := range over {
			h := over[i].ID.Hash()
			for {
				e, ok, err := c.peek()
				if err != nil {
					return err
				}
				if !ok || (e.ID != over[i].ID && after(e.ID, h, over[i].ID)) {
					break
				}
				c.ready = false
				if e.ID != over[i].ID && !visit(e) {
					return nil
				}
			}
			if !visit(&over[i]) {
				return nil
			}
		}
	}
	for {
		e, ok, err := c.peek()
		if err != nil || !ok || !visit(e) {
			return err
		}
		c.ready = false
	}
}

// overPart is part n of two tables, entries after from only, merged.
func overPart(upper, lower *Table, n int, from object.BlobID) []Entry {
	a := upper.parts[n].after(from)
	if lower == nil {
		return a
	}
	b := lower.parts[n].after(from)
	if len(b) == 0 {
		return a
	}
	all := append(a, b...)
	slices.SortStableFunc(all, func(x, y Entry) int {
		switch {
		case x.ID == y.ID:
			return 0
		case after(y.ID, x.ID.Hash(), x.ID):
			return -1
		}
		return 1
	})
	return slices.CompactFunc(all, func(x, y Entry) bool { return x.ID == y.ID })
}

// after copies the entries of the part after from, all for the zero id.
func (p *part) after(from object.BlobID) []Entry {
	p.mu.RLock()
	defer p.mu.RUnlock()
	entries := make([]Entry, 0, p.used)
	h := from.Hash()
	for i := range p.slots {
		if e := &p.slots[i]; e.lenst != 0 && (from == (object.BlobID{}) || after(e.ID, h, from)) {
			entries = append(entries, *e)
		}
	}
	return entries
}

// move puts e, raised to the state of the entry that it replaces, here or below, unless that is dead.
func (t *Table) move(e *Entry, below func() (Entry, bool), dead func(segment uint32) bool) (old Entry, replaced bool) {
	hash := e.ID.Hash()
	n, h := split(hash)
	p := &t.parts[n]
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, here := p.find(h, e.ID)
	if here {
		old, replaced = p.slots[slot], true
	} else {
		old, replaced = below()
	}
	if replaced && dead(old.Segment) {
		old, replaced = Entry{}, false
	}
	if replaced && old.State() != Evicted {
		e.SetState(max(e.State(), old.State()))
	}
	if here {
		p.slots[slot] = *e
		return old, replaced
	}
	t.insert(slot, hash, e)
	return old, replaced
}

// modify lets change alter the entry of id. If there is none, one that below gives is put first, unless change leaves it as it is.
func (t *Table) modify(id object.BlobID, below func() (Entry, bool), change func(e *Entry)) {
	hash := id.Hash()
	n, h := split(hash)
	p := &t.parts[n]
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, found := p.find(h, id)
	if found {
		change(&p.slots[slot])
		return
	}
	e, ok := below()
	if !ok {
		return
	}
	was := e
	if change(&e); e != was {
		t.insert(slot, hash, &e)
	}
}

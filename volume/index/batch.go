package index

import (
	"encoding/binary"
	"math/bits"
	"runtime"
	"runtime/debug"

	"minikv/internal/object"
)

// GetAll finds the entries of many ids: got, as long as ids, has the entry of each, with State 0 where there is none. Asked together, the
// processor waits for several at the same time. An error means that the base is damaged or cannot be read; nothing in got counts then.
func (x *Index) GetAll(ids []object.BlobID, got []Entry) error {
	for len(ids) > 0 {
		n := min(len(ids), batchLen)
		if err := x.getSome(ids[:n], got[:n]); err != nil {
			return err
		}
		ids, got = ids[n:], got[n:]
	}
	return nil
}

// batchLen is how many ids are looked up at the same time: more than can be on their way from memory, few enough for the first cache.
const batchLen = 64

func (x *Index) getSome(ids []object.BlobID, got []Entry) error {
	l := x.levels.Load()
	var keys [batchLen]key
	var slots [batchLen]uint64
	for i := range ids {
		keys[i], slots[i] = keyOf(&ids[i]), slotUnknown
	}
	if l.base != nil && l.base.entries > 0 {
		for i := range ids {
			slots[i] = l.base.slotOf(&keys[i])
		}
	}
	if err := l.base.loadAll(keys[:len(ids)], slots[:], got); err != nil {
		return err
	}
	for i := range ids {
		above := l.overlay.may(keys[i].h) || (l.frozen != nil && l.frozen.may(keys[i].h))
		if slots[i] != slotUnknown && !above && (got[i].lenst == 0 || !x.isDead(got[i].Segment)) {
			continue
		}
		var err error
		if got[i], _, err = x.Get(ids[i]); err != nil {
			return err
		}
	}
	return nil
}

// What slotOf says instead of a slot.
const (
	slotUnknown = ^uint64(0)     // ask get
	slotNone    = ^uint64(0) - 1 // there is no such entry
)

// slotOf is the only slot that may have the entry, as its tag says.
func (t *Base) slotOf(k *key) uint64 {
	home, _ := bits.Mul64(k.h, t.homes)
	if !t.verified(home/pageSlots) || !t.verified((home+tagReach-1)/pageSlots) {
		return slotUnknown
	}
	at, over := t.tags.find(home, k.h)
	switch {
	case at >= 0:
		return home + uint64(at)
	case over:
		return slotNone
	}
	return slotUnknown
}

// loadAll loads the entries in slots; where another is found there than the key's, the slot becomes unknown.
func (t *Base) loadAll(keys []key, slots []uint64, got []Entry) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			err = t.faulted("index.Get", r)
		}
		runtime.KeepAlive(t)
	}()
	for i := range keys {
		if slots[i] >= slotNone {
			got[i] = Entry{}
			continue
		}
		s := t.slots[slots[i]*uint64(EntryLen):][:EntryLen]
		loadEntry(&got[i], s)
		if binary.LittleEndian.Uint64(s) != keys[i].lo || binary.LittleEndian.Uint64(s[8:]) != keys[i].hi {
			slots[i] = slotUnknown
		}
	}
	return nil
}

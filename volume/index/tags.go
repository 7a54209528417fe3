package index

import (
	"encoding/binary"
	"math/bits"

	"minikv/internal/object"
)

// tags say of each slot of a Base, in one byte, how far from its home its entry is, and a bit of its hash: so that eight slots are
// looked at by one load, without branches that the processor would guess wrong, a miss touches nothing else, and a hit one slot.
// They are in memory only: made of a page when that is verified.
//
//	bits 4..7  0 for an empty slot, else 1 + the distance to the home, at most 15
//	bits 0..3  the lowest bits of the hash
type tags []byte

const (
	tagSlots   = 8 // slots that are looked at at once
	tagLows    = 0x0101010101010101
	tagHighs   = 0x8080808080808080
	tagNibbles = 0x0f0f0f0f0f0f0f0f
	tagReach   = 16
	// tagHere has, at each of the eight slots from a home on, what the upper half of the tag of an entry with that home is; tagThere of the
	// next eight, where the last cannot be told from the one before.
	tagHere  = 0x0807060504030201
	tagThere = 0x0f0f0e0d0c0b0a09
)

// newTags are for so many slots; behind them are empty ones.
func newTags(slots int64) tags { return make(tags, slots+tagReach) }

// find looks for an entry with the home and hash in the tagReach slots from there on: at is how far behind the home one is that may
// be it, -1 if there is none; over says that none can be in later slots either.
func (t tags) find(home, hash uint64) (at int, over bool) {
	if at, over = t.look(home, hash, tagHere); at >= 0 || over {
		return at, over
	}
	if at, over = t.look(home+tagSlots, hash, tagThere); at >= 0 {
		return at + tagSlots, false
	}
	return -1, over
}

// look is find in eight slots, of which here has what the upper half of the tag of an entry with that home is.
//
// Entries are in the order of their homes. So one that is n slots behind the home of k is of the same home if its distance is n, of
// an earlier one if it is more, and of a later one if it is less or the slot is empty: then none of k's home follows.
func (t tags) look(slot, hash, here uint64) (at int, over bool) {
	w := binary.LittleEndian.Uint64(t[slot : slot+tagSlots])
	less := ((w>>4)&tagNibbles | tagHighs) - here // the highest bit of a byte stays unless the tag's half is lower
	x := w ^ (here<<4 | (hash&15)*tagLows)
	same := ^((x&^tagHighs + ^uint64(tagHighs)) | x) & tagHighs // the highest bit of each byte that is zero in x
	if same != 0 {
		return bits.TrailingZeros64(same) / 8, false
	}
	return -1, less&tagHighs != tagHighs
}

// fill makes the tags of verified slots; first is the number of the first.
func (t tags) fill(slots []byte, first, homes uint64) {
	for i := 0; i < len(slots); i += EntryLen {
		s, slot := slots[i:i+EntryLen], first+uint64(i/EntryLen)
		if binary.LittleEndian.Uint32(s[24:]) == 0 {
			t[slot] = 0
			continue
		}
		h := object.HashWords(binary.BigEndian.Uint64(s), binary.BigEndian.Uint64(s[8:]))
		home, _ := bits.Mul64(h, homes)
		t[slot] = byte(min(slot-home+1, 15)<<4 | h&15)
	}
}

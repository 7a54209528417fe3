package index

import "sync/atomic"

// maybes says of a hash that it surely is not in a part of a Table, or that it may be, with no lock and from one word: so that who looks
// for what is in the Base passes by the overlay. Bits are set before an entry is in the part and never unset. An empty part has none.
//
// It is a Bloom filter of blocks of 64 bits, three bits for each entry, for at most 3.2 entries in a block: about one in 150 of all others
// may be there.
type maybes struct {
	words []atomic.Uint64
	shift uint
}

// maybeHomes homes of a part have one word.
const maybeHomes = 4

// newMaybes are for a part of 1 << bits homes.
func newMaybes(bits uint) *maybes {
	return &maybes{words: make([]atomic.Uint64, 1<<bits/maybeHomes), shift: 64 - bits + 2}
}

// word is chosen by the bits that also choose the home; the bits in it are chosen by the lowest ones.
func (m *maybes) word(hash uint64) *atomic.Uint64 { return &m.words[hash<<partBits>>m.shift] }

func maybeBits(hash uint64) uint64 { return 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63) }

func (m *maybes) add(hash uint64) { m.word(hash).Or(maybeBits(hash)) }

func (m *maybes) has(hash uint64) bool {
	b := maybeBits(hash)
	return m.word(hash).Load()&b == b
}

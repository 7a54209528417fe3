package index

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/bits-and-blooms/bloom/v3"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// Filter is a Bloom filter over blob ids: it says of an id that it surely is not in a set, or that it may be. What it says is never a
// proof that a blob may be dropped. Made by NewFilter, filled by Add by one goroutine; after that it may be asked by many.
//
//	0         4      5   8       12      16     24        32
//	| "mkvf"  | ver  | k | words | crc   | seed | entries | words x u64 |
//	| 4 B     | u8   |u24| u32   | u32   | u64  | u64     |
//
// All is little-endian; crc is the CRC32C of all other bytes. Element i of an id is the i-th of k locations that bits-and-blooms/bloom
// finds for seed and id, 24 bytes.
type Filter struct {
	bits    *bloom.BloomFilter
	words   []uint64
	k       uint
	seed    uint64
	entries uint64
}

const (
	filterMagic   = "mkvf"
	filterVersion = 1
	filterHeadLen = 32
	filterKMax    = 32
	// FilterLenMax bounds a marshalled Filter in bytes: at a hundredth of wrong answers it holds 875,000 ids; more of them give more
	// wrong answers, not a longer filter.
	FilterLenMax = 1 << 20
	// tableFilterBits for each entry of a table, in tableFilterK locations: one of 47 absent ids may be there.
	tableFilterBits, tableFilterK = 8, 5
	tableFilterMax                = 1 << 34 // bytes
)

// NewFilter is an empty filter that is to take so many ids and then answers "may be" for about the share wrong of all others,
// between 0 and 1. Filters with different seeds are wrong about different ids.
func NewFilter(ids int64, wrong float64, seed uint64) *Filter {
	n := uint(max(ids, 1))
	m, _ := bloom.EstimateParameters(n, wrong)
	words := min((m+63)/64, (FilterLenMax-filterHeadLen)/8)
	k := uint(math.Round(math.Ln2 * float64(words*64) / float64(n)))
	return newFilter(make([]uint64, words), min(max(k, 1), filterKMax), seed, 0)
}

// NewTableFilter is an empty filter for all ids of a table, at a byte for each, of any size.
func NewTableFilter(ids int64, seed uint64) *Filter {
	return newFilter(make([]uint64, max(ids, 1)*tableFilterBits/64+1), tableFilterK, seed, 0)
}

func newFilter(words []uint64, k uint, seed, entries uint64) *Filter {
	return &Filter{bits: bloom.From(words, k), words: words, k: k, seed: seed, entries: entries}
}

func (f *Filter) key(id object.BlobID) (b [8 + object.BlobIDLen]byte) {
	binary.LittleEndian.PutUint64(b[:], f.seed)
	copy(b[8:], id[:])
	return b
}

// Add takes an id in.
func (f *Filter) Add(id object.BlobID) {
	b := f.key(id)
	f.bits.Add(b[:])
	f.entries++
}

// Lacks says that the id was surely not added.
func (f *Filter) Lacks(id object.BlobID) bool {
	b := f.key(id)
	return !f.bits.Test(b[:])
}

// Bytes is the memory of the filter.
func (f *Filter) Bytes() int64 { return int64(len(f.words)) * 8 }

// Entries is how many ids were added.
func (f *Filter) Entries() uint64 { return f.entries }

// MarshalBinary gives at most FilterLenMax bytes, but for a table's filter. The error is always nil.
func (f *Filter) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, filterHeadLen+8*len(f.words))
	b = append(b, filterMagic...)
	b = binary.LittleEndian.AppendUint32(b, filterVersion|uint32(f.k)<<8)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.words)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, f.seed)
	b = binary.LittleEndian.AppendUint64(b, f.entries)
	for _, w := range f.words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	binary.LittleEndian.PutUint32(b[12:], filterSum(b))
	return b, nil
}

func filterSum(b []byte) uint32 {
	sum := checksum(0, b[:12])
	return checksum(sum, b[16:])
}

// ParseFilter reads what MarshalBinary gave. Errors: errs.Unsupported for a newer version, errs.Invalid for anything else.
func ParseFilter(b []byte) (*Filter, error) { return parseFilter(b, FilterLenMax) }

// ParseTableFilter is ParseFilter of a filter of any size.
func ParseTableFilter(b []byte) (*Filter, error) { return parseFilter(b, tableFilterMax) }

func parseFilter(b []byte, most int) (*Filter, error) {
	const op = "index.ParseFilter"
	if len(b) < filterHeadLen || len(b) > most || string(b[:4]) != filterMagic {
		return nil, errs.E(op, errs.Invalid, "%d bytes are no filter", len(b))
	}
	if binary.LittleEndian.Uint32(b[12:]) != filterSum(b) {
		return nil, errs.E(op, errs.Invalid, "the filter fails its checksum")
	}
	if b[4] != filterVersion {
		return nil, errs.E(op, errs.Unsupported, "filter of version %d; this program reads version %d", b[4], filterVersion)
	}
	k, n := uint(binary.LittleEndian.Uint32(b[4:])>>8), int64(binary.LittleEndian.Uint32(b[8:]))
	if k < 1 || k > filterKMax || n < 1 || int64(len(b)) != filterHeadLen+8*n {
		return nil, errs.E(op, errs.Invalid, "a filter of %d bytes with %d locations and %d words", len(b), k, n)
	}
	words := make([]uint64, n)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[filterHeadLen+8*i:])
	}
	return newFilter(words, k, binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])), nil
}

func checksum(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

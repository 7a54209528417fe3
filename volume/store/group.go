package store

import (
	"sync"

	"minikv/internal/vfs"
	"minikv/volume/record"
)

// group is the records that are written with one write and, mostly, one sync. Writers reserve their place under the log's lock and
// copy their bytes beside each other; the committer adds headers and checksums when it knows where in which segment they go.
type group struct {
	// Guarded by the log's lock until the committer takes the group.
	buf     []byte // aligned for direct writes
	used    int
	entries []entry
	sums    []uint32 // plain block checksums of the entries, one after the other
	sync    bool     // someone waits for it to be on disk
	ripe    bool     // someone waits for it to be written

	copying sync.WaitGroup // writers still copying

	// Set before done is closed.
	done    chan struct{}
	err     error
	durable bool
}

// entry is one record of a group.
type entry struct {
	at   int // of the record in buf
	sums int // of its checksums in sums
	h    record.Header
}

func newGroup(size int) *group {
	return &group{buf: vfs.AlignedBuffer(size), done: make(chan struct{})}
}

// reserve adds a record of header h; the caller holds the log's lock and then calls fill with what it got.
func (g *group) reserve(layout record.Layout, h record.Header, sums []uint32) (at int) {
	at = g.used
	g.used += layout.Size(int(h.Length))
	g.entries = append(g.entries, entry{at: at, sums: len(g.sums), h: h})
	g.sums = append(g.sums, sums...)
	g.copying.Add(1)
	return at
}

// fill copies a record's data to its place at at; all but header and table is set.
func (g *group) fill(layout record.Layout, at int, data [][]byte) {
	length := 0
	for _, d := range data {
		length += len(d)
	}
	begin, end := at+layout.DataOff(length), at+layout.Size(length)
	clear(g.buf[at+record.HeaderLen+4*record.Blocks(length) : begin])
	for _, d := range data {
		begin += copy(g.buf[begin:], d)
	}
	clear(g.buf[begin:end])
	g.copying.Done()
}

// finish writes headers and tables for the place base of the segment with the seed.
func (g *group) finish(seed uint64, base, durableTo int64, sequence func() uint64) {
	for i := range g.entries {
		e := &g.entries[i]
		off := uint64(base) + uint64(e.at)
		e.h.DurableTo, e.h.Sequence = uint64(durableTo), sequence()
		e.h.Put(g.buf[e.at:], seed, off)
		n := record.Blocks(int(e.h.Length))
		record.PutTable(g.buf[e.at+record.HeaderLen:], g.sums[e.sums:e.sums+n], record.Mask(seed, off, e.h.ID))
	}
}

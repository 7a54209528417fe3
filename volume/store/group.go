package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"minikv/internal/vfs"
	"minikv/volume/record"
)

// group is the records that are written with one write and, mostly, one sync, as those see it who wait for it.
type group struct {
	done   chan struct{}
	asleep atomic.Int64 // writers (see batch) that wait or were not run since

	// Set before done is closed.
	err     error
	durable bool
}

// batch is the bytes of a group. Writers reserve their place under the log's lock and copy their bytes beside each other; who commits adds
// headers and checksums when it is known where in which segment they go. It is used again and again.
type batch struct {
	// Guarded by the log's lock until someone takes the batch to commit it.
	buf     []byte // aligned for direct writes
	lendMin int    // bytes of a buffer from which on it is worth while to write it from where it is
	used    int
	entries []entry
	sums    []uint32 // plain block checksums of the entries, one after the other
	pieces  [][]byte // of the write; kept for its memory
	sync    bool     // someone waits for it to be on disk
	ripe    bool     // someone waits for it to be written

	began   time.Time // first record, if it was a lazy one
	waiters *group    // nil if nobody waits
	writers int       // of waiters, those who put and may come again

	copying sync.WaitGroup // writers still copying
}

// entry is one record of a group.
type entry struct {
	at    int // of the record in buf
	sums  int // of its checksums in sums
	h     record.Header
	fresh bool     // see item
	known bool     // the index was told
	lent  [][]byte // see item; nil: all of it is in buf
}

// item is a record to be appended.
type item struct {
	h    record.Header
	sums []uint32 // plain block checksums
	data [][]byte
	need need
	// fresh says that the index did not know the blob, which is in flight.
	fresh bool
	// lend lets the batch write what it can from data, without a copy: data stays as it is until the group is written.
	lend bool
}

// padMax is room behind a batch for the zeros of File.Padding, in bytes.
const padMax = vfs.DirectAlign

func newBatch(size, lendMin int) *batch {
	return &batch{buf: vfs.AlignedBuffer(size + padMax)[:size], lendMin: lendMin}
}

// reset makes the batch ready for another group; the group itself stays with those who wait for it.
func (g *batch) reset() {
	clear(g.entries)
	clear(g.pieces)
	g.used, g.entries, g.sums = 0, g.entries[:0], g.sums[:0]
	g.sync, g.ripe, g.waiters, g.writers = false, false, nil, 0
}

// group is what those wait for who have a record in the batch. It is called with the log's lock.
func (g *batch) group() *group {
	if g.waiters == nil {
		g.waiters = &group{done: make(chan struct{})}
	}
	return g.waiters
}

// reserve adds a record; the caller holds the log's lock and then calls fill with what it got.
func (g *batch) reserve(layout record.Layout, it *item) (at int) {
	at = g.used
	g.used += layout.Size(int(it.h.Length))
	e := entry{at: at, sums: len(g.sums), h: it.h, fresh: it.fresh}
	if it.lend {
		e.lent = it.data
	}
	g.entries = append(g.entries, e)
	g.sums = append(g.sums, it.sums...)
	g.copying.Add(1)
	return at
}

// fill copies a record's data to its place at at, but for what is lent; all but header and table is set.
func (g *batch) fill(layout record.Layout, at int, it *item) {
	length := int(it.h.Length)
	begin, end := at+layout.DataOff(length), at+layout.Size(length)
	clear(g.buf[at+record.HeaderLen+4*record.Blocks(length) : begin])
	for _, d := range it.data {
		if it.lend {
			n := g.lendable(d, begin)
			begin, d = begin+n, d[n:]
		}
		begin += copy(g.buf[begin:], d)
	}
	clear(g.buf[begin:end])
	g.copying.Done()
}

// lendable is how many bytes from the begin of d on can be written from there past the page cache, when they belong at that offset of
// a group.
func (g *batch) lendable(d []byte, at int) int {
	n := len(d) &^ (vfs.DirectAlign - 1)
	if n < g.lendMin || at%vfs.DirectAlign != 0 || !vfs.IsAligned(d[:n], 0) {
		return 0
	}
	return n
}

// parts are the bytes of the group: pieces of the buffer, and between them what is lent; then so many zeros, at most padMax.
func (g *batch) parts(layout record.Layout, pad int) [][]byte {
	g.pieces = g.pieces[:0]
	from := 0
	for i := range g.entries {
		e := &g.entries[i]
		begin := e.at + layout.DataOff(int(e.h.Length))
		for _, d := range e.lent {
			if n := g.lendable(d, begin); n > 0 {
				if from < begin {
					g.pieces = append(g.pieces, g.buf[from:begin])
				}
				g.pieces = append(g.pieces, d[:n])
				from = begin + n
			}
			begin += len(d)
		}
	}
	if end := g.used + pad; from < end {
		clear(g.buf[g.used:end])
		g.pieces = append(g.pieces, g.buf[from:end])
	}
	return g.pieces
}

// keep copies what the entry at at lent, so that its owner may go. It is called with the log's lock before someone takes the batch.
func (g *batch) keep(layout record.Layout, at int) {
	for i := range g.entries {
		e := &g.entries[i]
		if e.at != at {
			continue
		}
		begin := at + layout.DataOff(int(e.h.Length))
		for _, d := range e.lent {
			begin += copy(g.buf[begin:], d)
		}
		e.lent = nil
	}
}

// finish writes headers and tables for the place base of the segment with the seed.
func (g *batch) finish(seed uint64, base, durableTo int64, sequence func() uint64) {
	for i := range g.entries {
		e := &g.entries[i]
		off := uint64(base) + uint64(e.at)
		e.h.DurableTo, e.h.Sequence = uint64(durableTo), sequence()
		e.h.Put(g.buf[e.at:], seed, off)
		n := record.Blocks(int(e.h.Length))
		record.PutTable(g.buf[e.at+record.HeaderLen:], g.sums[e.sums:e.sums+n], record.Mask(seed, off, e.h.ID))
	}
}

// wait waits for the group; an ended context leaves the record where it is.
func (g *group) wait(ctx context.Context) error {
	if ctx.Done() == nil {
		<-g.done
		return g.err
	}
	select {
	case <-g.done:
		return g.err
	default:
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

package store

import (
	"context"
	"sync"
	"time"

	"minikv/internal/vfs"
	"minikv/volume/record"
)

// group is the records that are written with one write and, mostly, one sync, as those see it who wait for it.
type group struct {
	done chan struct{}

	// Set before done is closed.
	err     error
	durable bool
}

// batch is the bytes of a group. Writers reserve their place under the log's lock and copy their bytes beside each other; who commits adds
// headers and checksums when it is known where in which segment they go. It is used again and again.
type batch struct {
	// Guarded by the log's lock until someone takes the batch to commit it.
	buf     []byte // aligned for direct writes
	used    int
	entries []entry
	sums    []uint32 // plain block checksums of the entries, one after the other
	sync    bool     // someone waits for it to be on disk
	ripe    bool     // someone waits for it to be written

	began   time.Time // first record, if it was a lazy one
	waiters *group    // nil if nobody waits

	copying sync.WaitGroup // writers still copying
}

// entry is one record of a group.
type entry struct {
	at   int // of the record in buf
	sums int // of its checksums in sums
	h    record.Header
}

func newBatch(size int) *batch { return &batch{buf: vfs.AlignedBuffer(size)} }

// reset makes the batch ready for another group; the group itself stays with those who wait for it.
func (g *batch) reset() {
	g.used, g.entries, g.sums = 0, g.entries[:0], g.sums[:0]
	g.sync, g.ripe, g.waiters = false, false, nil
}

// group is what those wait for who have a record in the batch. It is called with the log's lock.
func (g *batch) group() *group {
	if g.waiters == nil {
		g.waiters = &group{done: make(chan struct{})}
	}
	return g.waiters
}

// reserve adds a record of header h; the caller holds the log's lock and then calls fill with what it got.
func (g *batch) reserve(layout record.Layout, h record.Header, sums []uint32) (at int) {
	at = g.used
	g.used += layout.Size(int(h.Length))
	g.entries = append(g.entries, entry{at: at, sums: len(g.sums), h: h})
	g.sums = append(g.sums, sums...)
	g.copying.Add(1)
	return at
}

// fill copies a record's data to its place at at; all but header and table is set.
func (g *batch) fill(layout record.Layout, at int, data [][]byte) {
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

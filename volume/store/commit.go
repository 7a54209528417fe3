package store

import (
	"time"

	"minikv/internal/object"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// commit writes a group, tells the index, and wakes those who wait. Who prepares one of its blobs again meanwhile waits for that to land.
func (l *log) commit(g *batch) (durable bool, err error) {
	g.copying.Wait()
	durable, err = l.write(g)
	if err == nil {
		l.applied(g, durable)
	}
	if w := g.waiters; w != nil {
		w.durable, w.err = durable, err
		close(w.done)
	}
	for i := range g.entries {
		if h := &g.entries[i].h; h.Type == record.Blob {
			l.st.flights.land(h.ID)
		}
	}
	return durable, err
}

// write puts the group into the active segment, or a new one, and says whether it is on disk.
func (l *log) write(g *batch) (durable bool, err error) {
	if l.active == nil || l.active.Room() < int64(g.used)+markSpace {
		if err := l.rotate(int64(g.used)); err != nil {
			return false, err
		}
	}
	a := l.active
	g.finish(a.Seed, a.Pos(), a.Synced(), l.st.nextSequence)
	pad := a.Padding(g.used)
	err = a.AppendPadded(pad, g.parts(l.layout, pad)...)
	if err == nil && l.kind == segment.Small && l.st.o.Fsync == Always && !l.st.o.noFill {
		err = a.ZeroAhead(g.used)
	}
	if err != nil {
		return false, l.fail(err)
	}
	l.lastWrite = time.Now()
	if !l.mustSync(g) {
		l.st.counters.groups.Add(1)
		return false, nil
	}
	if len(g.entries) < l.st.o.earlyMin {
		err = l.syncActive()
	} else {
		err = l.syncAndApply(g)
	}
	if err != nil {
		return false, err
	}
	l.st.counters.groups.Add(1)
	l.uncertain = true
	return true, nil
}

// syncAndApply syncs, and while the disk works, has the index told of the group's new blobs, which are many. Nobody was promised them yet, and
// who prepares one of them again waits for it to land; if the sync fails, they are forgotten again.
func (l *log) syncAndApply(g *batch) error {
	if err := l.active.StartSync(g.used); err != nil {
		return l.synced(err)
	}
	for _, i := range l.applyNew(g) {
		l.unsynced = append(l.unsynced, g.entries[i].h.ID)
	}
	return l.syncActive()
}

// markSpace is kept free at the end of a segment for the mark that certifies its last group.
const markSpace = 4096

func (l *log) mustSync(g *batch) bool {
	switch {
	case g.sync || len(l.pending) > 0:
		return true
	case l.st.o.Fsync == Interval && l.active.Pos() > l.active.Synced():
		return l.lastWrite.Sub(l.lastSync) >= l.st.o.FsyncInterval
	}
	return false
}

// syncActive syncs; then the seals that the segment began with hold, and nothing is unsynced.
func (l *log) syncActive() error { return l.synced(l.active.Sync()) }

// synced is told what came of a sync of the active segment.
func (l *log) synced(err error) error {
	if err != nil {
		return l.fail(err)
	}
	l.st.counters.syncs.Add(1)
	l.pending, l.unsynced = nil, l.unsynced[:0]
	if l.st.o.Fsync == Interval {
		l.lastSync = l.lastWrite
	}
	return nil
}

// applied makes the group's records known, as far as they are not yet.
func (l *log) applied(g *batch, durable bool) {
	base := l.active.Pos() - int64(g.used)
	l.applyNew(g)
	for i := range g.entries {
		e := &g.entries[i]
		switch e.h.Type {
		case record.Blob:
			if !e.known {
				l.st.applyBlob(l.active, base+int64(e.at), &e.h)
			}
			if !durable {
				l.unsynced = append(l.unsynced, e.h.ID)
			}
		case record.Tombstone:
			data := e.at + l.layout.DataOff(int(e.h.Length))
			ids, _ := record.ParseIDs(g.buf[data : data+int(e.h.Length)])
			for _, id := range ids {
				l.st.advance(id, index.Deleted)
			}
		}
	}
	l.st.counters.bytes.Add(int64(g.used))
}

// news is what a group tells the index of new blobs; kept for its memory.
type news struct {
	at      []int // in the group's entries
	entries []index.Entry
	known   []bool // by other ways; see Index.Add
}

// applyNew puts the group's blobs that the index did not know when they were prepared into the index, all at once, but for those that it may
// know by now (see applyBlob). It gives the numbers of their entries, until it is called again.
func (l *log) applyNew(g *batch) []int {
	n, base := &l.news, l.active.Pos()-int64(g.used)
	n.at, n.entries, n.known = n.at[:0], n.entries[:0], n.known[:0]
	for i := range g.entries {
		if e := &g.entries[i]; e.fresh && !e.known {
			n.at, n.entries, n.known = append(n.at, i), append(n.entries, entryOf(l.active, base+int64(e.at), &e.h)), append(n.known, false)
		}
	}
	if len(n.at) == 0 {
		return nil
	}
	l.st.index.Add(n.entries, n.known)
	added, newest, lengths, records := n.at[:0], uint64(0), int64(0), int64(0)
	for j, i := range n.at {
		e := &g.entries[i]
		if n.known[j] {
			continue
		}
		e.known, added = true, append(added, i)
		newest = max(newest, e.h.Epochs.Cluster)
		lengths, records = lengths+int64(e.h.Length), records+int64(l.layout.Size(int(e.h.Length)))
		l.st.good(e.h.ID)
	}
	if len(added) == 0 {
		return nil
	}
	l.st.counters.newestEpoch(&l.st.newest, newest)
	l.st.accountAll(l.active, int64(len(added)), lengths, records)
	return added
}

// fail gives the active segment up after a failed write or sync (I12): it ends where the last good sync ended. The next segment
// begins with a record of that, synced before anything in it is acknowledged. What was acknowledged as not durable is forgotten.
func (l *log) fail(cause error) error {
	a := l.active
	end := a.Synced()
	l.st.counters.failures.Add(1)
	l.st.o.Logf("segment %s: %v; sealed at %d", segment.Name(a.Number, a.Kind), cause, end)
	for _, id := range l.unsynced {
		l.st.forget(id, a, end)
	}
	l.unsynced = l.unsynced[:0]
	if end > segment.HeaderLen || l.st.discardActive(a) != nil {
		l.seal(end, record.Failed)
	} else {
		l.active, l.uncertain = nil, false // nothing in it was acknowledged
	}
	return cause
}

// seal ends the active segment at end.
func (l *log) seal(end int64, why record.Reason) {
	a := l.active
	l.active = nil
	l.uncertain = false
	l.pending = append(l.pending, record.End{Segment: a.Number, Offset: uint64(end), Reason: why})
	a.Freeze()
	l.st.sealed(a, end)
}

// rotate begins a new segment with room for a group of so many bytes. If it cannot be made, the old one stays.
func (l *log) rotate(group int64) error {
	f, err := l.nextSegment(group)
	if err != nil {
		return err
	}
	if a := l.active; a != nil {
		if a.Synced() < a.Pos() {
			if err := l.syncActive(); err != nil {
				l.putSpare(f)
				return err
			}
		}
		l.seal(a.Pos(), record.Full)
	}
	l.active, l.began = l.st.added(f), time.Now()
	if len(l.pending) > 0 {
		if err := l.active.Append(l.sealRecord()); err != nil {
			return l.fail(err)
		}
	}
	return nil
}

// sealRecord is the record that tells where earlier segments end.
func (l *log) sealRecord() []byte {
	return l.control(record.Seal, 0, record.AppendEnds(nil, l.pending))
}

// control makes a record for the active segment's present end.
func (l *log) control(t record.Type, flags record.Flags, data []byte) []byte {
	g := newBatch(l.layout.Size(len(data)), 0)
	it := item{
		h:    record.Header{Type: t, Flags: flags, Length: uint32(len(data)), Epochs: object.Epochs{Cluster: l.st.horizon.Load()}},
		data: [][]byte{data},
	}
	it.sums = record.Sums(nil, it.data)
	g.fill(l.layout, g.reserve(l.layout, &it), &it)
	g.finish(l.active.Seed, l.active.Pos(), l.active.Synced(), l.st.nextSequence)
	return g.buf
}

// certify writes that all before it is on disk, and makes it so. Without room, or after a failure, it is left to the next segment's
// seal.
func (l *log) certify(flags record.Flags) {
	a := l.active
	if a.Synced() < a.Pos() {
		if l.syncActive() != nil {
			return
		}
	}
	l.uncertain = false
	if a.Room() < int64(l.layout.Size(0)) {
		return
	}
	if err := a.Append(l.control(record.Mark, flags, nil)); err != nil {
		l.fail(err)
		return
	}
	l.syncActive()
}

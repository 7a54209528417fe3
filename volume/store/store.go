// Package store keeps blobs on one data directory: prepare, commit, abort, delete, get. It is a log and an index of it; the log is
// the write-ahead log, bytes are written once.
//
// Two logs append: one for small blobs and all control records, buffered; one for large blobs, past the page cache. Each is written by
// one committer that syncs once for all who wait (package record has the bytes, package segment the files and the rule of the torn
// tail).
//
// Invariants, and why they hold:
//
//  1. A prepare that returned durable is on disk with its whole segment below it: the group was synced before anyone was woken.
//  2. After a failed write or sync nothing more is acknowledged from that segment. It ends where its last good sync ended; the next
//     segment of the log begins with a seal record of that, synced together with the first group there, so before its
//     acknowledgement. A restart in between finds the end by the torn-tail rule and may find whole records nobody was promised.
//  3. After a crash, what lies above the last known durable point is copied into a new segment and synced before the store
//     opens; only then the old segment is sealed below it. So nothing is acknowledged again on the word of the page cache.
//     A crash in between leaves the old segment unsealed and the copies as duplicates, which say the same.
//  4. The state of a blob only rises (prepared, committed, dropped), and ids are never reused, so the order in which records are
//     read back does not matter.
//  5. A segment is removed when it is sealed and no blob in it is alive; a piece of it that does not parse is written to a file of its
//     own and synced before (lost.go). What its control records say of blobs
//     (or segments) that still have bytes elsewhere is appended to the active log and synced before; the removal is synced before the
//     index forgets the blobs that were in it. So at every moment, for each dead blob with bytes on disk, a durable record
//     says that it is dead; a crash at any point repeats or completes the removal.
//  6. A blob is dropped on the leader's word only (package volume); the state kept here is a hint.
package store

import (
	"io"
	"maps"
	"sync"
	"sync/atomic"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// Store is an open volume. All methods may be called concurrently.
type Store struct {
	o    Options
	dir  string
	lock io.Closer
	id   identity

	index   *index.Index
	flights flights
	small   *log
	large   *log
	help    chan *summing // to the helper

	sequence   atomic.Uint64
	lastNumber atomic.Uint64
	horizon    atomic.Uint64
	newest     atomic.Uint64 // highest epoch of a prepare seen
	full       atomic.Bool
	closing    atomic.Bool
	counters   counters
	background sync.WaitGroup
	janitor    janitor
	scrub      scrubber
	compaction compaction
	verdict    sync.Mutex  // held to find the index file damaged, and to put another in its place
	indexBad   atomic.Bool // it is damaged; changed with the lock above once open

	last    *cut     // of the index file, nil if there is none; guarded by the janitor's lock once open
	cutting *cutting // one that could not be written; as last

	filterStale bool // the index's filter is missing or of no use; of open

	segments atomic.Pointer[map[uint32]*seg] // replaced, never altered

	mu     sync.Mutex // guards changes of segments, and below
	damage []Damage
	bad    map[object.BlobID]Bad
	bads   atomic.Int64 // len(bad)
}

// seg is a segment with its accounts.
type seg struct {
	*segment.File
	blobs atomic.Int64 // alive in it
	bytes atomic.Int64 // of their records

	// Guarded by Store.mu.
	end     int64 // 0 while it is appended to
	damaged bool
	stale   bool  // it has copies of blobs that count elsewhere
	tried   int64 // living blobs that a compaction left
	keep    int64 // count of removals at which it was found not worth removing
	moving  bool  // it is being compacted
}

// Damage is a piece of a segment that was acknowledged and cannot be read.
type Damage struct {
	Segment  string // file name; of one that is gone, its number as the name has it
	From, To int64  // bytes; To -1: all of it
	Cause    string
}

func (st *Store) nextSequence() uint64 { return st.sequence.Add(1) }

// segment finds a segment and keeps it open until Release; nil if it is gone.
func (st *Store) segment(number uint32) *seg {
	s := (*st.segments.Load())[number]
	if s == nil || !s.Acquire() {
		return nil
	}
	return s
}

// added makes a new segment known.
func (st *Store) added(f *segment.File) *seg {
	s := &seg{File: f}
	st.alterSegments(func(m map[uint32]*seg) { m[uint32(f.Number)] = s })
	return s
}

func (st *Store) alterSegments(alter func(map[uint32]*seg)) {
	st.mu.Lock()
	defer st.mu.Unlock()
	m := maps.Clone(*st.segments.Load())
	alter(m)
	st.segments.Store(&m)
}

// sealed notes that a segment has ended.
func (st *Store) sealed(s *seg, end int64) {
	st.mu.Lock()
	s.end = end
	st.mu.Unlock()
	if s.blobs.Load() == 0 {
		st.janitor.wakeUp()
	}
}

// discard removes a segment that nothing was acknowledged in.
func (st *Store) discard(f *segment.File) error {
	err := st.o.FS.Remove(f.Path())
	if err == nil {
		err = vfs.SyncDir(st.o.FS, st.dir)
	}
	f.Release()
	return err
}

// discardActive is discard for a segment that was made known. On an error it stays as it is.
func (st *Store) discardActive(s *seg) error {
	if err := st.o.FS.Remove(s.Path()); err != nil && !vfs.IsNotExist(err) {
		return err
	}
	if err := vfs.SyncDir(st.o.FS, st.dir); err != nil {
		return err
	}
	st.alterSegments(func(m map[uint32]*seg) { delete(m, uint32(s.Number)) })
	s.Release()
	return nil
}

// entryOf is what the index keeps of a blob's record.
func entryOf(s *seg, off int64, h *record.Header) index.Entry {
	state := index.Prepared
	if h.Flags&record.Committed != 0 {
		state = index.Committed
	}
	return index.MakeEntry(h.ID, uint32(s.Number), off, int(h.Length), state, h.Epochs.Cluster)
}

// applyBlob puts a written blob into the index.
func (st *Store) applyBlob(s *seg, off int64, h *record.Header) {
	st.counters.newestEpoch(&st.newest, h.Epochs.Cluster)
	old, now, replaced, err := st.index.Move(entryOf(s, off, h))
	st.indexError(err)
	if now.State() < index.Dropped { // it may have been deleted while it was copied
		st.account(s, int(h.Length), 1)
	}
	st.good(h.ID)
	if replaced && old.Segment != uint32(s.Number) {
		st.staleCopy(old.Segment)
	}
	if replaced && old.State() < index.Dropped {
		st.account((*st.segments.Load())[old.Segment], old.Length(), -1)
	}
}

// staleCopy notes that a segment holds a copy of a blob that counts elsewhere: what is said of its death must outlive that segment too.
func (st *Store) staleCopy(segment uint32) {
	if s := (*st.segments.Load())[segment]; s != nil {
		st.mu.Lock()
		s.stale = true
		st.mu.Unlock()
	}
}

// lookup is Get of the index; one that fails is reported.
func (st *Store) lookup(id object.BlobID) (index.Entry, bool, error) {
	e, ok, err := st.index.Get(id)
	if err != nil {
		st.indexError(err)
		err = unavailable(err)
	}
	return e, ok, err
}

// lookupSure is lookup without the filter, for what is removed on its word.
func (st *Store) lookupSure(id object.BlobID) (index.Entry, bool, error) {
	e, ok, err := st.index.Sure(id)
	if err != nil {
		st.indexError(err)
		err = unavailable(err)
	}
	return e, ok, err
}

// account adds a blob to, or takes it from, a segment's accounts.
func (st *Store) account(s *seg, length int, sign int64) {
	if s == nil {
		return
	}
	st.accountAll(s, sign, sign*int64(length), sign*int64(s.Layout().Size(length)))
}

// accountAll adds so many blobs to a segment's accounts, their lengths, and those of their records; or takes them off, if that is negative.
func (st *Store) accountAll(s *seg, blobs, lengths, records int64) {
	s.bytes.Add(records)
	st.counters.liveBlobs.Add(blobs)
	st.counters.liveBytes.Add(lengths)
	if s.blobs.Add(blobs) != 0 {
		return
	}
	st.mu.Lock()
	ended := s.end > 0
	st.mu.Unlock()
	if ended {
		st.janitor.wakeUp()
	}
}

// advance raises the state of a blob; it returns the state before, 0 if there is no such blob.
func (st *Store) advance(id object.BlobID, to index.State) (was index.State) {
	var e index.Entry
	_, err := st.index.Update(id, func(x *index.Entry) {
		was, e = x.State(), *x
		if to > was {
			x.SetState(to)
		}
	})
	st.indexError(err)
	if was != 0 && was < index.Dropped && to >= index.Dropped {
		st.account((*st.segments.Load())[e.Segment], e.Length(), -1)
	}
	return was
}

// forget takes a blob that was never on disk out of the index.
func (st *Store) forget(id object.BlobID, s *seg, from int64) {
	e, ok, err := st.lookup(id)
	if err != nil || !ok || e.Segment != uint32(s.Number) || e.Off() < from {
		return
	}
	if st.index.Forget(id, e.Segment) && e.State() < index.Dropped {
		st.account(s, e.Length(), -1)
	}
}

// Close writes what is outstanding, certifies both logs, writes the index and gives the folder back.
func (st *Store) Close() error {
	if !st.closing.CompareAndSwap(false, true) {
		return nil
	}
	st.janitor.stop()
	st.large.close()
	st.small.close()
	st.background.Wait()
	st.closeIndex()
	for _, l := range []*log{st.small, st.large} {
		if l.spare != nil {
			l.spare.Release()
		}
	}
	for _, s := range *st.segments.Load() {
		s.Release()
	}
	return errs.WrapKind("store.Close", errs.Unavailable, st.lock.Close())
}

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// Why the index file may be trusted after a crash: a cut is taken while both committers rest between groups, all that they wrote is
// synced, known to the index, and every seal is on disk. Hints that come in between may be in it or not; states only rise, so reading
// their records again changes nothing. The file gets its name when all of it is synced. Records above the cut are read at the next
// open; a segment that is missing then was removed after the cut, for which all its blobs were dead or copied to segments above
// the cut and synced.

// parking asks a committer to rest between groups.
type parking struct {
	parked  chan error
	release chan struct{}
}

// park lets the committer sync what it wrote and rest until release is called.
func (l *log) park() (release func(), err error) {
	p := &parking{make(chan error, 1), make(chan struct{})}
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil, errClosed
	}
	l.parking = p
	l.wakeUp()
	l.mu.Unlock()
	if err := <-p.parked; err != nil {
		return nil, err
	}
	return func() { close(p.release) }, nil
}

// hold is the committer's part of park.
func (l *log) hold(p *parking) {
	if err := l.settled(); err != nil {
		p.parked <- err
		return
	}
	p.parked <- nil
	<-p.release
}

// settled syncs what was written; it fails if a seal is not on disk. One that is owed after a failure is written to a segment made for it:
// perhaps nothing else will ever be written to this log.
func (l *log) settled() error {
	if l.active == nil && len(l.pending) > 0 {
		if err := l.rotate(0); err != nil {
			return errs.Wrap("sealing a failed segment", err)
		}
	}
	if l.active != nil && l.active.Synced() < l.active.Pos() {
		if err := l.syncActive(); err != nil {
			return err
		}
	}
	if len(l.pending) > 0 {
		return errNotSealed
	}
	return nil
}

var errNotSealed = errs.E("store", errs.Unavailable, "a failed segment is not sealed yet")

// cutting is a cut whose index is not written yet.
type cutting struct {
	cut     *cut
	merge   *index.Merge
	rebuilt bool // the merge is of segments that were read again
}

// takeCut freezes the index at a point between groups.
func (st *Store) takeCut() (*cutting, error) {
	for _, l := range []*log{st.small, st.large} {
		release, err := l.park()
		if err != nil {
			return nil, err
		}
		defer release()
	}
	return st.freeze(false), nil
}

// unchanged says, when nothing is appended any more, that the index file says it all.
func (st *Store) unchanged() bool {
	if st.last == nil || st.index.New() > 0 || st.index.Dead() > 0 || st.last.horizon != st.horizon.Load() {
		return false
	}
	now := st.segmentsNow(true)
	if len(now) != len(st.last.segments) {
		return false
	}
	for n, s := range now {
		l := st.last.segments[n]
		if l == nil || l.end != s.end || l.role != s.role || l.flags != s.flags {
			return false
		}
	}
	return true
}

// freeze is called while nothing is appended; closed says that nothing will be.
func (st *Store) freeze(closed bool) *cutting {
	c := &cut{
		generation: st.o.Rand(), sequence: st.sequence.Load(), lastNumber: st.lastNumber.Load(), horizon: st.horizon.Load(), newest: st.newest.Load(),
		segments: st.segmentsNow(closed),
	}
	st.mu.Lock()
	for _, d := range st.damage {
		if n, _, ok := segment.ParseName(d.Segment); ok && c.segments[n] != nil {
			c.damage = append(c.damage, cutDamage{n, uint64(d.From), uint64(d.To)})
		}
	}
	st.mu.Unlock()
	return &cutting{cut: c, merge: st.index.Freeze()}
}

// segmentsNow are the segments as they are while nothing is appended, spares included when closed.
func (st *Store) segmentsNow(closed bool) map[uint64]*cutSegment {
	all := map[uint64]*cutSegment{}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, s := range *st.segments.Load() {
		cs := &cutSegment{seed: s.Seed, end: uint64(s.end), role: roleSealed, layout: s.Layout()}
		if s.end == 0 {
			cs.end, cs.role = uint64(s.Pos()), roleActive
		}
		if s.damaged {
			cs.flags |= flagDamaged
		}
		if s.stale {
			cs.flags |= flagStale
		}
		all[s.Number] = cs
	}
	for _, l := range []*log{st.small, st.large} {
		if closed && l.spare != nil {
			all[l.spare.Number] = &cutSegment{seed: l.spare.Seed, end: segment.HeaderLen, role: roleSpare, layout: l.layout}
		}
	}
	return all
}

// finishCut writes the index of a cut; after an error it may be called again.
func (st *Store) finishCut(c *cutting) error {
	base, err := st.writeIndex(c.cut, c.merge)
	if err != nil {
		return err
	}
	st.verdict.Lock()
	defer st.verdict.Unlock()
	c.merge.Replace(base)
	if c.rebuilt {
		st.indexBad.Store(false)
	}
	st.last = c.cut
	return nil
}

// Checkpoint writes the index down, so that the next start reads only what is written after it. It is done now and then by itself.
func (st *Store) Checkpoint() error {
	st.janitor.tidy.Lock()
	defer st.janitor.tidy.Unlock()
	if st.janitor.closed {
		return errClosed
	}
	return st.checkpoint()
}

// checkpoint is called with the janitor's lock.
func (st *Store) checkpoint() (err error) {
	if st.indexBad.Load() {
		return nil
	}
	if st.cutting == nil {
		st.cutting, err = st.takeCut()
		if errors.Is(err, errNotSealed) {
			return nil // the next write seals it
		}
		if err != nil {
			return errs.WrapKind("store.Checkpoint", errs.Unavailable, err)
		}
	}
	if err := st.finishCut(st.cutting); err != nil {
		st.indexError(err)
		return errs.WrapKind("store.Checkpoint", errs.Unavailable, err)
	}
	st.cutting = nil
	st.counters.checkpoints.Add(1)
	return nil
}

// wantCheckpoint says that a start would have much to read.
func (st *Store) wantCheckpoint() bool {
	return st.index.New() >= max(int64(st.o.OverlayMax), st.index.BaseLen()/overlayShare)
}

// overlayShare is the part of the index that may be newer than its file.
const overlayShare = 24

// closeIndex is called when nothing is written any more: it writes the index if it has news, and that the close was clean.
func (st *Store) closeIndex() {
	if st.indexBad.Load() || len(st.small.pending)+len(st.large.pending) > 0 {
		return
	}
	if st.cutting != nil { // one that could not be written
		if err := st.checkpoint(); err != nil {
			st.o.Logf("no index: %v; the next start reads the segments", err)
			return
		}
	}
	var err error
	if !st.unchanged() {
		err = st.finishCut(st.freeze(true))
	}
	if err == nil {
		err = vfs.AtomicWriteFile(st.o.FS, st.o.FS.PathJoin(st.dir, cleanName), encodeClean(st.last.generation), 0o600)
	}
	if err != nil {
		st.indexError(err)
		st.o.Logf("no index: %v; the next start reads the segments", err)
	}
}

func encodeClean(generation uint64) []byte {
	b := make([]byte, segment.PreambleLen)
	segment.PutPreamble(b, segment.MagicClean)
	b = binary.LittleEndian.AppendUint64(b, generation)
	return binary.LittleEndian.AppendUint32(b, record.CRC(b))
}

// takeClean says whether the close of the volume was clean, and removes the word of it.
func (st *Store) takeClean(c *cut, files []*segment.File) (bool, error) {
	fs := st.o.FS
	b, err := vfs.ReadFile(fs, fs.PathJoin(st.dir, cleanName), 4096)
	if err != nil && !vfs.IsNotExist(err) {
		return false, errs.WrapKind("", errs.Unavailable, err)
	}
	clean := err == nil && c != nil && string(b) == string(encodeClean(c.generation))
	if clean {
		st.reportGone(c, files)
		clean = len(files) == len(c.segments)
	}
	if err == nil {
		if uerr := segment.CheckPreamble(b, segment.MagicClean, cleanName); errs.Is(uerr, errs.Unsupported) {
			return false, uerr
		}
	}
	for _, f := range files {
		if clean {
			s := c.segments[f.Number]
			clean = s != nil && (s.role == roleSealed || !f.HasRecord(int64(s.end)))
		}
	}
	removed := false
	for _, name := range []string{cleanName, oldCheckpointName} {
		rerr := fs.Remove(fs.PathJoin(st.dir, name))
		removed = removed || rerr == nil
		if rerr != nil && !vfs.IsNotExist(rerr) {
			return false, errs.WrapKind("", errs.Unavailable, rerr)
		}
	}
	if removed {
		if err := vfs.SyncDir(fs, st.dir); err != nil {
			return false, errs.WrapKind("", errs.Unavailable, err)
		}
	}
	return clean, nil
}

// reportGone tells of segments that a clean close left with living blobs and that are not there: nothing of minikv removes one in between. What
// is there and cannot be opened was reported.
func (st *Store) reportGone(c *cut, files []*segment.File) {
	there := map[uint64]bool{}
	for _, f := range files {
		there[f.Number] = true
	}
	for _, d := range st.Damage() {
		if n, _, ok := segment.ParseName(d.Segment); ok {
			there[n] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(c.segments)) {
		if s := c.segments[n]; !there[n] && s.blobs > 0 {
			st.damaged(Damage{Segment: segmentNumber(n), To: -1, Cause: fmt.Sprintf("the segment is gone, with %d living blobs", s.blobs)})
		}
	}
}

// segmentNumber is what the names of a segment's file of any kind begin with.
func segmentNumber(n uint64) string { return fmt.Sprintf("%08x", n) }

// resume lets the logs go on where a clean close ended them.
func (st *Store) resume(c *cut, files []*segment.File) error {
	for _, f := range files {
		e := c.segments[f.Number]
		if e.role == roleSealed {
			continue
		}
		if err := f.Resume(st.o.FS, int64(e.end)); err != nil {
			return err
		}
		l := st.small
		if f.Kind == segment.Large {
			l = st.large
		}
		if e.role == roleActive {
			l.active = (*st.segments.Load())[uint32(f.Number)]
			continue
		}
		l.spare = f
		st.alterSegments(func(m map[uint32]*seg) { delete(m, uint32(f.Number)) })
	}
	return nil
}

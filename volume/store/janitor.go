package store

import (
	"context"
	"os"
	"sync"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// ballastName is space set aside: given up when a segment cannot be made otherwise, so that deletes work on a full disk; made
// again before prepares are accepted.
const ballastName = "ballast"

// janitor watches free space and removes dead segments.
type janitor struct {
	st     *Store
	wake   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	tidy     sync.Mutex // one at a time; guards below
	removals int64
	closed   bool

	space   sync.Mutex // guards the ballast
	ballast bool       // it is there
}

func (j *janitor) init(st *Store) {
	j.st, j.wake = st, make(chan struct{}, 1)
	j.ctx, j.cancel = context.WithCancel(context.Background())
}

func (j *janitor) wakeUp() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *janitor) start() {
	if j.st.o.ScrubRate > 0 {
		j.done.Go(func() { j.st.scrubForever(j.ctx) })
	}
	if j.st.o.Tidy < 0 {
		return
	}
	j.done.Go(func() {
		t := time.NewTicker(j.st.o.Tidy)
		defer t.Stop()
		for {
			select {
			case <-j.ctx.Done():
				return
			case <-t.C:
			case <-j.wake:
			}
			if err := j.st.Tidy(j.ctx); err != nil && j.ctx.Err() == nil {
				j.st.o.Logf("tidying: %v", err)
			}
		}
	})
}

func (j *janitor) stop() {
	j.cancel()
	j.done.Wait()
	j.tidy.Lock()
	defer j.tidy.Unlock()
	j.closed = true
}

// Tidy looks at free space, makes the ballast again if there is room, removes segments without a living blob, and writes the index
// down when much is newer than its file. It is done
// now and then by itself.
func (st *Store) Tidy(ctx context.Context) error {
	j := &st.janitor
	j.tidy.Lock()
	defer j.tidy.Unlock()
	if j.closed {
		return errClosed
	}
	if err := j.checkSpace(); err != nil {
		return err
	}
	for _, s := range *st.segments.Load() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !st.removable(s, j.removals) {
			continue
		}
		removed, err := st.remove(ctx, s)
		if err != nil {
			return errs.Wrap("store.Tidy", err)
		}
		if removed {
			j.removals++
			st.counters.removed.Add(1)
		} else {
			st.mu.Lock()
			s.keep = j.removals + 1
			st.mu.Unlock()
		}
	}
	if st.o.CompactDead > 0 {
		again, err := st.compactOne(ctx, st.o.CompactDead)
		if err != nil {
			return err
		}
		if again {
			j.wakeUp()
		}
	}
	if st.wantCheckpoint() {
		if err := st.checkpoint(); err != nil {
			return err
		}
	}
	return j.checkSpace()
}

func (st *Store) removable(s *seg, removals int64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return s.end > 0 && !s.damaged && s.blobs.Load() == 0 && s.keep <= removals
}

// keepShare is the part of a segment that may be copied on when it is removed: were it more, segments of nothing but tombstones
// would be copied round and round.
const keepShare = 4

// remove removes a dead segment; see the fifth invariant of the package. It declines when too much of it must be kept.
func (st *Store) remove(ctx context.Context, s *seg) (bool, error) {
	c := census{st: st, s: s, stale: st.othersStale(s), keep: map[record.Type][]object.BlobID{}}
	gaps, err := s.Scan(segment.HeaderLen, s.end, c.visit)
	if err != nil {
		return false, err
	}
	if len(gaps) > 0 {
		st.mu.Lock()
		s.damaged = true
		st.mu.Unlock()
		st.damaged(Damage{Segment: segment.Name(s.Number, s.Kind), From: gaps[0].From, To: gaps[0].To, Cause: "no valid record"})
		return false, nil
	}
	if c.alive > 0 || c.keeps*keepShare > s.end {
		return false, nil
	}
	if err := c.copyOn(ctx); err != nil {
		return false, err
	}
	if err := st.o.FS.Remove(s.Path()); err != nil && !vfs.IsNotExist(err) {
		return false, errs.WrapKind("", errs.Unavailable, err)
	}
	if err := vfs.SyncDir(st.o.FS, st.dir); err != nil {
		return false, errs.WrapKind("", errs.Unavailable, err)
	}
	st.alterSegments(func(m map[uint32]*seg) { delete(m, uint32(s.Number)) })
	st.index.Drop(uint32(s.Number))
	s.Release()
	return true, nil
}

// census finds what a dead segment says of others.
type census struct {
	st    *Store
	s     *seg
	alive int  // blobs in it, which should be 0
	stale bool // other segments hold copies that count elsewhere
	keep  map[record.Type][]object.BlobID
	ends  []record.End
	keeps int64 // bytes
}

func (c *census) visit(_ int64, h record.Header, data []byte) error {
	switch {
	case h.Type == record.Blob:
		e, ok, err := c.st.lookup(h.ID)
		if ok && e.Segment == uint32(c.s.Number) && e.State() < index.Dropped {
			c.alive++
		}
		return err
	case h.Type == record.Seal:
		return c.seals(data)
	case stateOf(h.Type) != 0:
		return c.control(h.Type, data)
	}
	return nil
}

// othersStale says whether a copy of a blob may be in another segment than the one that counts.
func (st *Store) othersStale(s *seg) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, x := range *st.segments.Load() {
		if x != s && x.stale {
			return true
		}
	}
	return false
}

// seals keeps those of segments that still exist.
func (c *census) seals(data []byte) error {
	ends, err := record.ParseEnds(data)
	for _, e := range ends {
		if _, ok := (*c.st.segments.Load())[uint32(e.Segment)]; ok {
			c.ends = append(c.ends, e)
			c.keeps += int64(len(record.AppendEnds(nil, ends[:1])))
		}
	}
	return err
}

// control keeps what is said of blobs with bytes in other segments, if nothing higher was said since.
func (c *census) control(t record.Type, data []byte) error {
	ids, err := record.ParseIDs(data)
	for _, id := range ids {
		e, ok, err := c.st.lookup(id)
		if err != nil {
			return err
		}
		gone := !ok || e.Segment == uint32(c.s.Number)
		if (!gone && e.State() == stateOf(t)) || (gone && c.stale && stateOf(t) >= index.Dropped) {
			c.keep[t] = append(c.keep[t], id)
			c.keeps += object.BlobIDLen
		}
	}
	return err
}

// copyOn appends what must be kept and waits until it is on disk.
func (c *census) copyOn(ctx context.Context) error {
	for _, t := range []record.Type{record.Commit, record.Abort, record.Tombstone} {
		g, err := c.st.appendIDs(ctx, t, c.keep[t], synced)
		if err == nil && g != nil {
			err = g.wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return c.st.appendSeals(ctx, c.ends)
}

// reserve is the free space in bytes below which prepares are refused.
func (o *Options) reserve(total uint64) uint64 {
	switch {
	case o.Reserve < 0:
		return 0
	case o.Reserve > 0:
		return uint64(o.Reserve)
	}
	return max(uint64(gib), total/100*3)
}

// checkSpace decides whether prepares are accepted: there is more than the reserve free, and the ballast is there.
func (j *janitor) checkSpace() error {
	j.space.Lock()
	defer j.space.Unlock()
	st := j.st
	u, err := st.o.FS.GetDiskUsage(st.dir)
	if err != nil {
		return errs.WrapKind("store.Tidy", errs.Unavailable, err)
	}
	reserve := st.o.reserve(u.TotalBytes)
	if st.o.Ballast > 0 && !j.ballast {
		if err := j.layBallast(u.AvailBytes, reserve); err != nil {
			return err
		}
		if u, err = st.o.FS.GetDiskUsage(st.dir); err != nil {
			return errs.WrapKind("store.Tidy", errs.Unavailable, err)
		}
	}
	full := u.AvailBytes < reserve || (st.o.Ballast > 0 && !j.ballast)
	if st.full.Swap(full) != full {
		st.o.Logf("disk full: %v (%d of %d bytes free, reserve %d)", full, u.AvailBytes, u.TotalBytes, reserve)
	}
	st.counters.free.Store(int64(u.AvailBytes))
	return nil
}

// layBallast makes the ballast if it is not there and that leaves the reserve free.
func (j *janitor) layBallast(avail, reserve uint64) error {
	fs, size := j.st.o.FS, j.st.o.Ballast
	name := fs.PathJoin(j.st.dir, ballastName)
	if fi, err := fs.Stat(name); err == nil && fi.Size() == size {
		j.ballast = true
		return nil
	}
	if avail < reserve+uint64(size) {
		return nil
	}
	f, err := vfs.OpenFile(fs, name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return errs.WrapKind("store.Tidy", errs.Unavailable, err)
	}
	err = vfs.Preallocate(f, size)
	if err == nil {
		err = f.Sync()
	}
	f.Close()
	if err == nil {
		err = fs.Rename(name+".tmp", name)
	}
	if err == nil {
		err = vfs.SyncDir(fs, j.st.dir)
	}
	if err != nil {
		fs.Remove(name + ".tmp")
		if vfs.IsNoSpace(err) {
			return nil
		}
		return errs.WrapKind("store.Tidy", errs.Unavailable, err)
	}
	j.ballast = true
	return nil
}

// dropBallast gives the ballast's space back; false if there was none. Prepares are refused until it is there again.
func (j *janitor) dropBallast() bool {
	j.space.Lock()
	defer j.space.Unlock()
	j.st.full.Store(true)
	if !j.ballast {
		return false
	}
	j.ballast = false
	fs := j.st.o.FS
	err := fs.Remove(fs.PathJoin(j.st.dir, ballastName))
	j.st.o.Logf("disk full: the ballast of %d bytes is given up (%v)", j.st.o.Ballast, err)
	return err == nil
}

// newHeader is that of the next segment.
func (st *Store) newHeader(kind segment.Kind, capacity int64) (segment.Header, error) {
	n := st.lastNumber.Add(1)
	if n > segment.NumberMax {
		return segment.Header{}, errs.E("store", errs.LimitExceeded, "segment numbers are used up")
	}
	return segment.Header{
		Volume: st.id.Volume, Incarnation: st.id.Incarnation, Number: n, Seed: st.o.Rand(), Capacity: capacity, Kind: kind,
	}, nil
}

// create makes a segment; stop, if not nil, may end that early.
func (st *Store) create(kind segment.Kind, capacity, fill int64, stop func() error) (*segment.File, error) {
	h, err := st.newHeader(kind, capacity)
	if err != nil {
		return nil, err
	}
	if st.o.noFill {
		fill = 0
	}
	return segment.Create(st.o.FS, st.dir, h, fill, stop)
}

// spaceShare is the part of the free space above the reserve that a new segment may take: as the disk fills segments get shorter, so
// that their unwritten rest does not make it look full.
const spaceShare = 4

// room is the free space above the reserve, in bytes.
func (st *Store) room() (int64, error) {
	u, err := st.o.FS.GetDiskUsage(st.dir)
	if err != nil {
		return 0, errs.WrapKind("store", errs.Unavailable, err)
	}
	return max(0, int64(u.AvailBytes)-int64(st.o.reserve(u.TotalBytes))), nil
}

// makeSegment makes a segment that is needed now, so without zeros but for the first. On a full disk it makes a short one, of
// the ballast's space if need be.
func (st *Store) makeSegment(_ context.Context, kind segment.Kind, group int64) (*segment.File, error) {
	capacity, fill := st.o.LargeSegment, int64(0)
	if kind == segment.Small {
		capacity = st.o.SmallSegment
		if st.small.active == nil {
			capacity = max(st.o.FirstSegment, segment.HeaderLen+group+sealSpace)
			fill = capacity
		}
	}
	least := segment.HeaderLen + group + sealSpace
	if room, err := st.room(); err == nil {
		capacity = max(least, min(capacity, room/spaceShare))
	}
	f, err := st.create(kind, capacity, min(fill, capacity), nil)
	if !errs.Is(err, errs.StorageFull) {
		return f, err
	}
	st.janitor.dropBallast()
	defer st.janitor.wakeUp()
	return st.create(kind, max(min(capacity, mib), least), 0, nil)
}

// makeSpare makes a segment ahead of need, if that leaves the reserve free; zeros are only for small ones.
func (st *Store) makeSpare(kind segment.Kind, zeros bool) (*segment.File, error) {
	capacity, fill := st.o.LargeSegment, int64(0)
	if kind == segment.Small {
		capacity = st.o.SmallSegment
		if zeros {
			fill = capacity
		}
	}
	room, err := st.room()
	if err != nil {
		return nil, err
	}
	if st.full.Load() || room/spaceShare < capacity {
		return nil, errs.E("store", errs.StorageFull, "no room for a segment ahead of need")
	}
	return st.create(kind, capacity, fill, func() error {
		if st.closing.Load() {
			return errClosed
		}
		return nil
	})
}

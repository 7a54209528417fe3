package store

import (
	"context"
	"os"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/segment"
)

// ballastName is space set aside: given up when a segment cannot be made otherwise, so that deletes work on a full disk; made
// again before prepares are accepted.
const ballastName = "ballast"

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
		state := "disk full: prepares are refused"
		if !full {
			state = "the disk has room again"
		}
		st.o.Logf("%s (%d of %d bytes free, reserve %d)", state, u.AvailBytes, u.TotalBytes, reserve)
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
	if err := fs.Remove(fs.PathJoin(j.st.dir, ballastName)); err != nil {
		j.st.o.Logf("disk full: the ballast cannot be given up: %v", err)
		return false
	}
	j.st.o.Logf("disk full: the ballast of %d bytes is given up", j.st.o.Ballast)
	return true
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

// shortSegment is the length of segments on a full disk, in bytes: were they shorter, every few deletes would make one.
const shortSegment = mib

// room is the free space above the reserve, in bytes.
func (st *Store) room() (int64, error) {
	u, err := st.o.FS.GetDiskUsage(st.dir)
	if err != nil {
		return 0, errs.WrapKind("store", errs.Unavailable, err)
	}
	return max(0, int64(u.AvailBytes)-int64(st.o.reserve(u.TotalBytes))), nil
}

// makeSegment makes a segment that is needed now, so without zeros; the log writes them as it goes. On a full disk it makes a short one,
// of the ballast's space if need be.
func (st *Store) makeSegment(_ context.Context, kind segment.Kind, group int64) (*segment.File, error) {
	capacity := st.o.LargeSegment
	if kind == segment.Small {
		capacity = st.o.SmallSegment
		if st.small.active == nil {
			capacity = max(st.o.FirstSegment, segment.HeaderLen+group+sealSpace)
		}
	}
	least := segment.HeaderLen + group + sealSpace
	if room, err := st.room(); err == nil {
		capacity = max(least, min(capacity, max(room/spaceShare, shortSegment)))
	}
	f, err := st.create(kind, capacity, 0, nil)
	if !errs.Is(err, errs.StorageFull) {
		return f, err
	}
	st.janitor.dropBallast()
	defer st.janitor.wakeUp()
	return st.create(kind, max(min(capacity, shortSegment), least), 0, nil)
}

// makeSpare makes a segment ahead of need, if that leaves the reserve free; zeros are only for small ones, and where each group is synced.
// stop is that of segment.Create.
func (st *Store) makeSpare(kind segment.Kind, stop func() error) (*segment.File, error) {
	capacity, fill := st.o.LargeSegment, int64(0)
	if kind == segment.Small {
		capacity = st.o.SmallSegment
		if st.o.Fsync == Always {
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
	return st.create(kind, capacity, fill, stop)
}

// Package segment keeps one file of records: make it, append, sync, read back verified, and find out after a crash what it holds.
//
// A segment is made under a temporary name, with its header and its space, all of it synced before it is given its name. Therefore:
//
//  1. A file with a segment's name has a durable header; a bad header is damage, not a crash.
//  2. Appending into it finds room. Where zeros were written ahead (Create, ZeroAhead) a sync writes data only.
//
// A segment's end is told by a seal record in a later segment; until then by the rule of FindEnd:
//
//  3. Bytes below the highest durable_to of any valid record in the segment were acknowledged as durable: what does not parse
//     there is damage, reported and kept. The first thing that does not verify at or above it is the torn tail, which nobody was
//     promised; it and what follows do not count.
package segment

import (
	"errors"
	"os"
	"sync/atomic"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/record"
)

// File is an open segment. Reads may be concurrent; Append and Sync belong to one goroutine.
type File struct {
	Header
	path   string
	r, w   vfs.File // the same but for direct writes
	direct bool
	refs   atomic.Int64 // readers, plus one until Release; 0: closed

	// Written by the appending goroutine only.
	pos    int64        // where the next group goes
	zeroed int64        // everything below was written, with zeros from pos on
	paged  bool         // up to zeroed the zeros may be on disk only: pages are written whole
	synced atomic.Int64 // everything below is on disk
}

// ErrEnough of Create's stop means: no more zeros, the segment is as good without.
var ErrEnough = errors.New("no more zeros")

// Create makes a segment of h's number, kind and capacity in dir. fill writes zeros up to fill bytes, past the page cache where the file
// system can; the rest is reserved. stop, if not nil, is asked now and then: ErrEnough ends the filling, any other error the work.
func Create(fs vfs.FS, dir string, h Header, fill int64, stop func() error) (*File, error) {
	const op = "segment.Create"
	path := fs.PathJoin(dir, Name(h.Number, h.Kind))
	tmp := path + ".tmp"
	f, err := create(fs, tmp, h, fill, stop)
	if err == nil {
		if err = fs.Rename(tmp, path); err == nil {
			if err = vfs.SyncDir(fs, dir); err != nil {
				fs.Remove(path) // nobody knows of it
			}
		}
		if err != nil {
			f.closeFiles()
		}
	}
	if err != nil {
		fs.Remove(tmp)
		return nil, errs.WrapKind(op, kindOf(err), err)
	}
	f.path = path
	return f, nil
}

func kindOf(err error) errs.Kind {
	if vfs.IsNoSpace(err) {
		return errs.StorageFull
	}
	return errs.Unavailable
}

func create(fs vfs.FS, path string, h Header, fill int64, stop func() error) (*File, error) {
	if err := fs.Remove(path); err != nil && !vfs.IsNotExist(err) {
		return nil, err
	}
	f := &File{Header: h, path: path, pos: HeaderLen}
	f.refs.Store(1)
	f.synced.Store(HeaderLen)
	w, err := vfs.OpenFile(fs, path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	f.r, f.w = w, w
	b := make([]byte, HeaderLen)
	h.encode(b)
	if err = vfs.Preallocate(w, h.Capacity); err == nil {
		if _, err = w.WriteAt(b, 0); err == nil && fill > HeaderLen {
			err = f.fill(fs, min(fill, h.Capacity), stop)
		}
	}
	if err == nil {
		err = w.Sync()
	}
	if err == nil && h.Kind == Large {
		err = f.goDirect(fs)
	}
	if err != nil {
		f.closeFiles()
		return nil, err
	}
	return f, nil
}

// fillStep is how many bytes of zeros are on their way at a time: others wait for the disk behind them.
const fillStep = 256 << 10

// fill writes zeros up to end. They are not on disk before the file is synced.
func (f *File) fill(fs vfs.FS, end int64, stop func() error) error {
	d, _, err := vfs.OpenDirect(fs, f.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	f.paged, f.zeroed = true, HeaderLen
	for end = end / pageLen * pageLen; f.zeroed < end && err == nil; {
		if stop != nil {
			if err = stop(); err != nil {
				break
			}
		}
		step := min(f.zeroed+fillStep, end)
		if err = vfs.WriteZeros(d, f.zeroed, step); err == nil {
			f.zeroed = step
		}
	}
	if cerr := d.Close(); err == nil || err == ErrEnough {
		err = cerr
	}
	return err
}

// goDirect opens a second handle for writing past the page cache, where the file system can.
func (f *File) goDirect(fs vfs.FS) error {
	d, direct, err := vfs.OpenDirect(fs, f.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if !direct {
		return d.Close()
	}
	f.w, f.direct = d, true
	return nil
}

// Open opens a segment for reading; see Resume for appending. The file's name must agree with its header.
func Open(fs vfs.FS, dir, name string) (*File, error) {
	const op = "segment.Open"
	number, kind, ok := ParseName(name)
	if !ok {
		return nil, errs.E(op, errs.Invalid, "%q is no segment's name", name)
	}
	path := fs.PathJoin(dir, name)
	r, err := fs.Open(path)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Unavailable, err)
	}
	b := make([]byte, HeaderLen)
	n, err := r.ReadAt(b, 0)
	if n < HeaderLen && err != nil && n < PreambleLen {
		r.Close()
		return nil, errs.E(op, errs.Corrupt, "%s: %d bytes are no header: %v", path, n, err)
	}
	h, err := decodeHeader(b[:n], path)
	if err == nil && (h.Number != number || h.Kind != kind) {
		err = errs.E(op, errs.Corrupt, "%s holds segment %s", path, Name(h.Number, h.Kind))
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	f := &File{Header: h, path: path, r: r, pos: HeaderLen}
	f.refs.Store(1)
	f.synced.Store(HeaderLen)
	return f, nil
}

// Resume makes an opened segment ready for appending at offset at; everything below is on disk.
func (f *File) Resume(fs vfs.FS, at int64) error {
	w, err := vfs.OpenFile(fs, f.path, os.O_RDWR, 0)
	if err != nil {
		return errs.WrapKind("segment.Resume", errs.Unavailable, err)
	}
	f.w = w
	if f.Kind == Large {
		if err := f.goDirect(fs); err != nil {
			return errs.WrapKind("segment.Resume", errs.Unavailable, err)
		}
		if f.direct {
			w.Close()
		}
	}
	f.pos = at
	f.synced.Store(at)
	return nil
}

// Ended tells an opened segment where it ends; all below is on disk.
func (f *File) Ended(end int64) {
	f.pos = end
	f.synced.Store(end)
}

// Layout is that of the segment's records.
func (f *File) Layout() record.Layout { return record.Layout{Align: f.Kind.Align()} }

// Path is the file's name.
func (f *File) Path() string { return f.path }

// Pos is where the next group goes.
func (f *File) Pos() int64 { return f.pos }

// Synced is the end of what is surely on disk. Unlike Pos it may be asked by any goroutine.
func (f *File) Synced() int64 { return f.synced.Load() }

// Room is what still fits, in bytes.
func (f *File) Room() int64 { return f.Capacity - f.pos }

// Append writes a group of whole records, the concatenation of bufs, at Pos. Its length is a multiple of the alignment and, for direct
// files, so are the lengths and addresses of the buffers. After an error the file must not be appended to again.
func (f *File) Append(bufs ...[]byte) error { return f.AppendPadded(0, bufs...) }

// AppendPadded is Append of what ends with so many zeros behind the records (see Padding), where the next group goes.
func (f *File) AppendPadded(pad int, bufs ...[]byte) (err error) {
	n := 0
	if len(bufs) == 1 {
		n, err = f.w.WriteAt(bufs[0], f.pos)
	} else {
		n, err = vfs.WriteVAt(f.w, bufs, f.pos)
	}
	if err != nil {
		return errs.WrapKind("segment.Append", kindOf(err), err)
	}
	f.pos += int64(n - pad)
	return nil
}

// pageLen is the length of a page of memory, or a multiple of it, in bytes.
const pageLen = 4096

// Padding is how many zeros, less than 4,096, should follow a group of so many bytes. Where zeros were written past the page cache, the
// kernel would have to read the last page of the group from the disk, to write a part of it; so that is written whole.
func (f *File) Padding(group int) int {
	end := f.pos + int64(group)
	if !f.paged || end >= f.zeroed {
		return 0
	}
	return int(-end & (pageLen - 1))
}

// What ZeroAhead writes: so many times the group, but within bounds in bytes. Each time costs the file system's journal once, which
// otherwise each group would; zeros cost bandwidth, so groups of megabytes go without.
const (
	aheadGroups   = 8
	aheadMin      = 64 << 10
	aheadMax      = 1 << 20
	aheadGroupMax = 256 << 10
)

// ZeroAhead writes zeros behind Pos, now and then, for groups of so many bytes: the next groups are then written into blocks that were
// written before, and a sync of them writes data only (on ext4 in half of the time). After an error the file must not be appended to
// again.
func (f *File) ZeroAhead(group int) error {
	if f.pos <= f.zeroed || group > aheadGroupMax {
		return nil
	}
	end := min(f.pos+int64(min(max(aheadGroups*group, aheadMin), aheadMax)), f.Capacity)
	if err := vfs.WriteZeros(f.w, f.pos, end); err != nil {
		return errs.WrapKind("segment.ZeroAhead", kindOf(err), err)
	}
	f.zeroed = end
	return nil
}

// StartSync lets the disk begin with the last group bytes of what was appended, for a Sync that follows soon. It promises nothing. After an
// error the file must not be synced or appended to again.
func (f *File) StartSync(group int) error {
	if f.direct {
		return nil // it is there already
	}
	if err := vfs.StartSync(f.w, f.pos-int64(group), int64(group)); err != nil {
		return errs.WrapKind("segment.StartSync", kindOf(err), err)
	}
	return nil
}

// Sync makes all that was appended durable. After an error the file must not be synced or appended to again: the kernel may have
// dropped the pages that it could not write and call the next sync a success.
func (f *File) Sync() error {
	if err := f.w.SyncData(); err != nil {
		return errs.WrapKind("segment.Sync", kindOf(err), err)
	}
	f.synced.Store(f.pos)
	return nil
}

// Freeze ends appending: the handle for direct writes is closed.
func (f *File) Freeze() {
	if f.w != nil && f.w != f.r {
		f.w.Close()
	}
	f.w = nil
}

// Acquire keeps the file open for a reader until Release; false means that it is closed already.
func (f *File) Acquire() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release undoes Acquire; called once more, by the owner, it closes the file as soon as the last reader is done.
func (f *File) Release() {
	if f.refs.Add(-1) == 0 {
		f.closeFiles()
	}
}

func (f *File) closeFiles() {
	f.Freeze()
	f.r.Close()
}

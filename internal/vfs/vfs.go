// Package vfs is the only way minikv touches files: volumes, the Raft log, snapshots and Pebble all stand on one FS, so that
// one crash clone or one injected fault covers them together.
//
// FS and File are Pebble's interfaces (github.com/cockroachdb/pebble/v2/vfs). Three bodies satisfy them:
//
//   - OS: the operating system's file system;
//   - Mem: memory that clones the disk as a crash would leave it (Mem.CrashClone) and can be of bounded size;
//   - Inject: a wrapper that sees every operation before and after it happens and may make it fail, fall short or wait.
//
// What Pebble's interface lacks (exclusive creation, modes, O_DIRECT) is the optional interface Opener; OpenFile uses it through
// any wrapper of this package.
//
// Invariants:
//
//  1. A file is durable when its bytes were synced (SyncData, Sync) and its name was (SyncDir on its folder), in that order.
//  2. After AtomicWriteFile returns nil, a crash shows the new content; before, the old or the new one, never a mixture.
//  3. A crash clone never holds bytes that were not written, apart from zeros in a file's unsynced growth.
package vfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"minikv/internal/errs"
)

// FS is a file system: Pebble's vfs.FS.
type FS = pvfs.FS

// File is an open file: Pebble's vfs.File. Unlike Pebble's own bodies, files opened by OpenFile take WriteAt whenever the flags allow writing.
type File = pvfs.File

// FileInfo describes a file.
type FileInfo = pvfs.FileInfo

// DiskUsage is the space of a file system, in bytes.
type DiskUsage = pvfs.DiskUsage

// Category labels writes in statistics.
type Category = pvfs.DiskWriteCategory

// Categories of writes.
const (
	CategoryUnspecified Category = pvfs.WriteCategoryUnspecified
	CategoryBlobs       Category = "minikv-blobs"
	CategoryRaft        Category = "minikv-raft"
)

// Opener is what the bodies of this package offer beyond FS: os.OpenFile with its flags (os.O_RDWR, os.O_CREATE, os.O_EXCL,
// os.O_TRUNC and ODirect) and permission bits.
type Opener interface {
	OpenFile(name string, flag int, perm os.FileMode) (File, error)
}

// OpenFile opens name as os.OpenFile does. On an FS that is no Opener, perm and ODirect are ignored and O_EXCL is a Stat before
// the creation.
func OpenFile(fs FS, name string, flag int, perm os.FileMode) (File, error) {
	if o, ok := fs.(Opener); ok {
		return o.OpenFile(name, flag, perm)
	}
	if flag&(os.O_RDWR|os.O_WRONLY) == 0 {
		return fs.Open(name)
	}
	_, err := fs.Stat(name)
	switch {
	case err == nil && flag&os.O_EXCL != 0:
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrExist}
	case err == nil && flag&os.O_TRUNC != 0:
		return fs.Create(name, CategoryUnspecified)
	case err != nil && (!IsNotExist(err) || flag&os.O_CREATE == 0):
		return nil, err
	}
	return fs.OpenReadWrite(name, CategoryUnspecified)
}

// OpenDirect opens name for reading and writing past the page cache (O_DIRECT): offsets, lengths and buffer addresses must be
// multiples of DirectAlign (see AlignedBuffer). Where the file system refuses, the file is opened buffered and direct is false.
func OpenDirect(fs FS, name string, flag int, perm os.FileMode) (f File, direct bool, err error) {
	if ODirect != 0 {
		f, err = OpenFile(fs, name, flag|ODirect, perm)
		if err == nil {
			return f, true, nil
		}
		if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
			return nil, false, err
		}
		flag &^= os.O_EXCL // the kernel may have created the file before it refused the flag
	}
	f, err = OpenFile(fs, name, flag, perm)
	return f, false, err
}

// SyncDir makes the creations, renames and removals in dir durable.
func SyncDir(fs FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// MkdirAll creates dir and its missing parents durably: every folder in which a name appeared is synced. So is the parent of a dir
// that is there already, since an earlier attempt may have ended before its sync; a parent that may not be opened is left out.
func MkdirAll(fs FS, dir string, perm os.FileMode) error {
	made := []string{dir}
	for d := dir; ; d = fs.PathDir(d) {
		if _, err := fs.Stat(d); err == nil {
			break
		} else if !IsNotExist(err) {
			return err
		}
		if d != dir {
			made = append(made, d)
		}
		if parent := fs.PathDir(d); parent == d {
			break
		}
	}
	if err := fs.MkdirAll(dir, perm); err != nil {
		return err
	}
	for _, d := range made {
		if err := SyncDir(fs, fs.PathDir(d)); err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return nil
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, errs.E("vfs.ReadFile", errs.LimitExceeded, "%s has %d bytes; at most %d are expected", name, st.Size(), limit)
	}
	b := make([]byte, st.Size())
	if len(b) == 0 {
		return b, nil
	}
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}

// AtomicWriteFile replaces the content of name durably and in one step: temporary file beside it, sync, rename, sync of the
// folder. The file has the permission bits of mode from its first moment. Left-over temporary files are overwritten.
func AtomicWriteFile(fs FS, name string, data []byte, mode os.FileMode) error {
	tmp := name + ".tmp"
	if err := writeSynced(fs, tmp, data, mode); err != nil {
		fs.Remove(tmp)
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := fs.Rename(tmp, name); err != nil {
		return err
	}
	return SyncDir(fs, fs.PathDir(name))
}

func writeSynced(fs FS, name string, data []byte, mode os.FileMode) error {
	if err := fs.Remove(name); err != nil && !IsNotExist(err) {
		return err
	}
	f, err := OpenFile(fs, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	// Pebble's contract lets Write change the slice; the caller keeps ownership.
	_, err = f.WriteAt(append([]byte(nil), data...), 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// IsNotExist says that a file or folder was not there.
func IsNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }

// IsNoSpace says that the file system, or the quota, is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Preallocate reserves length bytes for f from its beginning and sets its size, as far as the file system can; the bytes read
// as zeros. An error is only returned when there is no room.
func Preallocate(f File, length int64) error {
	var err error
	if a, ok := f.(allocator); ok {
		err = a.Fallocate(length)
	} else {
		err = f.Preallocate(0, length)
	}
	if err != nil && !IsNoSpace(err) {
		return nil
	}
	return err
}

// allocator is a File that can reserve space and extend itself to it, as fallocate(2) does.
type allocator interface{ Fallocate(length int64) error }

// zeros may be written past the page cache.
var zeros = AlignedBuffer(256 << 10)

// ZeroFill writes zeros from off up to end and syncs, so that later writes there allocate nothing: on ext4 an fdatasync into
// written blocks takes half the time of one into reserved, unwritten ones. Check stop, if not nil, between steps of 1 MiB; it
// ends the filling with its error.
func ZeroFill(f File, off, end int64, stop func() error) error {
	for off < end {
		if stop != nil {
			if err := stop(); err != nil {
				return err
			}
		}
		step := min(off+1<<20, end)
		if err := WriteZeros(f, off, step); err != nil {
			return err
		}
		off = step
		if err := f.SyncData(); err != nil {
			return err
		}
	}
	return nil
}

// WriteZeros writes zeros from off up to end.
func WriteZeros(f File, off, end int64) error {
	for off < end {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// pathJoin is the joining of slash-separated names in memory.
func pathJoin(elem ...string) string { return path.Join(elem...) }

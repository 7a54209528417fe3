package vfs

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ODirect is the flag of direct I/O for OpenFile; 0 where there is none.
const ODirect = syscall.O_DIRECT

func newOSFile(f *os.File) File { return linuxFile{osFile{f}} }

type linuxFile struct{ osFile }

func (f linuxFile) SyncData() error {
	return retry(func() error { return unix.Fdatasync(int(f.Fd())) })
}

// SyncTo makes everything durable: callers of this package want guarantees, not hints.
func (f linuxFile) SyncTo(int64) (bool, error) { return true, f.SyncData() }

func (f linuxFile) Preallocate(off, length int64) error {
	return retry(func() error { return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, length) })
}

func (f linuxFile) Prefetch(off, length int64) error {
	return unix.Fadvise(int(f.Fd()), off, length, unix.FADV_WILLNEED)
}

// Fallocate reserves the first length bytes and extends the file to them.
func (f linuxFile) Fallocate(length int64) error {
	return retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, length) })
}

func retry(op func() error) error {
	for {
		if err := op(); err != unix.EINTR {
			return err
		}
	}
}

func tryFlock(f File) error {
	return retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

func isLocked(err error) bool { return err == unix.EWOULDBLOCK }

// Map maps the first length bytes for reading.
func (f linuxFile) Map(length int64) ([]byte, func() error, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, int(length), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return b, func() error { return unix.Munmap(b) }, nil
}

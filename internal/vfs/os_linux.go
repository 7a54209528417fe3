package vfs

import (
	"io"
	"os"
	"slices"
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

// StartSync is sync_file_range(2). Where that is unknown, or a filter of system calls keeps it away, nothing is begun.
func (f linuxFile) StartSync(off, length int64) error {
	err := retry(func() error { return unix.SyncFileRange(int(f.Fd()), off, length, unix.SYNC_FILE_RANGE_WRITE) })
	switch err {
	case unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP, unix.ESPIPE:
		return nil
	}
	return err
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

// vectorMax is how many buffers one system call takes (IOV_MAX).
const vectorMax = 1024

// WriteVAt is pwritev(2), until all is written.
func (f linuxFile) WriteVAt(bufs [][]byte, off int64) (int, error) {
	total, rest := 0, written(slices.Clone(bufs), 0)
	for len(rest) > 0 {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Pwritev(int(f.Fd()), rest[:min(len(rest), vectorMax)], off+int64(total))
			return err
		})
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		total += n
		rest = written(rest, n)
	}
	return total, nil
}

// written takes n bytes, and what is empty, off the begin.
func written(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
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

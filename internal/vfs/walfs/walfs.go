// Package walfs lets github.com/hashicorp/raft-wal keep its segments on a vfs.FS, so that the Raft log is cut by the same crash
// clones and hit by the same faults as everything else.
//
// It behaves as raft-wal's own fs package: Create refuses a name in use and preallocates; the name of a new file is made
// durable by the first Sync of the file (and not by later ones); Delete is durable when it returns.
package walfs

import (
	"fmt"
	"math"
	"os"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft-wal/types"

	"minikv/internal/vfs"
)

// RaftWAL is fs as raft-wal wants it. Files are created with permission bits 0600.
func RaftWAL(fs vfs.FS) types.VFS { return walFS{fs} }

type walFS struct{ fs vfs.FS }

// ListDir lists the files in dir in order; folders are left out.
func (w walFS) ListDir(dir string) ([]string, error) {
	names, err := w.fs.List(dir)
	if err != nil {
		return nil, err
	}
	files := make([]string, 0, len(names))
	for _, name := range names {
		st, err := w.fs.Stat(w.fs.PathJoin(dir, name))
		if vfs.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !st.IsDir() {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files, nil
}

// Create makes a new file of size bytes.
func (w walFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("a segment has at most %d bytes, not %d", math.MaxInt32, size)
	}
	full := w.fs.PathJoin(dir, name)
	f, err := vfs.OpenFile(w.fs, full, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		if err := vfs.Preallocate(f, int64(size)); err != nil {
			f.Close()
			w.fs.Remove(full)
			return nil, err
		}
	}
	return &file{File: f, fs: w.fs, dir: dir}, nil
}

// Delete removes a file for good.
func (w walFS) Delete(dir, name string) error {
	if err := w.fs.Remove(w.fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return vfs.SyncDir(w.fs, dir)
}

// OpenReader opens for reading.
func (w walFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return w.fs.Open(w.fs.PathJoin(dir, name))
}

// OpenWriter opens an existing file for reading and writing. Its name may not be durable yet, after a crash of the process
// between Create and Sync, so its first Sync syncs the folder too.
func (w walFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := vfs.OpenFile(w.fs, w.fs.PathJoin(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &file{File: f, fs: w.fs, dir: dir}, nil
}

// file syncs its folder with its first Sync.
type file struct {
	vfs.File
	fs    vfs.FS
	dir   string
	named atomic.Bool // the name is durable
}

func (f *file) Sync() error {
	if err := f.File.SyncData(); err != nil {
		return err
	}
	if f.named.Load() {
		return nil
	}
	if err := vfs.SyncDir(f.fs, f.dir); err != nil {
		return err
	}
	f.named.Store(true)
	return nil
}

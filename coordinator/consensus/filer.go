package consensus

import (
	"sync"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"minikv/internal/vfs"
	"minikv/internal/vfs/walfs"
)

// filer is raft-wal's segment filer on our file system, with three repairs: headers name the true codec; it knows when a sealed
// tail waits to be rotated, since raft-wal may cut the log in that moment and then seal the wrong segment; and it reads
// segments that raft-wal sealed without an index, when it cut the tail off the log.
type filer struct {
	*segment.Filer
	fs    vfs.FS
	dir   string
	fatal func(error)
	spare *spares

	mu       sync.Mutex // guards rotating
	rotated  *sync.Cond
	rotating bool // the tail is sealed and its successor not yet made
	closed   bool
}

var _ types.SegmentFiler = (*filer)(nil)

func newFiler(fs vfs.FS, dir string, fatal func(error)) (*filer, error) {
	spare, err := newSpares(walfs.RaftWAL(fs), fs, dir)
	if err != nil {
		return nil, err
	}
	f := &filer{Filer: segment.NewFiler(dir, spare), fs: fs, dir: dir, fatal: fatal, spare: spare}
	f.rotated = sync.NewCond(&f.mu)
	return f, nil
}

// Create makes the next tail.
func (f *filer) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	info.Codec = codecID
	w, err := f.Filer.Create(info)
	if err != nil {
		f.fatal(err)
		return nil, err
	}
	f.setRotating(false)
	return &tailWriter{w, f}, nil
}

// RecoverTail opens the tail after repairTail has made it whole.
func (f *filer) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.Filer.RecoverTail(info)
	if err != nil {
		return nil, err
	}
	return &tailWriter{w, f}, nil
}

// Open opens a sealed segment for reading.
func (f *filer) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart != 0 {
		return f.Filer.Open(info)
	}
	return openUnindexed(f.fs, f.dir, info)
}

func (f *filer) setRotating(v bool) {
	f.mu.Lock()
	f.rotating = v
	f.mu.Unlock()
	f.rotated.Broadcast()
}

// awaitRotation returns when no tail waits for its successor.
func (f *filer) awaitRotation() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.rotating && !f.closed {
		f.rotated.Wait()
	}
}

// close frees whoever waits, and ends the filling of the spare.
func (f *filer) close() {
	f.spare.close()
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.rotated.Broadcast()
}

type tailWriter struct {
	types.SegmentWriter
	f *filer
}

// Sealed is asked after every append; a sealed tail is rotated next.
func (w *tailWriter) Sealed() (bool, uint64, error) {
	sealed, indexStart, err := w.SegmentWriter.Sealed()
	if sealed && err == nil {
		w.f.setRotating(true)
	}
	return sealed, indexStart, err
}

package consensus

import (
	"os"
	"sync"

	"github.com/hashicorp/raft-wal/types"

	"minikv/internal/vfs"
)

// spareName is the next segment in the making. It has no suffix that raft-wal knows.
const spareName = "SPARE"

// spares gives raft-wal segments that were filled with zeros before they are needed: on ext4, an fdatasync into written blocks
// takes less than half of the time of one into reserved, unwritten ones. The filling happens beside the appends; when it is
// not done in time, the segment is made the ordinary way.
//
// A spare becomes a segment by a rename, which the segment's first Sync makes durable. Until then a crash leaves the log
// without that file, as it may with a file that was created, and raft-wal makes it anew.
type spares struct {
	types.VFS
	fs vfs.FS

	mu    sync.Mutex // guards what follows
	size  uint64     // of the finished spare; 0: none
	busy  bool       // one is being filled
	ended bool
	made  bool // a segment was made in this process
	wg    sync.WaitGroup
}

// newSpares removes what an earlier process left in dir: whether it was filled is unknown.
func newSpares(v types.VFS, fs vfs.FS, dir string) (*spares, error) {
	if err := fs.Remove(fs.PathJoin(dir, spareName)); err != nil && !vfs.IsNotExist(err) {
		return nil, err
	}
	return &spares{VFS: v, fs: fs}, nil
}

// Create makes a segment, and begins to fill the next spare.
func (s *spares) Create(dir, name string, size uint64) (types.WritableFile, error) {
	s.mu.Lock()
	ready, first := size > 0 && s.size == size, !s.made
	s.made = true
	if ready {
		s.size = 0
	}
	s.mu.Unlock()
	if !ready && first && size > 0 && s.stopped() == nil { // of an empty folder: some milliseconds, and no append waits
		ready = s.fill(s.fs.PathJoin(dir, spareName), size) == nil
	}
	f, err := s.make(ready, dir, name, size)
	if err == nil && size > 0 {
		s.fillLater(dir, size)
	}
	return f, err
}

func (s *spares) make(ready bool, dir, name string, size uint64) (types.WritableFile, error) {
	full := s.fs.PathJoin(dir, name)
	if !ready {
		return s.VFS.Create(dir, name, size)
	}
	if _, err := s.fs.Stat(full); err == nil {
		return nil, &os.PathError{Op: "create", Path: full, Err: os.ErrExist}
	}
	if err := s.fs.Rename(s.fs.PathJoin(dir, spareName), full); err != nil {
		return nil, err
	}
	return s.VFS.OpenWriter(dir, name)
}

func (s *spares) fillLater(dir string, size uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.ended {
		return
	}
	s.busy = true
	s.wg.Go(func() {
		err := s.fill(s.fs.PathJoin(dir, spareName), size)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy = false
		if err == nil {
			s.size = size
		}
	})
}

// fill makes the spare. A failure, such as a full disk, only means that there is none.
func (s *spares) fill(name string, size uint64) error {
	f, err := vfs.OpenFile(s.fs, name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = vfs.Preallocate(f, int64(size)); err == nil {
		err = vfs.ZeroFill(f, 0, int64(size), s.stopped)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		s.fs.Remove(name)
	}
	return err
}

func (s *spares) stopped() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return os.ErrClosed
	}
	return nil
}

// close ends the filling and waits for it.
func (s *spares) close() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.wg.Wait()
}

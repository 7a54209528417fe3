package vfs

import (
	"io"
	"os"
	"path"
	"syscall"
	"time"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

type openOption = pvfs.OpenOption

func pathBase(p string) string { return path.Base(p) }
func pathDir(p string) string  { return path.Dir(p) }

const memBlock = 4096

// memNode is a file or folder. Blocks are immutable once they are shared with the synced state or with a clone; owned says which are not.
type memNode struct {
	isDir   bool
	mode    os.FileMode
	modTime time.Time
	links   int  // names beyond the first; below 0 the node has none
	gone    bool // its space was given back

	blocks [][]byte // nil: a hole
	size   int64
	dirty  map[int]struct{} // blocks written since the last sync
	owned  map[int]struct{} // blocks that only this node refers to

	syncedBlocks [][]byte
	syncedSize   int64

	children       map[string]*memNode
	syncedChildren map[string]*memNode
	pending        []*dirOp // since the last sync of the folder, in order
}

// dirOp is one change of one or two names. A rename within a folder survives or is lost as a whole.
type dirOp struct {
	set map[string]*memNode // nil: the name goes
}

func newDirNode() *memNode {
	return &memNode{isDir: true, mode: os.ModeDir | 0o755, modTime: time.Now(), children: map[string]*memNode{}, syncedChildren: map[string]*memNode{}}
}

func (d *memNode) set(name string, n *memNode) {
	d.apply(&dirOp{set: map[string]*memNode{name: n}})
}

func (d *memNode) apply(op *dirOp) {
	applyNames(d.children, op)
	d.pending = append(d.pending, op)
}

func applyNames(names map[string]*memNode, op *dirOp) {
	for name, n := range op.set {
		if n == nil {
			delete(names, name)
		} else {
			names[name] = n
		}
	}
}

func renameNode(from *memNode, oldbase string, to *memNode, newbase string, n *memNode) {
	if from == to {
		from.apply(&dirOp{set: map[string]*memNode{oldbase: nil, newbase: n}})
		return
	}
	to.set(newbase, n)
	from.set(oldbase, nil)
}

// allocated is the space of the node's blocks in bytes.
func (n *memNode) allocated() int64 {
	var sum int64
	for _, b := range n.blocks {
		if b != nil {
			sum += memBlock
		}
	}
	return sum
}

// truncate empties a file and returns the change of space, in bytes.
func (n *memNode) truncate() int64 {
	freed := n.allocated()
	for i := range n.blocks {
		n.mark(i)
	}
	n.blocks, n.size, n.owned = nil, 0, nil
	return -freed
}

func (n *memNode) mark(i int) {
	if n.dirty == nil {
		n.dirty = map[int]struct{}{}
	}
	n.dirty[i] = struct{}{}
}

// block makes block i writable; full says that all of it will be overwritten.
func (n *memNode) block(i int) []byte {
	for len(n.blocks) <= i {
		n.blocks = append(n.blocks, nil)
	}
	n.mark(i)
	if _, ok := n.owned[i]; ok {
		return n.blocks[i]
	}
	b := make([]byte, memBlock)
	copy(b, n.blocks[i])
	n.blocks[i] = b
	if n.owned == nil {
		n.owned = map[int]struct{}{}
	}
	n.owned[i] = struct{}{}
	return b
}

// sync makes the present content the one that survives.
func (n *memNode) sync() {
	if n.isDir {
		for _, op := range n.pending {
			applyNames(n.syncedChildren, op)
		}
		n.pending = nil
		return
	}
	for len(n.syncedBlocks) < len(n.blocks) {
		n.syncedBlocks = append(n.syncedBlocks, nil)
	}
	n.syncedBlocks = n.syncedBlocks[:len(n.blocks)]
	for i := range n.dirty {
		if i < len(n.blocks) {
			n.syncedBlocks[i] = n.blocks[i]
		}
	}
	n.syncedSize = n.size
	n.dirty, n.owned = nil, nil
}

func (n *memNode) info(name string) FileInfo {
	return memInfo{name: name, size: n.size, mode: n.mode, modTime: n.modTime, dir: n.isDir}
}

type memInfo struct {
	name    string
	size    int64
	mode    os.FileMode
	modTime time.Time
	dir     bool
}

func (i memInfo) Name() string            { return i.name }
func (i memInfo) Size() int64             { return i.size }
func (i memInfo) Mode() os.FileMode       { return i.mode }
func (i memInfo) ModTime() time.Time      { return i.modTime }
func (i memInfo) IsDir() bool             { return i.dir }
func (i memInfo) Sys() any                { return nil }
func (i memInfo) DeviceID() pvfs.DeviceID { return pvfs.DeviceID{} }

// memFile is an open memNode.
type memFile struct {
	fs     *Mem
	name   string
	n      *memNode
	write  bool
	direct bool
	closed bool  // guarded by fs.mu
	pos    int64 // of Read and Write; guarded by fs.mu
}

var _ File = (*memFile)(nil)

func (f *memFile) fail(op string, err error) error {
	return &os.PathError{Op: op, Path: f.name, Err: err}
}

func (f *memFile) check(op string, write bool) error {
	switch {
	case f.closed:
		return f.fail(op, os.ErrClosed)
	case f.n.isDir:
		return f.fail(op, syscall.EISDIR)
	case write && !f.write:
		return f.fail(op, syscall.EBADF)
	}
	return nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.fail("close", os.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *memFile) Read(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.readAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	return f.readAt(p, off)
}

func (f *memFile) readAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 || (f.direct && !IsAligned(p, off)) {
		return 0, f.fail("read", syscall.EINVAL)
	}
	want := len(p)
	if rest := f.n.size - off; int64(len(p)) > rest {
		p = p[:max(0, rest)]
	}
	for done := 0; done < len(p); {
		i, in := int((off+int64(done))/memBlock), int((off+int64(done))%memBlock)
		part := p[done:min(len(p), done+memBlock-in)]
		if i < len(f.n.blocks) && f.n.blocks[i] != nil {
			copy(part, f.n.blocks[i][in:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	if len(p) < want {
		return len(p), io.EOF
	}
	return len(p), nil
}

func (f *memFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.writeAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.writeAt(p, off)
}

func (f *memFile) writeAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 || (f.direct && !IsAligned(p, off)) {
		return 0, f.fail("write", syscall.EINVAL)
	}
	done := 0
	for done < len(p) {
		i, in := int((off+int64(done))/memBlock), int((off+int64(done))%memBlock)
		if !f.reserve(i) {
			return done, f.fail("write", syscall.ENOSPC)
		}
		done += copy(f.n.block(i)[in:], p[done:])
		f.n.size = max(f.n.size, off+int64(done))
	}
	f.n.modTime = time.Now()
	return done, nil
}

// reserve accounts for block i, or says that there is no room for it.
func (f *memFile) reserve(i int) bool {
	if i < len(f.n.blocks) && f.n.blocks[i] != nil {
		return true
	}
	if f.n.gone {
		return true
	}
	if f.fs.capacity > 0 && f.fs.used+memBlock > f.fs.capacity {
		return false
	}
	f.fs.used += memBlock
	return true
}

var zeroBlock = make([]byte, memBlock)

// Fallocate reserves the first length bytes and extends the file to them; see Preallocate.
func (f *memFile) Fallocate(length int64) error {
	if err := f.Preallocate(0, length); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if length > f.n.size {
		f.n.size = length
	}
	return nil
}

// Preallocate reserves space and keeps the size.
func (f *memFile) Preallocate(off, length int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("fallocate", true); err != nil {
		return err
	}
	if f.fs.capacity == 0 {
		return nil // nothing to reserve
	}
	for i := int(off / memBlock); int64(i)*memBlock < off+length; i++ {
		for len(f.n.blocks) <= i {
			f.n.blocks = append(f.n.blocks, nil)
		}
		if !f.reserve(i) {
			return f.fail("fallocate", syscall.ENOSPC)
		}
		if f.n.blocks[i] == nil {
			f.n.blocks[i] = zeroBlock
			f.n.mark(i)
		}
	}
	return nil
}

func (f *memFile) Stat() (FileInfo, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	return f.n.info(f.name), nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.fail("sync", os.ErrClosed)
	}
	f.n.sync()
	return nil
}

func (f *memFile) SyncData() error { return f.Sync() }

// SyncTo promises nothing, as Pebble's contract allows, so that whoever relies on it is found out.
func (f *memFile) SyncTo(int64) (bool, error) { return false, nil }

func (f *memFile) Prefetch(int64, int64) error { return nil }
func (f *memFile) Fd() uintptr                 { return pvfs.InvalidFd }

package vfs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory that knows what a crash would leave of it. Data is kept in blocks of 4 KiB, copied on write, so
// that a clone costs one pointer per block. The zero value is not usable; see NewMem. All methods may be called concurrently.
type Mem struct {
	mu       sync.RWMutex // guards all nodes too
	root     *memNode
	locked   map[string]bool
	capacity int64 // bytes; 0: unbounded
	used     int64 // bytes in allocated blocks
}

var _ interface {
	FS
	Opener
} = (*Mem)(nil)

// NewMem is an empty file system of unbounded size.
func NewMem() *Mem {
	return &Mem{root: newDirNode(), locked: map[string]bool{}}
}

// SetCapacity bounds the file system: blocks beyond so many bytes are refused with ENOSPC. 0 takes the bound away.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// walk finds the folder of name and name's last element ("" for the root itself). The lock is held.
func (m *Mem) walk(op, name string) (dir *memNode, base string, err error) {
	dir = m.root
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
	for i, p := range parts {
		if p == "." {
			continue
		}
		if i == len(parts)-1 {
			return dir, p, nil
		}
		next := dir.children[p]
		if next == nil {
			return nil, "", &os.PathError{Op: op, Path: name, Err: syscall.ENOENT}
		}
		if !next.isDir {
			return nil, "", &os.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
		dir = next
	}
	return dir, "", nil
}

// lookup finds the node of name. The lock is held.
func (m *Mem) lookup(op, name string) (*memNode, error) {
	dir, base, err := m.walk(op, name)
	if err != nil {
		return nil, err
	}
	if base == "" {
		return dir, nil
	}
	n := dir.children[base]
	if n == nil {
		return nil, &os.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	}
	return n, nil
}

// OpenFile is os.OpenFile; files opened with ODirect refuse unaligned reads and writes with EINVAL as Linux does.
func (m *Mem) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.walk("open", name)
	if err != nil {
		return nil, err
	}
	writable := flag&(os.O_RDWR|os.O_WRONLY) != 0
	if base == "" {
		if writable {
			return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
		}
		return &memFile{fs: m, name: "/", n: dir}, nil
	}
	n := dir.children[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case n == nil:
		n = &memNode{mode: perm, modTime: time.Now()}
		dir.set(base, n)
	case flag&os.O_EXCL != 0 && flag&os.O_CREATE != 0:
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case n.isDir && writable:
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case flag&os.O_TRUNC != 0:
		m.used += n.truncate()
	}
	return &memFile{fs: m, name: base, n: n, write: writable, direct: flag&ODirect != 0 && ODirect != 0}, nil
}

// Create makes a new file in place of whatever had the name.
func (m *Mem) Create(name string, _ Category) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.walk("create", name)
	if err != nil {
		return nil, err
	}
	old := dir.children[base]
	if base == "" || (old != nil && old.isDir) {
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.EISDIR}
	}
	n := &memNode{mode: 0o666, modTime: time.Now()}
	dir.set(base, n)
	m.unlinked(old)
	return &memFile{fs: m, name: base, n: n, write: true}, nil
}

// Open opens for reading.
func (m *Mem) Open(name string, opts ...openOption) (File, error) {
	return m.OpenFile(name, os.O_RDONLY, 0)
}

// OpenReadWrite opens, or creates, for reading and writing.
func (m *Mem) OpenReadWrite(name string, _ Category, opts ...openOption) (File, error) {
	return m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
}

// OpenDir opens a folder for syncing.
func (m *Mem) OpenDir(name string) (File, error) { return m.OpenFile(name, os.O_RDONLY, 0) }

// Link gives a file a second name.
func (m *Mem) Link(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("link", oldname)
	if err != nil {
		return err
	}
	dir, base, err := m.walk("link", newname)
	if err != nil {
		return err
	}
	if base == "" || dir.children[base] != nil {
		return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: syscall.EEXIST}
	}
	n.links++
	dir.set(base, n)
	return nil
}

// Remove removes a file or an empty folder.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.walk("remove", name)
	if err != nil {
		return err
	}
	n := dir.children[base]
	switch {
	case n == nil:
		return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	case len(n.children) > 0:
		return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	dir.set(base, nil)
	m.unlinked(n)
	return nil
}

// RemoveAll removes a name and all below it.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.walk("removeall", name)
	if IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if n := dir.children[base]; n != nil {
		dir.set(base, nil)
		m.unlinked(n)
	}
	return nil
}

// unlinked gives back the space of a node that lost a name. Open files of it stay readable.
func (m *Mem) unlinked(n *memNode) {
	if n == nil {
		return
	}
	for _, c := range n.children {
		m.unlinked(c)
	}
	if n.links--; n.links < 0 {
		m.used -= n.allocated()
		n.gone = true
	}
}

// Rename gives a file or folder another name, taking it from whatever had it.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldbase, err := m.walk("rename", oldname)
	if err != nil {
		return err
	}
	to, newbase, err := m.walk("rename", newname)
	if err != nil {
		return err
	}
	n := from.children[oldbase]
	if n == nil || newbase == "" {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: syscall.ENOENT}
	}
	old := to.children[newbase]
	if old == n {
		return nil
	}
	renameNode(from, oldbase, to, newbase, n)
	m.unlinked(old)
	return nil
}

// ReuseForWrite renames and opens without truncation.
func (m *Mem) ReuseForWrite(oldname, newname string, c Category) (File, error) {
	if err := m.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return m.OpenReadWrite(newname, c)
}

// MkdirAll makes a folder and its parents.
func (m *Mem) MkdirAll(name string, perm os.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := m.root
	for _, p := range strings.FieldsFunc(name, func(r rune) bool { return r == '/' }) {
		if p == "." {
			continue
		}
		next := dir.children[p]
		if next == nil {
			next = newDirNode()
			dir.set(p, next)
		}
		if !next.isDir {
			return &os.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		dir = next
	}
	return nil
}

// Lock takes a name for exclusive use until the closer is closed.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenReadWrite(name, CategoryUnspecified)
	if err != nil {
		return nil, err
	}
	f.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked[name] {
		return nil, fmt.Errorf("%s is locked", name)
	}
	m.locked[name] = true
	return &memLock{m, name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locked, l.name)
	return nil
}

// List gives the names in a folder, unordered.
func (m *Mem) List(name string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if !n.isDir {
		return nil, &os.PathError{Op: "list", Path: name, Err: syscall.ENOTDIR}
	}
	names := make([]string, 0, len(n.children))
	for c := range n.children {
		names = append(names, c)
	}
	return names, nil
}

// Stat describes a file or folder.
func (m *Mem) Stat(name string) (FileInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(m.PathBase(name)), nil
}

// PathBase, PathJoin and PathDir are those of slash-separated paths.
func (m *Mem) PathBase(p string) string { return pathBase(p) }

// PathJoin joins elements with slashes.
func (m *Mem) PathJoin(elem ...string) string { return pathJoin(elem...) }

// PathDir is all but the last element.
func (m *Mem) PathDir(p string) string { return pathDir(p) }

// GetDiskUsage tells the capacity (1 TiB when unbounded) and what is used of it.
func (m *Mem) GetDiskUsage(string) (DiskUsage, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	total := m.capacity
	if total == 0 {
		total = 1 << 40
	}
	return DiskUsage{AvailBytes: uint64(max(0, total-m.used)), TotalBytes: uint64(total), UsedBytes: uint64(m.used)}, nil
}

// Unwrap is nil: Mem is no wrapper.
func (m *Mem) Unwrap() FS { return nil }

package vfs

import (
	"io"
	"os"
	"sync/atomic"
	"time"
)

// OpKind is what an operation does.
type OpKind uint8

// The kinds of operations that an Inject wrapper sees. Reads are those that leave the disk as it is.
const (
	OpCreate OpKind = iota // Create, and OpenFile or OpenReadWrite of a file that was not there
	OpOpen
	OpLink
	OpRemove
	OpRename
	OpMkdir
	OpWrite
	OpPreallocate
	OpSync // Sync, SyncData and SyncTo of a file
	OpSyncDir
	OpStartSync
	OpRead
	OpStat // Stat, List, GetDiskUsage
	OpClose
	opKinds
)

var opNames = [opKinds]string{"create", "open", "link", "remove", "rename", "mkdir", "write", "preallocate", "sync", "syncdir", "startsync", "read", "stat", "close"}

func (k OpKind) String() string { return opNames[k] }

// Changes says whether the operation can change what a crash would leave.
func (k OpKind) Changes() bool { return k <= OpSyncDir && k != OpOpen }

// Op is one operation on a file system.
type Op struct {
	N    int64 // its number, from 1, counting all operations of the wrapper
	Kind OpKind
	Path string
	Off  int64 // of reads and writes, in bytes
	Len  int   // of reads and writes, in bytes
}

// Fault is what happens to an operation; the zero value lets it be.
type Fault struct {
	Err   error         // it fails with this and is not done, apart from Short
	Short int           // with Err: bytes of a write that are written first
	Delay time.Duration // it waits so long first
}

// Hooks watch and disturb operations. Either may be nil. They are called without locks, from whichever goroutine operates.
type Hooks struct {
	Before func(Op) Fault
	After  func(Op, error)
}

// Inject is a file system that shows every operation to its hooks.
type Inject struct {
	FS
	hooks atomic.Pointer[Hooks]
	ops   atomic.Int64
}

var _ interface {
	FS
	Opener
} = (*Inject)(nil)

// NewInject wraps fs.
func NewInject(fs FS, h Hooks) *Inject {
	in := &Inject{FS: fs}
	in.SetHooks(h)
	return in
}

// SetHooks replaces the hooks from the next operation on.
func (in *Inject) SetHooks(h Hooks) { in.hooks.Store(&h) }

// Ops is the number of operations seen.
func (in *Inject) Ops() int64 { return in.ops.Load() }

// Unwrap is the file system below.
func (in *Inject) Unwrap() FS { return in.FS }

func (in *Inject) do(op Op, act func(Fault) error) error {
	op.N = in.ops.Add(1)
	h := in.hooks.Load()
	var flt Fault
	if h.Before != nil {
		flt = h.Before(op)
	}
	if flt.Delay > 0 {
		time.Sleep(flt.Delay)
	}
	err := flt.Err
	if err == nil || (op.Kind == OpWrite && flt.Short > 0) {
		err = act(flt)
	}
	if h.After != nil {
		h.After(op, err)
	}
	return err
}

func (in *Inject) file(kind OpKind, name string, open func() (File, error)) (File, error) {
	var f File
	err := in.do(Op{Kind: kind, Path: name}, func(Fault) (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return &injectFile{File: f, in: in, path: name}, nil
}

func (in *Inject) createOrOpen(name string) OpKind {
	if _, err := in.FS.Stat(name); err != nil {
		return OpCreate
	}
	return OpOpen
}

func (in *Inject) Create(name string, c Category) (File, error) {
	return in.file(OpCreate, name, func() (File, error) { return in.FS.Create(name, c) })
}

func (in *Inject) Open(name string, opts ...openOption) (File, error) {
	return in.file(OpOpen, name, func() (File, error) { return in.FS.Open(name, opts...) })
}

func (in *Inject) OpenReadWrite(name string, c Category, opts ...openOption) (File, error) {
	return in.file(in.createOrOpen(name), name, func() (File, error) { return in.FS.OpenReadWrite(name, c, opts...) })
}

// OpenFile passes on to the file system below; see Opener.
func (in *Inject) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	kind := OpOpen
	if flag&os.O_CREATE != 0 {
		kind = in.createOrOpen(name)
	}
	return in.file(kind, name, func() (File, error) { return OpenFile(in.FS, name, flag, perm) })
}

func (in *Inject) OpenDir(name string) (File, error) {
	f, err := in.file(OpOpen, name, func() (File, error) { return in.FS.OpenDir(name) })
	if err != nil {
		return nil, err
	}
	f.(*injectFile).dir = true
	return f, nil
}

func (in *Inject) ReuseForWrite(oldname, newname string, c Category) (File, error) {
	return in.file(OpRename, newname, func() (File, error) { return in.FS.ReuseForWrite(oldname, newname, c) })
}

func (in *Inject) Link(oldname, newname string) error {
	return in.do(Op{Kind: OpLink, Path: newname}, func(Fault) error { return in.FS.Link(oldname, newname) })
}

func (in *Inject) Remove(name string) error {
	return in.do(Op{Kind: OpRemove, Path: name}, func(Fault) error { return in.FS.Remove(name) })
}

func (in *Inject) RemoveAll(name string) error {
	return in.do(Op{Kind: OpRemove, Path: name}, func(Fault) error { return in.FS.RemoveAll(name) })
}

func (in *Inject) Rename(oldname, newname string) error {
	return in.do(Op{Kind: OpRename, Path: newname}, func(Fault) error { return in.FS.Rename(oldname, newname) })
}

func (in *Inject) MkdirAll(dir string, perm os.FileMode) error {
	return in.do(Op{Kind: OpMkdir, Path: dir}, func(Fault) error { return in.FS.MkdirAll(dir, perm) })
}

func (in *Inject) Lock(name string) (c io.Closer, err error) {
	err = in.do(Op{Kind: OpOpen, Path: name}, func(Fault) (err error) {
		c, err = in.FS.Lock(name)
		return err
	})
	return c, err
}

func (in *Inject) List(dir string) (names []string, err error) {
	err = in.do(Op{Kind: OpStat, Path: dir}, func(Fault) (err error) {
		names, err = in.FS.List(dir)
		return err
	})
	return names, err
}

func (in *Inject) Stat(name string) (fi FileInfo, err error) {
	err = in.do(Op{Kind: OpStat, Path: name}, func(Fault) (err error) {
		fi, err = in.FS.Stat(name)
		return err
	})
	return fi, err
}

func (in *Inject) GetDiskUsage(name string) (u DiskUsage, err error) {
	err = in.do(Op{Kind: OpStat, Path: name}, func(Fault) (err error) {
		u, err = in.FS.GetDiskUsage(name)
		return err
	})
	return u, err
}

// injectFile is an open file of an Inject.
type injectFile struct {
	File
	in   *Inject
	path string
	dir  bool
}

func (f *injectFile) Close() error {
	return f.in.do(Op{Kind: OpClose, Path: f.path}, func(Fault) error { return f.File.Close() })
}

func (f *injectFile) Read(p []byte) (n int, err error) {
	err = f.in.do(Op{Kind: OpRead, Path: f.path, Off: -1, Len: len(p)}, func(Fault) (err error) {
		n, err = f.File.Read(p)
		return err
	})
	return n, err
}

func (f *injectFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.in.do(Op{Kind: OpRead, Path: f.path, Off: off, Len: len(p)}, func(Fault) (err error) {
		n, err = f.File.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *injectFile) Write(p []byte) (int, error) {
	return f.write(p, -1, f.File.Write)
}

func (f *injectFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, off, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *injectFile) write(p []byte, off int64, w func([]byte) (int, error)) (n int, err error) {
	err = f.in.do(Op{Kind: OpWrite, Path: f.path, Off: off, Len: len(p)}, func(flt Fault) (err error) {
		if flt.Err == nil {
			n, err = w(p)
			return err
		}
		if n, err = w(p[:min(flt.Short, len(p))]); err != nil {
			return err
		}
		return flt.Err
	})
	return n, err
}

func (f *injectFile) sync(act func() error) error {
	kind := OpSync
	if f.dir {
		kind = OpSyncDir
	}
	return f.in.do(Op{Kind: kind, Path: f.path}, func(Fault) error { return act() })
}

func (f *injectFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *injectFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *injectFile) SyncTo(n int64) (full bool, err error) {
	err = f.sync(func() (err error) {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}

func (f *injectFile) StartSync(off, length int64) error {
	return f.in.do(Op{Kind: OpStartSync, Path: f.path, Off: off, Len: int(length)}, func(Fault) error { return StartSync(f.File, off, length) })
}

func (f *injectFile) Preallocate(off, length int64) error {
	return f.in.do(Op{Kind: OpPreallocate, Path: f.path, Off: off, Len: int(length)}, func(Fault) error { return f.File.Preallocate(off, length) })
}

// Fallocate passes on to the file below; see Preallocate.
func (f *injectFile) Fallocate(length int64) error {
	return f.in.do(Op{Kind: OpPreallocate, Path: f.path, Len: int(length)}, func(Fault) error { return Preallocate(f.File, length) })
}

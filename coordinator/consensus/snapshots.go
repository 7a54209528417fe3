package consensus

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// A snapshot is a folder:
//
//	<index, 20 digits>-<term, 20 digits>-<made, ms>/
//	    META   sealed JSON of raft.SnapshotMeta
//	    db/    a store of its own, its tables hard links to those of the live one
//
// It is made as "<id>.tmp" and renamed when all of it is durable. META.Size is the length of the tar stream that carries db/.
const (
	snapshotMagic   = "mkvsnap\x01"
	snapshotMeta    = "META"
	snapshotDB      = "db"
	tmpSuffix       = ".tmp"
	badSuffix       = ".bad"
	snapshotsRetain = 2
)

// snapshotStore is Raft's SnapshotStore.
type snapshotStore struct {
	fs  vfs.FS
	dir string
	now func() time.Time

	mu   sync.Mutex // guards open and the folder's entries
	open map[string]int
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// openSnapshots opens the folder and removes what a crash left half-made.
func openSnapshots(fs vfs.FS, dir string) (*snapshotStore, error) {
	const op = "consensus.openSnapshots"
	if err := vfs.MkdirAll(fs, dir, 0o700); err != nil {
		return nil, errs.Wrap(op, err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) {
			if err := fs.RemoveAll(fs.PathJoin(dir, name)); err != nil {
				return nil, errs.Wrap(op, err)
			}
		}
	}
	return &snapshotStore{fs: fs, dir: dir, now: time.Now, open: map[string]int{}}, nil
}

// Create begins a snapshot. Raft's FSM fills it by checkpoint, or a leader's stream by Write.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64,
	_ raft.Transport) (raft.SnapshotSink, error) {
	const op = "consensus.snapshotStore.Create"
	if version != 1 {
		return nil, errs.E(op, errs.Unsupported, "snapshot version %d", version)
	}
	id := fmt.Sprintf("%020d-%020d-%d", index, term, s.now().UnixMilli())
	k := &sink{s: s, tmp: s.fs.PathJoin(s.dir, id+tmpSuffix), meta: raft.SnapshotMeta{
		Version: version, ID: id, Index: index, Term: term, Configuration: c, ConfigurationIndex: cIndex,
	}}
	if err := s.fs.RemoveAll(k.tmp); err != nil {
		return nil, errs.Wrap(op, err)
	}
	if err := s.fs.MkdirAll(k.tmp, 0o700); err != nil {
		return nil, errs.Wrap(op, err)
	}
	return k, nil
}

// List gives the snapshots, newest first. Names sort as (index, term, time).
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	metas := make([]*raft.SnapshotMeta, 0, len(ids))
	for _, id := range ids {
		m, err := s.readMeta(id)
		if err != nil {
			return nil, errs.Wrap("consensus.snapshotStore.List", err)
		}
		metas = append(metas, m)
	}
	return metas, nil
}

// ids are the names of complete snapshots, newest first.
func (s *snapshotStore) ids() ([]string, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, errs.Wrap("consensus.snapshotStore", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		return strings.HasSuffix(n, tmpSuffix) || strings.HasSuffix(n, badSuffix)
	})
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func (s *snapshotStore) readMeta(id string) (*raft.SnapshotMeta, error) {
	b, err := readSealed(s.fs, s.fs.PathJoin(s.dir, id, snapshotMeta), snapshotMagic)
	if err != nil {
		return nil, err
	}
	m := new(raft.SnapshotMeta)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, errs.WrapKind("consensus.readMeta", errs.Corrupt, err)
	}
	if m.ID != id {
		return nil, errs.E("consensus.readMeta", errs.Corrupt, "snapshot %s says that it is %s", id, m.ID)
	}
	return m, nil
}

// setMembers replaces the group that a snapshot names.
func (s *snapshotStore) setMembers(id string, servers ...raft.Server) error {
	m, err := s.readMeta(id)
	if err != nil {
		return err
	}
	m.Configuration = raft.Configuration{Servers: servers}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeSealed(s.fs, s.fs.PathJoin(s.dir, id, snapshotMeta), snapshotMagic, b)
}

// Open streams a snapshot as tar. It stays until the reader is closed.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	const op = "consensus.snapshotStore.Open"
	s.mu.Lock()
	s.open[id]++
	s.mu.Unlock()
	m, err := s.readMeta(id)
	if err != nil {
		s.release(id)
		return nil, nil, errs.Wrap(op, err)
	}
	r, err := tarDir(s.fs, s.fs.PathJoin(s.dir, id, snapshotDB))
	if err != nil {
		s.release(id)
		return nil, nil, errs.Wrap(op, err)
	}
	return m, &snapshotReader{ReadCloser: r, release: sync.OnceFunc(func() { s.release(id) })}, nil
}

func (s *snapshotStore) release(id string) {
	s.mu.Lock()
	if s.open[id]--; s.open[id] == 0 {
		delete(s.open, id)
	}
	s.mu.Unlock()
	s.reap()
}

type snapshotReader struct {
	io.ReadCloser
	release func()
}

func (r *snapshotReader) Close() error {
	err := r.ReadCloser.Close()
	r.release()
	return err
}

// reap removes all but the newest snapshots, except those being read. A failure leaves them for the next time.
func (s *snapshotStore) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, err := s.ids()
	if err != nil || len(ids) <= snapshotsRetain {
		return
	}
	for _, id := range ids[snapshotsRetain:] {
		if s.open[id] == 0 {
			s.remove(id)
		}
	}
}

// remove renames first, so that a crash never leaves half a snapshot under a good name.
func (s *snapshotStore) remove(id string) {
	from, tmp := s.fs.PathJoin(s.dir, id), s.fs.PathJoin(s.dir, id+tmpSuffix)
	if s.fs.Rename(from, tmp) == nil && vfs.SyncDir(s.fs, s.dir) == nil {
		s.fs.RemoveAll(tmp)
	}
}

// setAside takes a snapshot that can't be used out of the list, and keeps it for people.
func (s *snapshotStore) setAside(id string) error {
	from := s.fs.PathJoin(s.dir, id)
	if err := s.fs.Rename(from, from+badSuffix); err != nil {
		return err
	}
	return vfs.SyncDir(s.fs, s.dir)
}

// sink is a snapshot in the making.
type sink struct {
	s    *snapshotStore
	tmp  string
	meta raft.SnapshotMeta
	in   *untar // when it comes as a stream
	done bool
}

var _ raft.SnapshotSink = (*sink)(nil)

// ID is the name it will have.
func (k *sink) ID() string { return k.meta.ID }

// checkpoint lets f make the store, in a folder that does not exist yet.
func (k *sink) checkpoint(f func(dir string) error) error {
	return f(k.s.fs.PathJoin(k.tmp, snapshotDB))
}

// Write takes a tar stream.
func (k *sink) Write(p []byte) (int, error) {
	if k.in == nil {
		k.in = newUntar(k.s.fs, k.s.fs.PathJoin(k.tmp, snapshotDB))
	}
	return k.in.Write(p)
}

// Close makes the snapshot durable and then visible.
func (k *sink) Close() error {
	if k.done {
		return nil
	}
	if err := k.finish(); err != nil {
		k.Cancel()
		return errs.Wrap("consensus.sink.Close", err)
	}
	k.done = true
	k.s.reap()
	return nil
}

func (k *sink) finish() error {
	fs := k.s.fs
	if k.in != nil {
		if err := k.in.Close(); err != nil {
			return err
		}
		k.in = nil
	}
	size, err := tarSize(fs, fs.PathJoin(k.tmp, snapshotDB))
	if err != nil {
		return err
	}
	k.meta.Size = size
	b, err := json.Marshal(k.meta)
	if err != nil {
		return err
	}
	if err := writeSealed(fs, fs.PathJoin(k.tmp, snapshotMeta), snapshotMagic, b); err != nil {
		return err
	}
	if err := fs.Rename(k.tmp, fs.PathJoin(k.s.dir, k.meta.ID)); err != nil {
		return err
	}
	return vfs.SyncDir(fs, k.s.dir)
}

// Cancel drops it.
func (k *sink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	if k.in != nil {
		k.in.Abort()
	}
	return k.s.fs.RemoveAll(k.tmp)
}

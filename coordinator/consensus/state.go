package consensus

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"sync"

	"minikv/coordinator/kv"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// The live store is a folder beside others that failed or were replaced; CURRENT, a sealed file, names it. Restoring builds a
// new folder and then replaces CURRENT.
const (
	currentMagic = "mkvcurr\x01"
	currentName  = "CURRENT"
	// snapshotRow is a row of this replica's own: the index of the newest snapshot that its tables are known to cover. Raft
	// counts entries that never reach the state machine, so it may be above the applied index; the higher counts.
	snapshotRow = "snapshot"
)

// state is the live state machine, which a restore replaces.
type state struct {
	fs   vfs.FS
	dir  string
	opts kv.Options

	mu      sync.RWMutex // held shared by whoever uses db or machine
	number  uint64       // of the live folder
	db      *kv.DB
	machine *meta.Machine
}

// openState opens the live store, or an empty one when there never was any. What CURRENT does not name is removed.
func openState(fs vfs.FS, dir string, opts kv.Options) (*state, error) {
	const op = "consensus.openState"
	if err := vfs.MkdirAll(fs, dir, 0o700); err != nil {
		return nil, errs.Wrap(op, err)
	}
	s := &state{fs: fs, dir: dir, opts: opts}
	b, err := readSealed(fs, fs.PathJoin(dir, currentName), currentMagic)
	switch {
	case vfs.IsNotExist(err):
		b = []byte("0")
	case err != nil:
		return nil, errs.Wrap(op, err)
	}
	if s.number, err = strconv.ParseUint(string(b), 10, 64); err != nil {
		return nil, errs.WrapKind(op, errs.Corrupt, err)
	}
	if err := s.removeOthers(); err != nil {
		return nil, errs.Wrap(op, err)
	}
	if s.number == 0 {
		// Nothing was flushed there that a CURRENT would name; the log has it all.
		if err := s.switchTo(1); err != nil {
			return nil, errs.Wrap(op, err)
		}
		return s, nil
	}
	s.db, s.machine, err = s.openNumber(s.number)
	return s, errs.Wrap(op, err)
}

func (s *state) path(number uint64) string { return s.fs.PathJoin(s.dir, fmt.Sprintf("%06d", number)) }

func (s *state) removeOthers() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == currentName || (s.number > 0 && name == fmt.Sprintf("%06d", s.number)) {
			continue
		}
		if err := s.fs.RemoveAll(s.fs.PathJoin(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) openNumber(number uint64) (*kv.DB, *meta.Machine, error) {
	db, err := kv.Open(markerFS{s.fs}, s.path(number), s.opts)
	if err != nil {
		return nil, nil, err
	}
	m, err := meta.New(db)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, m, nil
}

// switchTo opens the folder and makes it the live one, durably, in place of the present one. Callers hold mu or are alone.
func (s *state) switchTo(number uint64) error {
	db, m, err := s.openNumber(number)
	if err != nil {
		return err
	}
	err = vfs.SyncDir(s.fs, s.dir)
	if err == nil {
		err = writeSealed(s.fs, s.fs.PathJoin(s.dir, currentName), currentMagic, strconv.AppendUint(nil, number, 10))
	}
	if err != nil {
		db.Close()
		return err
	}
	old, oldNumber := s.db, s.number
	s.db, s.machine, s.number = db, m, number
	if old != nil {
		old.Close()
		s.fs.RemoveAll(s.path(oldNumber))
	}
	return nil
}

// restore replaces the state by a snapshot's, at index or above. On error the present state stays.
func (s *state) restore(r io.Reader, index uint64) error {
	const op = "consensus.restore"
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.number + 1
	if err := s.fs.RemoveAll(s.path(next)); err != nil {
		return errs.Wrap(op, err)
	}
	if err := readTar(s.fs, s.path(next), r); err != nil {
		return errs.Wrap(op, err)
	}
	if err := s.checkCovers(next, index); err != nil {
		return errs.Wrap(op, err)
	}
	return errs.Wrap(op, s.switchTo(next))
}

// checkCovers refuses a store that is behind index. A damaged table ends the process: Pebble knows no other way.
func (s *state) checkCovers(number, index uint64) error {
	db, _, err := s.openNumber(number)
	if err != nil {
		return err
	}
	at, err := covered(db)
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err == nil && at < index {
		err = errs.E("consensus.restore", errs.Corrupt, "a snapshot at index %d holds the state at index %d", index, at)
	}
	return err
}

// covered is the index up to which db needs no entry of the log.
func covered(db *kv.DB) (uint64, error) {
	index, _, err := db.Applied()
	if err != nil {
		return 0, err
	}
	b, err := db.Local(snapshotRow)
	if err != nil || len(b) != 8 {
		return index, err
	}
	return max(index, binary.BigEndian.Uint64(b)), nil
}

func (s *state) covered() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return covered(s.db)
}

// persist makes dir a durable copy of the state at index or above, and the live store durable as far.
func (s *state) persist(dir string, index uint64) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.db.NewBatch()
	if err := b.SetLocal(snapshotRow, binary.BigEndian.AppendUint64(nil, index)); err != nil {
		b.Close()
		return err
	}
	if err := b.Commit(); err != nil {
		return err
	}
	// Checkpoint flushes first, so the live store is durable up to here too.
	if err := s.db.Checkpoint(dir); err != nil {
		return err
	}
	return vfs.SyncDir(s.fs, dir)
}

// read answers a query over the present state.
func (s *state) read(q *metapb.Query) (*metapb.Answer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.machine == nil {
		return nil, errs.E("consensus.read", errs.Unavailable, "closed")
	}
	return s.machine.Read(q)
}

func (s *state) hash() ([32]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.machine.Hash()
}

// close waits for readers.
func (s *state) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	err := s.db.Close()
	s.db, s.machine = nil, nil
	return err
}

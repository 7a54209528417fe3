package consensus

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

const (
	// walSegmentBytes is small enough to be filled with zeros and searched at a start in some milliseconds.
	walSegmentBytes = 16 << 20
	// appendHangMax ends the process when an append hangs, so that a stalled disk loses leadership.
	appendHangMax = 5 * time.Second
	// appendHangMaxSingle is for a single voter, who has nobody to lose the lead to: a disk that is busy with gigabytes of another's may
	// take long, and its clients would rather wait.
	appendHangMaxSingle = time.Minute
)

// logStore is Raft's log and stable store: raft-wal on our file system, a cache in front of it, and no failure that goes unseen.
type logStore struct {
	wal      *wal.WAL
	meta     *walMeta
	filer    *filer
	cache    *logCache
	fatal    func(error)
	hangMax  time.Duration
	appended atomic.Uint64 // bytes since the start, for the snapshot trigger
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

type logOptions struct {
	fs           vfs.FS
	dir          string
	logger       hclog.Logger
	fatal        func(error)
	segmentBytes int
	cacheBytes   int
	hangMax      time.Duration
	reserveOnly  bool // make segments without filling them, for comparison
}

// openLog opens, repairs and checks the whole log in dir, which is created when it is missing.
func openLog(o logOptions) (*logStore, error) {
	const op = "consensus.openLog"
	if err := vfs.MkdirAll(o.fs, o.dir, 0o700); err != nil {
		return nil, errs.Wrap(op, err)
	}
	m, err := openWALMeta(o.fs, o.dir, o.fatal)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if err := repairTail(o.fs, o.dir, m); err != nil {
		return nil, errs.Wrap(op, err)
	}
	if err := m.certify(0); err != nil {
		return nil, errs.Wrap(op, err)
	}
	f, err := newFiler(o.fs, o.dir, o.fatal)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	f.spare.ended = o.reserveOnly
	s := &logStore{meta: m, filer: f, cache: newLogCache(o.cacheBytes), fatal: o.fatal, hangMax: o.hangMax}
	s.wal, err = wal.Open(o.dir, wal.WithCodec(codec{}), wal.WithMetaStore(m), wal.WithSegmentFiler(s.filer),
		wal.WithSegmentSize(o.segmentBytes), wal.WithLogger(o.logger))
	if err != nil {
		f.close()
		return nil, errs.Wrap(op, err)
	}
	if err := s.verify(); err != nil {
		f.close()
		s.wal.Close()
		return nil, errs.Wrap(op, err)
	}
	return s, nil
}

// verify reads every entry once (bounded by the snapshot trigger and the trailing entries), so that damage is an error at the
// start and not a panic in Raft later.
func (s *logStore) verify() error {
	first, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	for i := first; i != 0 && i <= last; i++ {
		var l raft.Log
		if err := s.wal.GetLog(i, &l); err != nil {
			return fmt.Errorf("reading entry %d of %d to %d: %w", i, first, last, err)
		}
		if l.Index != i {
			return errs.E("consensus.verify", errs.Corrupt, "entry %d says that it is entry %d", i, l.Index)
		}
	}
	return nil
}

// IsMonotonic is raft-wal's answer; without it Raft would leave gaps.
func (s *logStore) IsMonotonic() bool { return s.wal.IsMonotonic() }

// FirstIndex is the oldest entry, 0 without any.
func (s *logStore) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }

// LastIndex is the newest entry, 0 without any.
func (s *logStore) LastIndex() (uint64, error) { return s.wal.LastIndex() }

// GetLog reads an entry, checked; anything but absence and closing is fatal.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	if s.cache.get(index, l) {
		return nil
	}
	// raft-wal goes on reading entries cut off the head while their segment is the tail.
	if first, err := s.wal.FirstIndex(); err != nil || index < first {
		return cmp.Or(err, raft.ErrLogNotFound)
	}
	err := s.wal.GetLog(index, l)
	if err == nil && l.Index != index {
		err = errs.E("consensus.GetLog", errs.Corrupt, "entry %d says that it is entry %d", index, l.Index)
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) && !errors.Is(err, wal.ErrClosed) {
		s.fatal(fmt.Errorf("reading entry %d of the Raft log: %w", index, err))
	}
	return err
}

// StoreLog appends one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries durably. Any error and any hang is fatal: what is on disk is unknown then.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	watchdog := time.AfterFunc(s.hangMax, func() {
		s.fatal(errs.E("consensus.StoreLogs", errs.Timeout, "an append to the Raft log hangs for more than %v", s.hangMax))
	})
	err := s.wal.StoreLogs(logs)
	watchdog.Stop()
	if err != nil {
		if !errors.Is(err, wal.ErrClosed) {
			s.fatal(fmt.Errorf("appending to the Raft log: %w", err))
		}
		return err
	}
	n := 0
	for _, l := range logs {
		n += logBytes(l)
	}
	s.appended.Add(uint64(n))
	s.cache.add(logs)
	return nil
}

// DeleteRange cuts the log at one of its ends.
func (s *logStore) DeleteRange(low, high uint64) error {
	s.filer.awaitRotation()
	s.cache.remove(low, high)
	err := s.wal.DeleteRange(low, high)
	if err != nil && !errors.Is(err, wal.ErrClosed) {
		s.fatal(fmt.Errorf("cutting the Raft log: %w", err))
	}
	return err
}

// Set stores a value durably.
func (s *logStore) Set(key, value []byte) error { return s.wal.Set(key, value) }

// Get reads a value; empty when it was never set.
func (s *logStore) Get(key []byte) ([]byte, error) { return s.wal.Get(key) }

// SetUint64 stores a number durably.
func (s *logStore) SetUint64(key []byte, v uint64) error { return s.wal.SetUint64(key, v) }

// GetUint64 reads a number; 0 when it was never set.
func (s *logStore) GetUint64(key []byte) (uint64, error) { return s.wal.GetUint64(key) }

// dropBelow empties a log that ends before index: the crash came after a snapshot was stored and before Raft removed the
// entries it replaced, and the next append would leave a gap.
func (s *logStore) dropBelow(index uint64) error {
	last, err := s.LastIndex()
	if err != nil || last == 0 || last >= index {
		return err
	}
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	return s.DeleteRange(first, last)
}

// Close closes the files and certifies the last entry.
func (s *logStore) Close() error {
	last, err := s.wal.LastIndex()
	s.filer.close()
	if cerr := s.wal.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.meta.certify(last)
	}
	return err
}

package kv

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"minikv/internal/errs"
)

// Batch is a group of changes that become visible at once (K1). Reads see the store as of now with the batch's changes on top.
// Not for concurrent use.
type Batch struct {
	db *DB
	b  *pebble.Batch
}

// NewBatch makes an empty batch. It ends with Commit or Close.
func (d *DB) NewBatch() *Batch { return &Batch{db: d, b: d.p.NewIndexedBatch()} }

// Set gives key a value; both are copied.
func (b *Batch) Set(key, value []byte) error { return errs.Wrap("kv.Set", b.b.Set(key, value, nil)) }

// Delete removes key, there or not.
func (b *Batch) Delete(key []byte) error { return errs.Wrap("kv.Delete", b.b.Delete(key, nil)) }

// DeleteRange removes lower <= key < upper.
func (b *Batch) DeleteRange(lower, upper []byte) error {
	return errs.Wrap("kv.DeleteRange", b.b.DeleteRange(lower, upper, nil))
}

// Get appends the value of key to dst.
func (b *Batch) Get(dst, key []byte) (value []byte, found bool, err error) { return get(b.b, dst, key) }

// Iter goes through lower <= key < upper; it does not see changes made after it was opened.
func (b *Batch) Iter(lower, upper []byte) (*Iter, error) { return newIter(b.b, lower, upper) }

// SetApplied notes the Raft index and term that the store will stand at once the batch is committed.
func (b *Batch) SetApplied(index, term uint64) error {
	var v [appliedBytes]byte
	binary.BigEndian.PutUint64(v[:], index)
	binary.BigEndian.PutUint64(v[8:], term)
	return b.Set(appliedKey, v[:])
}

// SetLocal writes a row of this replica's own (K4). Durable with the next Flush.
func (b *Batch) SetLocal(name string, value []byte) error { return b.Set(localKey(name), value) }

// Len is the size of the batch in bytes; Count the number of changes.
func (b *Batch) Len() int { return b.b.Len() }

// Count is the number of changes in the batch.
func (b *Batch) Count() uint32 { return b.b.Count() }

// Commit makes the changes visible. They are durable after a later Flush or Checkpoint; until then the Raft log has them.
// The batch is closed, whatever the outcome.
func (b *Batch) Commit() error {
	err := b.b.Commit(pebble.NoSync)
	if cerr := b.b.Close(); err == nil {
		err = cerr
	}
	if oerr := b.db.outdate(); err == nil {
		err = oerr
	}
	return errs.Wrap("kv.Commit", err)
}

// Close drops a batch that is not to be committed.
func (b *Batch) Close() error { return errs.Wrap("kv.Close", b.b.Close()) }

// Snapshot is the state after some batch, unmoved by later ones. For concurrent use.
type Snapshot struct {
	s *pebble.Snapshot
}

// Snapshot pins the state of now. The caller closes it soon: it keeps old rows alive.
func (d *DB) Snapshot() *Snapshot { return &Snapshot{s: d.p.NewSnapshot()} }

// Get appends the value of key to dst.
func (s *Snapshot) Get(dst, key []byte) (value []byte, found bool, err error) {
	return get(s.s, dst, key)
}

// Iter goes through lower <= key < upper.
func (s *Snapshot) Iter(lower, upper []byte) (*Iter, error) { return newIter(s.s, lower, upper) }

// Applied is the Raft index and term of the snapshot's state.
func (s *Snapshot) Applied() (index, term uint64, err error) { return applied(s) }

// Close lets go of the state.
func (s *Snapshot) Close() error { return errs.Wrap("kv.Snapshot.Close", s.s.Close()) }

func (l logger) fatal(format string, args []any) {
	msg := fmt.Sprintf(format, args...)
	if l.onFatal != nil {
		l.onFatal(msg)
	}
	panic("kv: " + msg)
}

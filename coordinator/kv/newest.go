package kv

import (
	"errors"
	"sync/atomic"
)

// Newest is a snapshot of the newest state, shared by all who ask for it before the next batch is committed. Closing one of
// Pebble's makes it look for a compaction under its main lock: one for each read took 8 % of a small GET.
type Newest struct {
	Snapshot
	Index uint64 // of the state
	// Memo keeps what readers derive from the state; it goes with it.
	Memo atomic.Value

	db   *DB
	refs int // guarded by db.mu; the DB's own is one of them
}

// Newest pins the state after every batch whose Commit has returned. The caller closes it soon.
func (d *DB) Newest() (*Newest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.newest == nil {
		n := &Newest{Snapshot: *d.Snapshot(), db: d, refs: 1}
		var err error
		if n.Index, _, err = n.Applied(); err != nil {
			return nil, errors.Join(err, n.Snapshot.Close())
		}
		d.newest = n
	}
	d.newest.refs++
	return d.newest, nil
}

// Close lets go of the state.
func (n *Newest) Close() error {
	n.db.mu.Lock()
	n.refs--
	last := n.refs == 0
	n.db.mu.Unlock()
	if last {
		return n.Snapshot.Close()
	}
	return nil
}

// outdate makes the next reader pin a newer state. What those before have pinned stays until they close it.
func (d *DB) outdate() error {
	d.mu.Lock()
	n := d.newest
	d.newest = nil
	d.mu.Unlock()
	if n == nil {
		return nil
	}
	return n.Close()
}

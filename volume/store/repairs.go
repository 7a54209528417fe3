package store

import (
	"minikv/internal/object"
	"minikv/volume/index"
	"minikv/volume/segment"
)

// Bad is a blob whose bytes here fail their checksums, or cannot be read. Preparing it again, from a good replica, replaces it.
type Bad struct {
	ID      object.BlobID
	Segment string
	Offset  int64 // of its record
	Cause   string
}

// badMax bounds the list of repairs, at some 300 bytes each. What is found bad beyond it is found again when there is room.
const badMax = 1 << 16

// noteBad puts a blob on the list of repairs.
func (st *Store) noteBad(e *index.Entry, cause error) {
	s := (*st.segments.Load())[e.Segment]
	if s == nil {
		return
	}
	if st.bads.Load() >= badMax {
		st.Repairs() // lets those go that are no more
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, known := st.bad[e.ID]; !known {
		if len(st.bad) >= badMax {
			return
		}
		st.o.Logf("blob %s is bad: %v", e.ID, cause)
	}
	if st.bad == nil {
		st.bad = map[object.BlobID]Bad{}
	}
	st.bad[e.ID] = Bad{ID: e.ID, Segment: segment.Name(s.Number, s.Kind), Offset: e.Off(), Cause: cause.Error()}
	st.bads.Store(int64(len(st.bad)))
}

// isBad says whether a blob waits for repair.
func (st *Store) isBad(id object.BlobID) bool {
	if st.bads.Load() == 0 {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	_, bad := st.bad[id]
	return bad
}

// good takes a blob off the list.
func (st *Store) good(id object.BlobID) {
	if st.bads.Load() == 0 {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.bad, id)
	st.bads.Store(int64(len(st.bad)))
}

// Repairs lists the living blobs that reads, compaction and scrub found bad since the volume was opened, and forgets those that were
// deleted or moved since.
func (st *Store) Repairs() []Bad {
	st.mu.Lock()
	all := make([]Bad, 0, len(st.bad))
	for _, b := range st.bad {
		all = append(all, b)
	}
	st.mu.Unlock()
	var gone []object.BlobID
	living := all[:0]
	for _, b := range all {
		if e, ok, err := st.index.Get(b.ID); err != nil || (ok && e.State() < index.Dropped) {
			living = append(living, b)
		} else {
			gone = append(gone, b.ID)
		}
	}
	if len(gone) > 0 {
		st.mu.Lock()
		for _, id := range gone {
			delete(st.bad, id)
		}
		st.bads.Store(int64(len(st.bad)))
		st.mu.Unlock()
	}
	return living
}

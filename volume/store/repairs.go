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

// noteBad puts a blob on the list of repairs.
func (st *Store) noteBad(e *index.Entry, cause error) {
	s := (*st.segments.Load())[e.Segment]
	if s == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, known := st.bad[e.ID]; !known {
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

// Repairs lists the living blobs that reads, compaction and scrub found bad since the volume was opened.
func (st *Store) Repairs() []Bad {
	st.mu.Lock()
	all := make([]Bad, 0, len(st.bad))
	for _, b := range st.bad {
		all = append(all, b)
	}
	st.mu.Unlock()
	living := all[:0]
	for _, b := range all {
		if e, ok, err := st.index.Get(b.ID); err != nil || (ok && e.State() < index.Dropped) {
			living = append(living, b)
		}
	}
	return living
}

package store

import (
	"minikv/internal/object"
)

// Held tells, from memory alone, how long a blob is that lives here; bad says that it waits for repair. Errors: errs.BlobMissing, and
// those of the index.
func (st *Store) Held(id object.BlobID) (length int64, bad bool, err error) {
	e, s, err := st.locate(id)
	if s == nil {
		return 0, false, st.missing("store.Held", id, err)
	}
	s.Release()
	return int64(e.Length()), st.isBad(id), nil
}

// WhileLanded does something while no prepare or copy of the blob is on its way to the disk; it waits for those that are. Meanwhile readers see
// nothing of the blob that a failed sync would take back.
func (st *Store) WhileLanded(id object.BlobID, do func()) {
	for !st.flights.start(id) {
	}
	defer st.flights.land(id)
	do()
}

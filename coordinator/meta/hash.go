package meta

import (
	"encoding/binary"

	"github.com/minio/sha256-simd"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
)

// Hash is a SHA-256 over every replicated row, each with its lengths: equal on replicas that applied the same entries. It reads
// everything; for tests and occasional comparison.
func (m *Machine) Hash() ([32]byte, error) {
	var out [32]byte
	s := m.db.Snapshot()
	h := sha256.New()
	var n [8]byte
	err := scan(s, []byte{kv.LocalByte + 1}, nil, func(k, v []byte) (bool, error) {
		binary.BigEndian.PutUint32(n[:], uint32(len(k)))
		binary.BigEndian.PutUint32(n[4:], uint32(len(v)))
		h.Write(n[:])
		h.Write(k)
		h.Write(v)
		return true, nil
	})
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	h.Sum(out[:0])
	return out, errs.Wrap("meta.Hash", err)
}

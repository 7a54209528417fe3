package datadir

import (
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"strings"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

const (
	nodeIDName  = "node-id"
	nodeIDBytes = 16
)

// NodeID is 16 random bytes that name the directory; they are drawn at the first call. A node of a cluster tells them with its name, so that
// one that comes back with another directory, and two of one name, are noticed.
func (d *Dir) NodeID() ([]byte, error) {
	const op = "datadir.NodeID"
	name := filepath.Join(d.Path, nodeIDName)
	b, err := vfs.ReadFile(d.fs, name, smallFileMax)
	if vfs.IsNotExist(err) {
		id := make([]byte, nodeIDBytes)
		rand.Read(id) // never fails
		return id, errs.Wrap(op, vfs.AtomicWriteFile(d.fs, name, []byte(hex.EncodeToString(id)+"\n"), 0o600))
	}
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	id, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(id) != nodeIDBytes {
		return nil, errs.E(op, errs.Corrupt, "%s is damaged: remove it to have a new id drawn", name)
	}
	return id, nil
}

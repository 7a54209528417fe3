package consensus

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// The incarnation is 16 random bytes, drawn when a coordinator's folder is made. It is the server's id in Raft: a wiped
// coordinator has a new one and can't pass for the old, which may have voted or acknowledged what it no longer knows.
const (
	nodeMagic        = "mkvnode\x01"
	nodeName         = "NODE"
	incarnationBytes = 16
)

// openIncarnation reads the folder's incarnation, drawing it when the folder is empty.
func openIncarnation(fs vfs.FS, dir string) (raft.ServerID, error) {
	const op = "consensus.openIncarnation"
	if err := vfs.MkdirAll(fs, dir, 0o700); err != nil {
		return "", errs.Wrap(op, err)
	}
	name := fs.PathJoin(dir, nodeName)
	b, err := readSealed(fs, name, nodeMagic)
	if err == nil && len(b) != incarnationBytes {
		err = errs.E(op, errs.Corrupt, "%s has %d bytes", name, len(b))
	}
	if err == nil {
		return raft.ServerID(hex.EncodeToString(b)), nil
	}
	if !vfs.IsNotExist(err) {
		return "", errs.Wrap(op, err)
	}
	for _, sub := range []string{logDir, stateDir, snapshotDir} {
		if _, err := fs.Stat(fs.PathJoin(dir, sub)); err == nil {
			return "", errs.E(op, errs.Corrupt, "%s has %s but no %s", dir, sub, nodeName)
		}
	}
	b = make([]byte, incarnationBytes)
	rand.Read(b)
	return raft.ServerID(hex.EncodeToString(b)), errs.Wrap(op, writeSealed(fs, name, nodeMagic, b))
}

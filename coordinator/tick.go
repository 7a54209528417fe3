package coordinator

import (
	"encoding/binary"
	"time"

	"minikv/internal/vfs"
)

// tickFile remembers when this coordinator first saw the present epoch, so that restarts do not put off the next one. It is
// for liveness only: when it is lost or wrong, the next tick comes early or late.
//
//	| epoch, 8 bytes BE | Unix ms, 8 bytes BE |
const tickName = "TICK"

type tickFile struct {
	fs   vfs.FS
	name string
}

// due is when the epoch has lasted for the interval; now, when it was not seen before, is remembered.
func (t tickFile) due(epoch uint64, interval time.Duration, now time.Time) time.Time {
	b, err := vfs.ReadFile(t.fs, t.name, 16)
	if err == nil && len(b) == 16 && binary.BigEndian.Uint64(b) == epoch {
		since := time.UnixMilli(int64(binary.BigEndian.Uint64(b[8:])))
		if !since.After(now) {
			return since.Add(interval)
		}
	}
	b = binary.BigEndian.AppendUint64(nil, epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMilli()))
	_ = vfs.AtomicWriteFile(t.fs, t.name, b, 0o600) // a lost one only delays
	return now.Add(interval)
}

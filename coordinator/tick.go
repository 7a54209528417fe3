package coordinator

import (
	"encoding/binary"
	"sync"
	"time"

	"minikv/internal/vfs"
)

// epochAge is how long the present epoch has lasted while this coordinator ran, by a clock that is never set: a jump of the wall clock
// neither ticks the epoch nor puts a tick off. It is remembered, so that restarts do not put off the next tick for ever. It is for
// liveness only: when the file is lost or wrong, the next tick comes early or late.
//
//	| epoch, 8 bytes BE | milliseconds, 8 bytes BE |
type epochAge struct {
	fs   vfs.FS
	name string

	mu    sync.Mutex // guards what follows
	epoch uint64
	known bool
	had   time.Duration // of the epoch, before since
	since time.Duration // of the clock
}

const tickName = "TICK"

// of is the age of the epoch at a time of the clock; an epoch that was not seen before begins now.
func (a *epochAge) of(epoch uint64, now time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known || a.epoch != epoch {
		a.epoch, a.known, a.since = epoch, true, now
		a.had = a.load(epoch)
	}
	age := a.had + now - a.since
	a.save(age)
	return age
}

// keep remembers the age before the process ends.
func (a *epochAge) keep(now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known {
		a.save(a.had + now - a.since)
	}
}

func (a *epochAge) load(epoch uint64) time.Duration {
	b, err := vfs.ReadFile(a.fs, a.name, 16)
	if err != nil || len(b) != 16 || binary.BigEndian.Uint64(b) != epoch {
		return 0
	}
	return time.Duration(min(binary.BigEndian.Uint64(b[8:]), uint64(ageMax/time.Millisecond))) * time.Millisecond
}

// ageMax keeps a damaged file from overflowing.
const ageMax = 1000 * time.Hour

func (a *epochAge) save(age time.Duration) {
	b := binary.BigEndian.AppendUint64(nil, a.epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(age.Milliseconds()))
	_ = vfs.AtomicWriteFile(a.fs, a.name, b, 0o600) // a lost one only delays
}

package payload

import (
	"crypto/rand"
	"sync"

	"minikv/internal/object"
)

const runRandomBytes = 12

// bases draws the random bits of run bases, many at a time: one system call for 256 runs.
type bases struct {
	mu  sync.Mutex
	buf [256 * runRandomBytes]byte
	n   int // bytes left, at the end of buf
}

func (b *bases) next(pool uint8) object.RunBase {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == 0 {
		rand.Read(b.buf[:]) // never fails: it would end the process
		b.n = len(b.buf)
	}
	var r [runRandomBytes]byte
	used := b.buf[len(b.buf)-b.n:][:runRandomBytes]
	copy(r[:], used)
	clear(used)
	b.n -= runRandomBytes
	return object.NewRunBase(pool, r)
}

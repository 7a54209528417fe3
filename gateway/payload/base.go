package payload

import (
	"crypto/rand"
	"encoding/binary"
	"sync"

	"minikv/internal/object"
)

// baseBlock is how many runs share their random bits.
const baseBlock = 1 << 16

// bases names runs: the first 80 of their 96 bits are drawn once for 65,536 runs, the last 16 count. Ids that follow each other
// make rows that follow each other: with 96 new bits for each run, looking for and inserting its row among all others was a tenth
// of the CPU of a small PUT. Fewer draws also collide less: a block's 80 bits only ever have to differ from those of other blocks.
type bases struct {
	mu    sync.Mutex
	block [12]byte
	used  uint32 // of the block; 0: draw one
}

func (b *bases) next(pool uint8) object.RunBase {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used == 0 {
		rand.Read(b.block[:10]) // never fails: it would end the process
	}
	binary.BigEndian.PutUint16(b.block[10:], uint16(b.used))
	b.used = (b.used + 1) % baseBlock
	return object.NewRunBase(pool, b.block)
}

package payload

import "sync"

// Sizes of buffers, in bytes. A body starts small and takes larger ones once its client has shown that it sends.
const (
	chunkTiny   = 4 << 10
	chunkSmall  = 64 << 10
	chunkMiddle = 256 << 10
	chunkLarge  = 1 << 20
)

var chunkSizes = [...]int{chunkTiny, chunkSmall, chunkMiddle, chunkLarge}

// chunk is a pooled buffer that is paid for from a budget.
type chunk struct {
	buf   []byte // full length of its class
	class uint8
	paid  grant
}

var chunkPools [len(chunkSizes)]sync.Pool

// newChunk takes a buffer of the class from its pool; the caller has paid for it.
func newChunk(class int, paid grant) *chunk {
	c, _ := chunkPools[class].Get().(*chunk)
	if c == nil {
		c = &chunk{buf: make([]byte, chunkSizes[class]), class: uint8(class)}
	}
	c.paid = paid
	return c
}

// release gives the buffer to its pool and the bytes to their budget.
func (c *chunk) release() {
	paid := c.paid
	c.paid = grant{}
	chunkPools[c.class].Put(c)
	paid.release()
}

// smaller replaces a chunk by one of a smaller class and gives the difference to the budget.
func (c *chunk) smaller(class int) *chunk {
	paid := c.paid.part(int64(chunkSizes[class]))
	c.paid = grant{}
	chunkPools[c.class].Put(c)
	return newChunk(class, paid)
}

// classFor is the smallest class that holds n bytes, or the largest.
func classFor(n int) int {
	for class, size := range chunkSizes {
		if n <= size {
			return class
		}
	}
	return len(chunkSizes) - 1
}

// fillClass picks the next buffer of a blob of which rem bytes are still wanted, when the body has got bytes so far. Small first,
// so that a client that sends little holds little; never much more than rem.
func fillClass(got uint64, rem int) int {
	top := len(chunkSizes) - 1
	switch {
	case got < chunkSmall:
		top = 1
	case got < 512<<10:
		top = 2
	}
	if rem <= chunkSmall {
		return min(classFor(rem), top)
	}
	for top > 1 && chunkSizes[top] > rem {
		top--
	}
	return top
}

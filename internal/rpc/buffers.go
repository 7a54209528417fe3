package rpc

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

// bufferPool is the pool of all messages and of gRPC's receive buffers. gRPC's own pool clears every buffer it hands out, which
// for blobs is one more pass over memory; whoever takes a buffer here writes all of it before it is read.
type bufferPool struct {
	classes [classMax + 1]sync.Pool // by power of two
}

// Capacities are powers of two with room for a frame's header: 2^k + frameHeaderLen.
const (
	classMin = 8  // smaller ones are not worth pooling
	classMax = 20 // FrameMax
)

var buffers bufferPool

var _ mem.BufferPool = &buffers

func classOf(n int) int { return max(bits.Len(uint(max(n-frameHeaderLen, 1)-1)), classMin) }

// Get gives a buffer of n bytes with any content.
func (p *bufferPool) Get(n int) *[]byte {
	k := classOf(n)
	if k > classMax {
		b := make([]byte, n)
		return &b
	}
	if b, ok := p.classes[k].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, 1<<k+frameHeaderLen)
	return &b
}

// Put takes back a buffer that no one uses any more; others than Get's are left to the garbage collector.
func (p *bufferPool) Put(b *[]byte) {
	n := cap(*b)
	if k := classOf(n); k <= classMax && n == 1<<k+frameHeaderLen {
		p.classes[k].Put(b)
	}
}

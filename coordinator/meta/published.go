package meta

import "encoding/binary"

// Gateways name runs in blocks: all but the last 16 of a base's random bits are the same for a whole block (gateway/payload).
const (
	blockPrefixBytes = 1 + 10 // of a run's base: pool and the block's random bits
	blockRunsMax     = 1 << 16
	blocksCachedMax  = 64 // of 8 KiB each; a gateway uses one at a time
)

// published answers for most runs, without asking the store, that they have no row: looking for a row that is not there, among all
// others, was a fifth of applying a PutObject. It knows the blocks that had no row at all when it first heard of them; since then it
// was told of every row. A bit means "ask the store", so it may be set too often, and forgetting a block costs only time: what
// Apply decides never depends on it.
type published struct {
	blocks map[[blockPrefixBytes]byte]*blockRuns
}

// blockRuns is a set of runs; empty for a block that is not known from its beginning.
type blockRuns struct{ bits []uint64 }

func blockOf(base []byte) (block [blockPrefixBytes]byte, run uint16) {
	copy(block[:], base)
	return block, binary.BigEndian.Uint16(base[blockPrefixBytes:])
}

// note says that a run gets a row. Known blocks only: others are looked at when they are first asked for.
func (p *published) note(base []byte) {
	block, run := blockOf(base)
	if b := p.blocks[block]; b != nil && b.bits != nil {
		b.bits[run/64] |= 1 << (run % 64)
	}
}

// surelyNot says that the run has no row; false may mean anything.
func (p *published) surelyNot(t *txn, base []byte) (bool, error) {
	block, run := blockOf(base)
	b := p.blocks[block]
	if b == nil {
		if len(t.pending) > 0 {
			return false, nil // a scan does not see those
		}
		var err error
		if b, err = p.meet(t, block); err != nil {
			return false, err
		}
	}
	return b.bits != nil && b.bits[run/64]>>(run%64)&1 == 0, nil
}

// meet looks whether a block has rows.
func (p *published) meet(t *txn, block [blockPrefixBytes]byte) (*blockRuns, error) {
	b, empty := new(blockRuns), true
	err := scanTable(t.b, runKey(block[:]), func(_, _ []byte) (bool, error) {
		empty = false
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if empty {
		b.bits = make([]uint64, blockRunsMax/64)
	}
	for other := range p.blocks {
		if len(p.blocks) < blocksCachedMax {
			break
		}
		delete(p.blocks, other)
	}
	p.blocks[block] = b
	return b, nil
}

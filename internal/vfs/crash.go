package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Survival says what of the unsynced state a crash leaves.
type Survival struct {
	Percent int    // chance of each unsynced 4 KiB block and each unsynced change of a folder: 0, 50, 100
	Torn    bool   // blocks break at sectors of 512 bytes, each with that chance
	Seed    uint64 // of the choices
}

// Survivals are the rules that a crash test goes through.
var Survivals = []Survival{{Percent: 0}, {Percent: 50}, {Percent: 100}, {Percent: 50, Torn: true}}

const memSector = 512

// CrashClone is the file system as a crash at this moment would leave it: everything synced, and of the rest what s lets
// survive. With 100 percent it equals the present state, as after kill -9. No lock is held in the clone.
func (m *Mem) CrashClone(s Survival) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &cloner{Survival: s, rng: rand.New(rand.NewPCG(s.Seed, 1)), made: map[*memNode]*memNode{}}
	out := &Mem{locked: map[string]bool{}, capacity: m.capacity}
	out.root = c.clone(m.root)
	for _, n := range c.made {
		out.used += n.allocated()
	}
	return out
}

type cloner struct {
	Survival
	rng  *rand.Rand
	made map[*memNode]*memNode
}

func (c *cloner) lucky() bool {
	switch c.Percent {
	case 0:
		return false
	case 100:
		return true
	}
	return c.rng.IntN(100) < c.Percent
}

func (c *cloner) clone(n *memNode) *memNode {
	if done := c.made[n]; done != nil {
		done.links++
		return done
	}
	out := &memNode{isDir: n.isDir, mode: n.mode, modTime: n.modTime}
	c.made[n] = out
	if n.isDir {
		c.cloneDir(n, out)
	} else {
		c.cloneFile(n, out)
	}
	return out
}

func (c *cloner) cloneDir(n, out *memNode) {
	names := make(map[string]*memNode, len(n.syncedChildren))
	for name, child := range n.syncedChildren {
		names[name] = child
	}
	for _, op := range n.pending {
		if c.lucky() {
			applyNames(names, op)
		}
	}
	out.children = make(map[string]*memNode, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order: a seed repeats its choices
		out.children[name] = c.clone(names[name])
	}
	out.syncedChildren = make(map[string]*memNode, len(names))
	for name, child := range out.children {
		out.syncedChildren[name] = child
	}
}

func (c *cloner) cloneFile(n, out *memNode) {
	n.owned = nil // from here on the blocks are shared
	size := n.syncedSize
	blocks := append(make([][]byte, 0, max(len(n.blocks), len(n.syncedBlocks))), n.syncedBlocks...)
	for i, now := range n.blocks {
		if _, dirty := n.dirty[i]; !dirty {
			continue
		}
		for len(blocks) <= i {
			blocks = append(blocks, nil)
		}
		kept, end := c.survivor(blocks[i], now)
		blocks[i] = kept
		if end > 0 {
			size = max(size, min(n.size, int64(i)*memBlock+int64(end)))
		}
	}
	if n.size < size && c.lucky() {
		size = n.size // the truncation survived
		blocks = blocks[:min(len(blocks), int((size+memBlock-1)/memBlock))]
	}
	out.blocks, out.size = blocks, size
	out.syncedBlocks, out.syncedSize = append([][]byte(nil), blocks...), size
}

// survivor mixes the synced and the present content of a block; end is where the last surviving present byte ends.
func (c *cloner) survivor(old, now []byte) (kept []byte, end int) {
	if !c.Torn {
		if c.lucky() {
			return now, memBlock
		}
		return old, 0
	}
	kept = make([]byte, memBlock)
	copy(kept, old)
	for at := 0; at < memBlock; at += memSector {
		if c.lucky() {
			copy(kept[at:at+memSector], now[at:])
			end = at + memSector
		}
	}
	return kept, end
}

package consensus

import (
	"sync"

	"github.com/hashicorp/raft"
)

// logCacheBytesMax bounds the newest entries that are kept in memory for followers and for Apply.
const logCacheBytesMax = 32 << 20

// logCache is a run of consecutive entries, the newest ones, bounded by their bytes. Entries are shared with Raft, which never
// changes them once stored.
type logCache struct {
	mu    sync.RWMutex
	first uint64 // index of entries[0]
	logs  []*raft.Log
	bytes int
	max   int
}

func newLogCache(max int) *logCache { return &logCache{max: max} }

func logBytes(l *raft.Log) int { return len(l.Data) + len(l.Extensions) + 128 }

// get copies the entry with the index, if it is here.
func (c *logCache) get(index uint64, out *raft.Log) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if index < c.first || index-c.first >= uint64(len(c.logs)) {
		return false
	}
	*out = *c.logs[index-c.first]
	return true
}

// add appends consecutive entries that are durable.
func (c *logCache) add(logs []*raft.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range logs {
		if len(c.logs) == 0 || l.Index != c.first+uint64(len(c.logs)) {
			c.resetLocked()
			c.first = l.Index
		}
		kept := *l // the caller's may be part of something larger
		c.logs = append(c.logs, &kept)
		c.bytes += logBytes(l)
	}
	c.shrinkLocked()
}

func (c *logCache) shrinkLocked() {
	drop := 0
	for c.bytes > c.max && drop < len(c.logs) {
		c.bytes -= logBytes(c.logs[drop])
		c.logs[drop] = nil
		drop++
	}
	c.logs, c.first = c.logs[drop:], c.first+uint64(drop)
}

// remove forgets entries low to high.
func (c *logCache) remove(low, high uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.logs) == 0 || high < c.first || low >= c.first+uint64(len(c.logs)) {
		return
	}
	if low > c.first || high+1 >= c.first+uint64(len(c.logs)) {
		c.resetLocked() // a tail, a middle or all of it: rare
		return
	}
	n := int(high + 1 - c.first)
	for _, l := range c.logs[:n] {
		c.bytes -= logBytes(l)
	}
	clear(c.logs[:n])
	c.logs, c.first = c.logs[n:], high+1
}

func (c *logCache) resetLocked() { c.first, c.logs, c.bytes = 0, nil, 0 }

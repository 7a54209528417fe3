// Package placement decides which volumes hold a shard: pure functions from a topology to a shard table.
//
// Every (shard, volume) pair has a fixed pseudo-random score, weighted by the volume's capacity; a shard goes to the volumes of
// highest score, one per failure domain as far as there are enough (weighted highest random weight, or rendezvous hashing).
//
//	P1  The table depends on nothing but its arguments: not on the order of volumes, not on earlier tables.
//	P2  A new volume only takes replicas, a lost one only gives its own away (but for what failure domains force).
//	P3  A volume's share of the replicas follows its weight.
//	P4  No shard has a volume twice; no two replicas share a zone while an unused zone is left, nor a node while an unused node
//	    is left (Fill: no replica that it adds shares one with a kept or added one).
//
// Source: Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996; the weighted form is from Schindelhauer and
// Schomaker, "Weighted distributed hash tables", 2005.
package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Volume is a disk as placement sees it.
type Volume struct {
	Number uint32
	Weight float64 // any unit, for instance bytes of capacity; not above 0: takes nothing, and may be kept
	Node   string  // failure domain; empty: a node of its own
	Zone   string  // failure domain above nodes; empty: a zone of its own node
}

// Table places shards 0 to shards-1 with replication replicas each, fewer when there are fewer volumes. Replicas are in order
// of preference.
func Table(shards, replication uint32, volumes []Volume) [][]uint32 {
	table := make([][]uint32, shards)
	p := newPlacer(volumes)
	for s := range table {
		table[s] = p.shard(uint32(s), int(replication))
	}
	return table
}

// Shard is one row of Table.
func Shard(shard, replication uint32, volumes []Volume) []uint32 {
	return newPlacer(volumes).shard(shard, int(replication))
}

// Fill completes the volumes that a shard keeps to replication replicas, kept ones first: the others are those of highest score, in
// failure domains of their own as far as there are enough. Kept volumes that are not among the volumes are left out.
func Fill(shard, replication uint32, volumes []Volume, keep []uint32) []uint32 {
	return newPlacer(volumes).fill(shard, int(replication), keep)
}

type candidate struct {
	Volume
	closed bool // takes nothing
	score  float64
	taken  bool
}

type placer struct {
	all   []candidate
	nodes map[string]bool // used by the shard at hand
	zones map[string]bool
}

func newPlacer(volumes []Volume) *placer {
	p := &placer{nodes: make(map[string]bool), zones: make(map[string]bool)}
	for _, v := range volumes {
		closed := !(v.Weight > 0) || math.IsInf(v.Weight, 0)
		p.all = append(p.all, candidate{Volume: named(v), closed: closed})
	}
	return p
}

// named gives a volume without a node or zone one of its own.
func named(v Volume) Volume {
	if v.Node == "" {
		v.Node = fmt.Sprintf("%d\x00volume", v.Number)
	}
	if v.Zone == "" {
		v.Zone = v.Node + "\x00node"
	}
	return v
}

func (p *placer) shard(shard uint32, replication int) []uint32 {
	return p.fill(shard, replication, nil)
}

func (p *placer) fill(shard uint32, replication int, keep []uint32) []uint32 {
	for i := range p.all {
		c := &p.all[i]
		c.score, c.taken = 0, false
		if !c.closed {
			c.score = score(shard, c.Number, c.Weight)
		}
	}
	slices.SortFunc(p.all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.Number, b.Number))
	})
	clear(p.nodes)
	clear(p.zones)
	out := make([]uint32, 0, replication)
	for _, v := range keep {
		if i := slices.IndexFunc(p.all, func(c candidate) bool { return c.Number == v }); i >= 0 && !p.all[i].taken {
			c := &p.all[i]
			c.taken, p.nodes[c.Node], p.zones[c.Zone] = true, true, true
			out = append(out, v)
		}
	}
	for _, free := range []func(*candidate) bool{
		func(c *candidate) bool { return !p.zones[c.Zone] },
		func(c *candidate) bool { return !p.nodes[c.Node] },
		func(*candidate) bool { return true },
	} {
		for i := range p.all {
			c := &p.all[i]
			if len(out) < replication && !c.taken && !c.closed && free(c) {
				c.taken, p.nodes[c.Node], p.zones[c.Zone] = true, true, true
				out = append(out, c.Number)
			}
		}
	}
	return out
}

// score is the weighted random weight of a pair: -weight / ln(u) with u in (0, 1) drawn from a hash of the pair. The highest of
// several is each one's with a probability in proportion to its weight. Its bits are part of nothing stored: only new tables
// and moves are computed by it.
func score(shard, volume uint32, weight float64) float64 {
	u := (float64(mix(uint64(shard)<<32|uint64(volume))>>11) + 0.5) / (1 << 53)
	return -weight / math.Log(u)
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

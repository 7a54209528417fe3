package rebalance

import (
	"slices"

	"minikv/coordinator/meta"
	"minikv/coordinator/placement"
	"minikv/proto/metapb"
)

// Move is a change of a shard's replicas: one goes from a volume to another, some are added, or some are too many.
type Move struct {
	Shard   uint32
	Epoch   uint64 // of the row that it was planned by
	Joining []uint32
	Leaving []uint32
}

// VolumeOf is a volume's row as placement sees it: it weighs as an operator said, or by its capacity.
func VolumeOf(r *metapb.VolumeRow) placement.Volume {
	weight := max(r.Capacity, 1)
	if r.Weight != nil {
		weight = *r.Weight
	}
	return placement.Volume{Number: r.Number, Weight: float64(weight), Node: r.Node, Zone: r.Zone}
}

// Plan says which moves bring the shards where they belong, at most one for each shard that is not moving, in the order of shards:
// shards with more or fewer members than their pool asks for get as many, replicas on volumes that are not in go to others, and with
// spread those that placement would have elsewhere. Only volumes for which up is true are moved to, or left alone with what others give
// up. It depends on its arguments alone, and an empty plan means that nothing is left that could be moved.
func Plan(l *metapb.Layout, spread bool, up func(volume uint32) bool) []Move {
	if len(l.GetPools()) == 0 {
		return nil
	}
	p := planner{l: l, replication: int(l.Pools[0].Replication), in: map[uint32]placement.Volume{}}
	for _, r := range l.Volumes {
		if r.State != meta.VolumeIn {
			continue
		}
		p.all = append(p.all, VolumeOf(r))
		p.in[r.Number] = VolumeOf(r)
		if up(r.Number) {
			p.usable = append(p.usable, VolumeOf(r))
		}
	}
	var target [][]uint32
	if spread {
		target = placement.Table(l.Pools[0].Shards, l.Pools[0].Replication, p.all)
	}
	var moves []Move
	for i, row := range l.Shards {
		if meta.Moving(row) {
			continue
		}
		m, ok := p.resize(row)
		if !ok {
			m, ok = p.forced(row)
		}
		if !ok && spread && len(row.Members) == p.replication {
			m, ok = p.spread(row, target[i])
		}
		if ok {
			m.Shard, m.Epoch = row.Shard, row.Epoch
			moves = append(moves, m)
		}
	}
	return moves
}

func always(uint32) bool { return true }

// Due is the plan of a layout as its operator asks for it, and the number of shards that should move and can't: their volumes are down, or
// those that are in are too few.
func Due(l *metapb.Layout, up func(volume uint32) bool) (moves []Move, blocked int) {
	spread := l.GetRebalance().GetRunning()
	moves = Plan(l, spread, up)
	replication := 0
	if len(l.GetPools()) > 0 {
		replication = int(l.Pools[0].Replication)
	}
	in, due, planned := map[uint32]bool{}, map[uint32]bool{}, map[uint32]bool{}
	for _, v := range l.Volumes {
		in[v.Number] = v.State == meta.VolumeIn
	}
	for _, m := range moves {
		planned[m.Shard] = true
	}
	for _, m := range Plan(l, spread, always) {
		due[m.Shard] = true
	}
	for _, row := range l.Shards {
		stays := len(row.Members) == replication && !slices.ContainsFunc(row.Members, func(v uint32) bool { return !in[v] })
		if !meta.Moving(row) && !planned[row.Shard] && (due[row.Shard] || !stays) {
			blocked++
		}
	}
	return moves, blocked
}

type planner struct {
	l           *metapb.Layout
	replication int
	all, usable []placement.Volume // that are in; of these, that are up
	in          map[uint32]placement.Volume
}

// resize gives a shard the number of members that its pool asks for, as far as there are volumes.
func (p *planner) resize(row *metapb.ShardRow) (Move, bool) {
	if lacks := p.replication - len(row.Members); lacks > 0 {
		joining := p.more(row, p.staying(row), lacks)
		return Move{Joining: joining}, len(joining) > 0
	}
	return p.lower(row)
}

// lower lets go of members that are too many: those that placement would take last, or that are not in or not up. Those that stay are
// all in and up, for with fewer of them each counts for more; without enough of them nothing happens.
func (p *planner) lower(row *metapb.ShardRow) (Move, bool) {
	if len(row.Members) <= p.replication {
		return Move{}, false
	}
	var sound []placement.Volume
	for _, v := range p.usable {
		if slices.Contains(row.Members, v.Number) {
			sound = append(sound, v)
		}
	}
	stay := placement.Shard(row.Shard, uint32(p.replication), sound)
	for _, v := range sound { // of weight 0
		if len(stay) < p.replication && !slices.Contains(stay, v.Number) {
			stay = append(stay, v.Number)
		}
	}
	if len(stay) < p.replication {
		return Move{}, false
	}
	if p.crowded(stay) { // one that is to go may be replaced from another failure domain first
		if m, ok := p.forced(row); ok && !p.near(m.Joining[0], p.staying(row)) {
			return m, true
		}
	}
	var m Move
	for _, v := range row.Members {
		if !slices.Contains(stay, v) {
			m.Leaving = append(m.Leaving, v)
		}
	}
	return m, true
}

// crowded says that two volumes share a failure domain.
func (p *planner) crowded(volumes []uint32) bool {
	for i, v := range volumes {
		if p.near(v, volumes[:i]) {
			return true
		}
	}
	return false
}

// near says that a volume shares a failure domain with one of others.
func (p *planner) near(v uint32, others []uint32) bool {
	a := p.in[v]
	return slices.ContainsFunc(others, func(w uint32) bool { return sameNode(a, p.in[w]) || sameZone(a, p.in[w]) })
}

func sameNode(a, b placement.Volume) bool { return a.Node != "" && a.Node == b.Node }
func sameZone(a, b placement.Volume) bool { return a.Zone != "" && a.Zone == b.Zone }

// staying are the members that are on volumes that are in.
func (p *planner) staying(row *metapb.ShardRow) (stay []uint32) {
	for _, v := range row.Members {
		if _, ok := p.in[v]; ok {
			stay = append(stay, v)
		}
	}
	return stay
}

// forced moves a replica off a volume that is not in.
func (p *planner) forced(row *metapb.ShardRow) (Move, bool) {
	stay := p.staying(row)
	i := slices.IndexFunc(row.Members, func(v uint32) bool { return !slices.Contains(stay, v) })
	if i < 0 {
		return Move{}, false
	}
	joining := p.more(row, stay, 1)
	return Move{Joining: joining, Leaving: row.Members[i : i+1]}, len(joining) > 0
}

// more are up to n volumes to be added to those that stay. Staying volumes count for failure domains whether they are up or not.
func (p *planner) more(row *metapb.ShardRow, stay []uint32, n int) (joining []uint32) {
	usable := slices.Clone(p.usable)
	for _, v := range stay {
		if !slices.ContainsFunc(usable, func(u placement.Volume) bool { return u.Number == v }) {
			usable = append(usable, p.in[v])
		}
	}
	for _, v := range placement.Fill(row.Shard, uint32(len(stay)+n), usable, stay) {
		if !slices.Contains(stay, v) {
			joining = append(joining, v)
		}
	}
	return joining
}

// spread moves a replica to where placement has it. It takes the place of one in the same node or zone if there is one, so that no two
// share a failure domain in between.
func (p *planner) spread(row *metapb.ShardRow, target []uint32) (Move, bool) {
	var surplus []uint32
	for _, v := range row.Members {
		if !slices.Contains(target, v) {
			surplus = append(surplus, v)
		}
	}
	for _, v := range target {
		if slices.Contains(row.Members, v) || !slices.ContainsFunc(p.usable, func(u placement.Volume) bool { return u.Number == v }) {
			continue
		}
		if len(surplus) == 0 {
			break
		}
		return Move{Joining: []uint32{v}, Leaving: []uint32{p.nearest(p.in[v], surplus)}}, true
	}
	return Move{}, false
}

func (p *planner) nearest(to placement.Volume, from []uint32) uint32 {
	for _, same := range []func(a, b placement.Volume) bool{sameNode, sameZone} {
		for _, v := range from {
			if same(p.in[v], to) {
				return v
			}
		}
	}
	return from[0]
}

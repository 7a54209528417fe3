package rebalance

import (
	"slices"

	"minikv/coordinator/meta"
	"minikv/coordinator/placement"
	"minikv/proto/metapb"
)

// Move is one replica of a shard that is to go from one volume to another.
type Move struct {
	Shard   uint32
	Epoch   uint64 // of the row that it was planned by
	Joining []uint32
	Leaving []uint32
}

// VolumeOf is a volume's row as placement sees it: it weighs as an operator said, or by its capacity.
func VolumeOf(r *metapb.VolumeRow) placement.Volume {
	weight := r.Weight
	if weight == 0 {
		weight = max(r.Capacity, 1)
	}
	return placement.Volume{Number: r.Number, Weight: float64(weight), Node: r.Node, Zone: r.Zone}
}

// Plan says which moves bring the shards where they belong, at most one for each shard that is not moving, in the order of shards:
// replicas on volumes that are not in go to others, and with spread those that placement would have elsewhere. Only volumes for
// which up is true are moved to. It depends on its arguments alone, and an empty plan means that nothing is left that could be moved.
func Plan(l *metapb.Layout, spread bool, up func(volume uint32) bool) []Move {
	if len(l.GetPools()) == 0 {
		return nil
	}
	p := planner{l: l, replication: l.Pools[0].Replication, in: map[uint32]placement.Volume{}}
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
		target = placement.Table(l.Pools[0].Shards, p.replication, p.all)
	}
	var moves []Move
	for i, row := range l.Shards {
		if len(row.Joining) > 0 {
			continue
		}
		m, ok := p.forced(row)
		if !ok && spread {
			m, ok = p.spread(row, target[i])
		}
		if ok {
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
		stays := !slices.ContainsFunc(row.Members, func(v uint32) bool { return !in[v] })
		if len(row.Joining) == 0 && !planned[row.Shard] && (due[row.Shard] || !stays) {
			blocked++
		}
	}
	return moves, blocked
}

type planner struct {
	l           *metapb.Layout
	replication uint32
	all, usable []placement.Volume // that are in; of these, that are up
	in          map[uint32]placement.Volume
}

// forced moves a replica off a volume that is not in.
func (p *planner) forced(row *metapb.ShardRow) (Move, bool) {
	var stay, go_ []uint32
	for _, v := range row.Members {
		if _, ok := p.in[v]; ok {
			stay = append(stay, v)
		} else {
			go_ = append(go_, v)
		}
	}
	if len(go_) == 0 {
		return Move{}, false
	}
	return p.move(row, p.instead(row, stay), go_[0])
}

// instead is the volume that would be added to those that stay; 0: none can be. Staying volumes count for failure domains whether they
// are up or not.
func (p *planner) instead(row *metapb.ShardRow, stay []uint32) uint32 {
	usable := slices.Clone(p.usable)
	for _, v := range stay {
		if !slices.ContainsFunc(usable, func(u placement.Volume) bool { return u.Number == v }) {
			usable = append(usable, p.in[v])
		}
	}
	for _, v := range placement.Fill(row.Shard, uint32(len(stay)+1), usable, stay) {
		if !slices.Contains(stay, v) {
			return v
		}
	}
	return 0
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
		return p.move(row, v, p.nearest(p.in[v], surplus))
	}
	return Move{}, false
}

func (p *planner) nearest(to placement.Volume, from []uint32) uint32 {
	for _, same := range []func(a placement.Volume) bool{
		func(a placement.Volume) bool { return a.Node != "" && a.Node == to.Node },
		func(a placement.Volume) bool { return a.Zone != "" && a.Zone == to.Zone },
	} {
		for _, v := range from {
			if same(p.in[v]) {
				return v
			}
		}
	}
	return from[0]
}

func (p *planner) move(row *metapb.ShardRow, joining, leaving uint32) (Move, bool) {
	if joining == 0 || len(row.Members) != int(p.replication) {
		return Move{}, false
	}
	return Move{Shard: row.Shard, Epoch: row.Epoch, Joining: []uint32{joining}, Leaving: []uint32{leaving}}, true
}

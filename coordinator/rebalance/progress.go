package rebalance

import (
	"cmp"
	"slices"
	"time"

	"minikv/coordinator/meta"
	"minikv/proto/metapb"
)

// Progress is how far moves are, as the leader of the present term knows (B5).
type Progress struct {
	Paused         bool
	Planning       bool          // what is due has not been taken up yet
	Moving         int           // shards on their way
	Planned        int           // further moves that are due and can begin
	Blocked        int           // further moves that are due and can't begin: volumes are down, or too few are in
	Moved          int           // moves that ended in this term
	CopiedBytes    int64         // in this term
	RemainingBytes int64         // of the moves on their way, and as an estimate of the planned ones
	BytesPerSecond float64       // of late
	ETA            time.Duration // until nothing is left; 0: nothing is, or unknown
	Percent        float64       // of the bytes of the moves since there last was nothing to do in this term; 100 only when nothing is left
	Shards         []ShardProgress
	// UnderReplicated are the shards with a member that lacks a blob, is down, out or removed, or with fewer members than the pool asks for.
	UnderReplicated int

	movedBytes              int64 // of the moves that ended
	idleMoved               int   // Moved and movedBytes when there last was nothing to do
	idleMovedBytes, started int64 // when the rebalance began that a plan was made for, ms
}

// ShardProgress is how far one move is.
type ShardProgress struct {
	Shard             uint32
	Joining, Leaving  []uint32
	Phase             string
	Bytes, TotalBytes int64 // looked at, and copied where needed; an estimate until all are
}

// Progress is taken without waiting, by the plan that was made last.
func (m *Mover) Progress() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.measure(m.progress)
}

// ProgressOf is taken by what is due in this layout, whether it has been taken up or not.
func (m *Mover) ProgressOf(l *metapb.Layout) Progress {
	moves, blocked := Due(l, m.cfg.Up)
	moving := 0
	for _, row := range l.Shards {
		if meta.Moving(row) {
			moving++
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.progress
	idle := p.Planned+p.Moving+p.Blocked == 0
	p.Planned, p.Moving, p.Blocked = len(moves), moving, blocked
	p.Planning = l.GetRebalance().GetRunning() && p.started != l.GetRebalance().GetStartedMs() || idle && p.Planned+p.Moving+p.Blocked > 0
	return m.measure(p)
}

// measure adds what running jobs tell. m.mu is held.
func (m *Mover) measure(p Progress) Progress {
	now := m.cfg.Clock.Now()
	p.Paused, p.BytesPerSecond = m.paused, m.rate.at(now)
	seen, sized := p.movedBytes, p.Moved
	done := p.movedBytes - p.idleMovedBytes
	for _, j := range m.jobs {
		total := j.at.total()
		p.RemainingBytes += total - j.at.bytes
		done += j.at.bytes
		if total > 0 || j.at.whole {
			seen, sized = seen+total, sized+1
		}
		p.Shards = append(p.Shards, ShardProgress{
			Shard: j.row.Shard, Joining: j.row.Joining, Leaving: j.row.Leaving, Phase: j.phase, Bytes: j.at.bytes, TotalBytes: total,
		})
	}
	slices.SortFunc(p.Shards, func(a, b ShardProgress) int { return cmp.Compare(a.Shard, b.Shard) })
	if sized > 0 {
		p.RemainingBytes += seen / int64(sized) * int64(p.Planned+p.Blocked)
	}
	switch left := p.Planned + p.Moving + p.Blocked; {
	case left == 0 && p.Planning:
		p.Percent = 0
	case left == 0:
		p.Percent = 100
	case done+p.RemainingBytes > 0:
		p.Percent = min(99.9, 100*float64(done)/float64(done+p.RemainingBytes))
	default:
		moved := p.Moved - p.idleMoved
		p.Percent = 100 * float64(moved) / float64(moved+left)
	}
	if p.BytesPerSecond > 0 {
		p.ETA = time.Duration(float64(p.RemainingBytes) / p.BytesPerSecond * float64(time.Second)).Round(time.Second)
	}
	return p
}

// plan notes how many moves are due, besides those that are on their way, and for which rebalance that was found.
func (m *Mover) plan(due, blocked, moving int, r *metapb.RebalanceRow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &m.progress
	p.Planned, p.Blocked, p.Moving, p.started = due, blocked, moving, r.GetStartedMs()
	if due+blocked+moving+len(m.jobs) == 0 {
		p.idleMoved, p.idleMovedBytes = p.Moved, p.movedBytes
	}
}

// healthy notes how many shards have all their replicas.
func (m *Mover) healthy(l *metapb.Layout, missing counts) {
	good := map[uint32]bool{}
	for _, v := range l.Volumes {
		good[v.Number] = v.State < meta.VolumeOut && m.cfg.Up(v.Number)
	}
	n := 0
	for _, row := range l.Shards {
		if len(row.Members) < int(l.Pools[0].Replication) || slices.ContainsFunc(row.Members, func(v uint32) bool { return !good[v] || missing[row.Shard][v] > 0 }) {
			n++
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.progress.UnderReplicated = n
}

func (m *Mover) copied(n int64) {
	now := m.cfg.Clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.progress.CopiedBytes += n
	m.rate.add(now, n)
}

// rate is bytes per second over the last seconds.
type rate struct {
	slots [rateSlots]int64
	last  int64 // the second of the newest slot
	first int64 // the second of the first byte ever
}

const rateSlots = 16

func (r *rate) add(now time.Time, n int64) {
	r.move(now)
	if r.first == 0 {
		r.first = now.Unix()
	}
	r.slots[now.Unix()%rateSlots] += n
}

func (r *rate) move(now time.Time) {
	s := now.Unix()
	for at := max(r.last+1, s-rateSlots+1); at <= s; at++ {
		r.slots[at%rateSlots] = 0
	}
	r.last = max(r.last, s)
}

func (r *rate) at(now time.Time) float64 {
	r.move(now)
	total := int64(0)
	for _, n := range r.slots {
		total += n
	}
	if total == 0 {
		return 0
	}
	return float64(total) / float64(min(rateSlots, max(1, now.Unix()-r.first+1)))
}

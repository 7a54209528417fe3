package coordinator

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// Health of a volume, by when the leader last heard of it. It is soft state: a new leader begins to count anew.
type Health string

// Healths, from good to bad.
const (
	Up      Health = "up"
	Suspect Health = "suspect" // silent for suspectAfter
	Down    Health = "down"    // silent for Config.DownAfter
)

// Times of watching volumes.
const (
	suspectAfter = 5 * time.Second
	watchEvery   = time.Second
	// heardMax bounds what is remembered.
	heardMax = 4096
)

// VolumeStatus is a volume as the leader sees it.
type VolumeStatus struct {
	Row    *metapb.VolumeRow
	Health Health
	Heard  time.Time           // zero: not since this coordinator leads
	Last   *coordpb.NodeVolume // what it last said of itself; nil: nothing
	Silent time.Duration
	Shards int // of which it is a member
	// Joining are the shards on their way to it, Kept those that have left it and that it still keeps.
	Joining, Kept int
	Missing       uint64 // blobs that it lacks
}

// heardVolume is what was last heard of a volume.
type heardVolume struct {
	node, zone string
	at         time.Time
	last       *coordpb.NodeVolume
}

// health remembers when volumes were heard of, while this coordinator leads.
type health struct {
	mu      sync.Mutex
	since   time.Time              // this coordinator leads since then
	volumes map[string]heardVolume // by id
	known   *metapb.Layout         // as of at most watchEvery ago; nil: not read yet in this term
}

// begin starts a term: nobody was silent for longer than the term lasts.
func (h *health) begin(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since, h.known = now, nil
}

// age is how long the term lasts.
func (h *health) age(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Sub(h.since)
}

func (h *health) heard(r *coordpb.JoinRequest, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.volumes == nil {
		h.volumes = map[string]heardVolume{}
	}
	for _, v := range r.Volumes {
		if _, known := h.volumes[string(v.Incarnation)]; known || len(h.volumes) < heardMax {
			h.volumes[string(v.Incarnation)] = heardVolume{node: r.Node, zone: r.Zone, at: now, last: v}
		}
	}
}

func (h *health) all() []heardVolume {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]heardVolume, 0, len(h.volumes))
	for _, v := range h.volumes {
		out = append(out, v)
	}
	return out
}

func (h *health) layout() *metapb.Layout {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

func (h *health) keep(l *metapb.Layout) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = l
}

// silent is for how long a volume was not heard of.
func (h *health) silent(id []byte, now time.Time) (time.Duration, heardVolume) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.volumes[string(id)]
	from := h.since
	if v.at.After(from) {
		from = v.at
	}
	return now.Sub(from), v
}

func (c *Coordinator) healthOf(silent time.Duration) Health {
	switch {
	case silent >= c.cfg.DownAfter:
		return Down
	case silent >= min(suspectAfter, c.cfg.DownAfter):
		return Suspect
	}
	return Up
}

// Volumes tells how each volume is, by number. Only the leader knows: errs.NotLeader.
func (c *Coordinator) Volumes(ctx context.Context) ([]VolumeStatus, error) {
	l, err := c.layout(ctx)
	if err != nil {
		return nil, errs.Wrap("coordinator.Volumes", err)
	}
	a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_MissingCounts{MissingCounts: &metapb.MissingCountsQuery{}}})
	if err != nil {
		return nil, errs.Wrap("coordinator.Volumes", err)
	}
	missing := map[uint32]uint64{}
	for _, n := range a.GetMissingCounts().GetCounts() {
		missing[n.Volume] += n.Count
	}
	return c.volumeStatuses(l, missing), nil
}

func (c *Coordinator) volumeStatuses(l *metapb.Layout, missing map[uint32]uint64) []VolumeStatus {
	now := c.cfg.Clock.Now()
	shards, joining, kept := map[uint32]int{}, map[uint32]int{}, map[uint32]int{}
	for _, s := range l.GetShards() {
		for _, v := range s.Members {
			shards[v]++
		}
		for _, v := range s.Joining {
			joining[v]++
		}
		for _, v := range s.Leaving {
			if !slices.Contains(s.Members, v) {
				kept[v]++
			}
		}
	}
	out := make([]VolumeStatus, 0, len(l.GetVolumes()))
	for _, row := range l.GetVolumes() {
		silent, v := c.health.silent(row.Id, now)
		if row.Address == "" {
			silent = 0 // it lives in this process
		}
		n := row.Number
		out = append(out, VolumeStatus{
			Row: row, Health: c.healthOf(silent), Heard: v.at, Last: v.last, Silent: silent, Shards: shards[n], Joining: joining[n],
			Kept: kept[n], Missing: missing[n],
		})
	}
	slices.SortFunc(out, func(a, b VolumeStatus) int { return cmp.Compare(a.Row.Number, b.Row.Number) })
	return out
}

// WatchOnce looks who is silent, and takes volumes out that were silent for Config.OutAfter, as long as enough others are in to take
// their shards.
func (c *Coordinator) WatchOnce(ctx context.Context) error {
	const op = "coordinator.Watch"
	l, err := c.layout(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if len(l.GetCluster().GetId()) == 0 || len(l.GetPools()) == 0 {
		return nil
	}
	c.health.keep(l)
	for _, row := range c.silentOnes(l) {
		_, err := c.propose(ctx, op, &metapb.Command{Op: &metapb.Command_SetVolumeState{SetVolumeState: &metapb.SetVolumeState{
			Number: row.Number, From: meta.VolumeIn, To: meta.VolumeOut, Silent: true,
		}}})
		if err != nil {
			return err
		}
		c.cfg.Log.Warn("a volume was silent for too long: its shards move to others", zap.Uint32("volume", row.Number),
			zap.String("node", row.Node), zap.String("id", hex.EncodeToString(row.Id)))
	}
	return nil
}

// silentOnes are the volumes to be taken out. None is unless those that are in and live can hold every replica: moving what has
// nowhere to go helps nobody.
func (c *Coordinator) silentOnes(l *metapb.Layout) []*metapb.VolumeRow {
	now := c.cfg.Clock.Now()
	living := 0
	var silent []*metapb.VolumeRow
	for _, row := range l.Volumes {
		age, _ := c.health.silent(row.Id, now)
		switch {
		case row.State != meta.VolumeIn:
		case !meta.TakesShards(row) && age < c.cfg.OutAfter: // it takes none of the others' shards
		case row.Address == "" || age < c.cfg.DownAfter:
			living++
		case age >= c.cfg.OutAfter:
			silent = append(silent, row)
		}
	}
	if living < int(l.Pools[0].Replication) {
		return nil
	}
	return silent
}

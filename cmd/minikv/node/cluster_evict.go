package node

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/proto/metapb"
	"minikv/volume"
)

// evictEvery is how often a volume looks for what moves have left behind although the layout did not change, and evictAgain while it keeps
// some because replicas lack blobs.
const (
	evictEvery = time.Hour
	evictAgain = 5 * time.Minute
)

// evict has this node's volume forget what moves have left behind, when the layout has changed.
func (c *cluster) evict() {
	var clean, horizon uint64 // the layout by which nothing was left to be forgotten
	var next time.Time
	for c.pause(c.ctx, c.cfg.CollectInterval) {
		number := c.number.Load()
		now := c.known().GetCluster()
		if number == 0 || now.GetLayoutIndex() == clean && now.GetHorizon() <= horizon && time.Now().Before(next) {
			continue
		}
		a, err := c.Read(c.ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
		if err != nil {
			continue
		}
		lacks, err := c.Read(c.ctx, &metapb.Query{Q: &metapb.Query_MissingCounts{MissingCounts: &metapb.MissingCountsQuery{}}})
		if err != nil {
			continue
		}
		p, kept := placementOf(a.GetLayout(), lacks.GetMissingCounts().GetCounts(), number)
		n, err := c.volume.Evict(c.ctx, p)
		switch {
		case err != nil && c.ctx.Err() == nil:
			c.log.Warn("what moves have left behind was not forgotten", zap.Error(err))
		case err == nil && n == 0:
			row := a.GetLayout().GetCluster()
			clean, horizon, next = row.GetLayoutIndex(), row.GetHorizon(), time.Now().Add(evictEvery)
			if kept {
				next = time.Now().Add(evictAgain)
			}
		case err == nil:
			c.log.Info("blobs that have moved were forgotten", zap.Int("blobs", n))
		}
	}
}

// placementOf is what a volume has of the layout. Shards with a member that lacks a blob are kept whoever they belong to: what is here may
// be the last copy of it, of a volume that was removed and is back, or after the restore of an old backup. So are shards with a member that is
// out or removed, of which nobody can tell what it lacks, until others have taken its place. kept says that there are such.
func placementOf(l *metapb.Layout, lacks []*metapb.MissingCount, number uint32) (p volume.Placement, kept bool) {
	p = volume.Placement{
		Epochs: make([]uint64, len(l.GetShards())), Mine: make([]bool, len(l.GetShards())), Horizon: l.GetCluster().GetHorizon(),
	}
	away := map[uint32]bool{}
	for _, v := range l.GetVolumes() {
		away[v.Number] = v.State >= meta.VolumeOut
	}
	for i, row := range l.GetShards() {
		p.Epochs[i] = row.Epoch
		p.Mine[i] = slices.Contains(row.Members, number) || slices.Contains(row.Joining, number) || slices.Contains(row.Leaving, number)
		if !p.Mine[i] && slices.ContainsFunc(row.Members, func(v uint32) bool { return away[v] }) {
			p.Mine[i], kept = true, true
		}
	}
	for _, x := range lacks {
		if i := int(x.Shard); i < len(p.Mine) && x.Count > 0 && !p.Mine[i] && slices.Contains(l.Shards[i].Members, x.Volume) {
			p.Mine[i], kept = true, true
		}
	}
	return p, kept
}

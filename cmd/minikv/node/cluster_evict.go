package node

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"minikv/proto/metapb"
	"minikv/volume"
)

// evictEvery is how often a volume looks for what moves have left behind although the layout did not change.
const evictEvery = time.Hour

// evict has this node's volume forget what moves have left behind, when the layout has changed.
func (c *cluster) evict() {
	var clean, horizon uint64 // the layout by which nothing was left to be forgotten
	var at time.Time
	for c.pause(c.ctx, c.cfg.CollectInterval) {
		number := c.number.Load()
		now := c.known().GetCluster()
		if number == 0 || now.GetLayoutIndex() == clean && now.GetHorizon() <= horizon && time.Since(at) < evictEvery {
			continue
		}
		a, err := c.Read(c.ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
		if err != nil {
			continue
		}
		n, err := c.volume.Evict(c.ctx, placementOf(a.GetLayout(), number))
		switch {
		case err != nil && c.ctx.Err() == nil:
			c.log.Warn("what moves have left behind was not forgotten", zap.Error(err))
		case err == nil && n == 0:
			row := a.GetLayout().GetCluster()
			clean, horizon, at = row.GetLayoutIndex(), row.GetHorizon(), time.Now()
		case err == nil:
			c.log.Info("blobs that have moved were forgotten", zap.Int("blobs", n))
		}
	}
}

// placementOf is what a volume has of the layout.
func placementOf(l *metapb.Layout, number uint32) volume.Placement {
	p := volume.Placement{
		Epochs: make([]uint64, len(l.GetShards())), Mine: make([]bool, len(l.GetShards())), Horizon: l.GetCluster().GetHorizon(),
	}
	for i, row := range l.GetShards() {
		p.Epochs[i] = row.Epoch
		p.Mine[i] = slices.Contains(row.Members, number) || slices.Contains(row.Joining, number) || slices.Contains(row.Leaving, number)
	}
	return p
}

package node

import (
	"bytes"
	"context"
	"encoding/hex"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/internal/rpc"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// heardBack takes in what the leader says of this node: its volume's number, and whether the layout that it knows is old.
func (c *cluster) heardBack(ctx context.Context, r *coordpb.JoinReply) error {
	var err error
	if l := c.known(); l != nil && l.GetCluster().GetLayoutIndex() < r.LayoutIndex {
		err = c.refreshLayout(ctx)
	}
	if c.volume != nil {
		id := c.volume.ID()
		for _, v := range r.Volumes {
			if v.Number != 0 && bytes.Equal(v.Incarnation, id[:]) {
				c.takePart(v.Number)
			}
		}
	}
	if err == nil && r.Refused != "" {
		err = errs.E("node.Join", errs.Conflict, "this node's volume is no member: %s", r.Refused)
	}
	return err
}

// takePart lets the volume serve under its number, and settle what it does not know.
func (c *cluster) takePart(number uint32) {
	if c.number.Swap(number) == number {
		return
	}
	if p := c.known().GetPools(); len(p) > 0 {
		if err := c.volume.Shards(p[0].Shards); err != nil {
			c.log.Error("the volume can't serve", zap.Error(err))
			return
		}
	}
	c.log.Info("the volume is a member", zap.Uint32("volume", number), zap.String("id", c.volume.incarnation()))
	c.volume.Start(runs{c})
}

// refreshLayout reads the layout, also for the gateway, and forgets the way to volumes that have moved.
func (c *cluster) refreshLayout(ctx context.Context) error {
	const op = "node.Layout"
	if m := c.meta.Load(); m != nil {
		if err := m.RefreshLayout(ctx); err != nil {
			return errs.Wrap(op, err)
		}
	} else {
		a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
		if err != nil {
			return errs.Wrap(op, err)
		}
		c.layout.Store(a.GetLayout())
	}
	l := c.known()
	c.mu.Lock()
	defer c.mu.Unlock()
	for number, v := range c.clients {
		if row := volumeRow(l, number); row == nil || row.Address != v.address || row.Node != v.node {
			delete(c.clients, number)
		}
	}
	return nil
}

// known is the newest layout that this node has read.
func (c *cluster) known() *metapb.Layout {
	l := c.layout.Load()
	if m := c.meta.Load(); m != nil {
		if newer := m.Layout(); newer.GetCluster().GetLayoutIndex() >= l.GetCluster().GetLayoutIndex() {
			return newer
		}
	}
	return l
}

// volumeAt is a way to a volume.
type volumeAt struct {
	client        *rpc.VolumeClient
	address, node string
}

// client is that of another node's volume.
func (c *cluster) client(number uint32) (*rpc.VolumeClient, error) {
	const op = "node.Volume"
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.clients[number]; ok {
		return v.client, nil
	}
	row := volumeRow(c.known(), number)
	if row == nil {
		return nil, errs.E(op, errs.Unavailable, "there is no volume %d", number)
	}
	v, err := rpc.NewVolumeClient(c.pool, row.Address, row.Node, rpc.VolumeRef{Number: number, Incarnation: hex.EncodeToString(row.Id)})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	c.clients[number] = volumeAt{v, row.Address, row.Node}
	return v, nil
}

func volumeRow(l *metapb.Layout, number uint32) *metapb.VolumeRow {
	for _, row := range l.GetVolumes() {
		if row.Number == number {
			return row
		}
	}
	return nil
}

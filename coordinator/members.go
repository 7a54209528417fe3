package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"slices"

	"go.uber.org/zap"

	"minikv/coordinator/consensus"
	"minikv/coordinator/placement"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// memberNode is what the leader has heard of a node; the cluster is founded with such volumes.
type memberNode struct {
	name, zone string
	volumes    []*coordpb.NodeVolume
}

// Join hears of a node: before the cluster is founded its volumes are what it may be founded with, and its coordinator becomes a
// member that does not vote yet. errs.NotLeader; errs.Conflict: its settings are not the cluster's.
func (c *Coordinator) Join(ctx context.Context, r *coordpb.JoinRequest) (*coordpb.JoinReply, error) {
	const op = "coordinator.Join"
	if _, err := c.node.Ready(); err != nil {
		return nil, err
	}
	if r.Fsync != c.cfg.Fsync {
		return nil, errs.E(op, errs.Conflict, "node %s has fsync %q, this coordinator %q", r.Node, r.Fsync, c.cfg.Fsync)
	}
	l, err := c.layout(ctx)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if len(r.Incarnation) > 0 && r.RaftAddress != "" {
		if err := c.node.Admit(r.Incarnation, r.RaftAddress); err != nil {
			return nil, errs.Wrap(op, err)
		}
	}
	c.heard(&memberNode{name: r.Node, zone: r.Zone, volumes: r.Volumes})
	reply := &coordpb.JoinReply{Cluster: hex.EncodeToString(l.GetCluster().GetId())}
	for _, v := range r.Volumes {
		reply.Volumes = append(reply.Volumes, &coordpb.NodeVolume{Incarnation: v.Incarnation, Number: numberOf(l, v.Incarnation), Address: v.Address})
	}
	return reply, nil
}

// numberOf is the volume's number in the layout; 0: it is not a member.
func numberOf(l *metapb.Layout, id []byte) uint32 {
	for _, row := range l.GetVolumes() {
		if bytes.Equal(row.Id, id) {
			return row.Number
		}
	}
	return 0
}

// Heartbeat tells a node where the cluster stands.
func (c *Coordinator) Heartbeat(ctx context.Context, _ *coordpb.HeartbeatRequest) (*coordpb.HeartbeatReply, error) {
	l, err := c.layout(ctx)
	if err != nil {
		return nil, errs.Wrap("coordinator.Heartbeat", err)
	}
	return &coordpb.HeartbeatReply{
		Epoch: l.GetCluster().GetEpoch(), Horizon: l.GetCluster().GetHorizon(), HorizonIndex: l.GetCluster().GetHorizonIndex(),
	}, nil
}

// nodesMax bounds what is remembered of nodes.
const nodesMax = 4096

func (c *Coordinator) heard(n *memberNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes == nil {
		c.nodes = map[string]*memberNode{}
	}
	if c.nodes[n.name] == nil && len(c.nodes) >= nodesMax {
		return
	}
	c.nodes[n.name] = n
}

// foundingVolumes are what a new cluster is founded with, and where its shards go.
func (c *Coordinator) foundingVolumes() ([]*metapb.VolumeRow, []*metapb.ShardRow, error) {
	if c.cfg.FoundWith == 0 {
		if len(c.cfg.Volumes) == 0 {
			return nil, nil, nil
		}
		return c.cfg.Volumes, firstShards(c.cfg.Pool, c.cfg.Volumes), nil
	}
	rows := c.joinedVolumes()
	if len(rows) < max(c.cfg.FoundWith, int(c.cfg.Pool.Replication)) {
		return nil, nil, errs.E("coordinator.found", errs.Unavailable, "%d volumes have joined; the cluster is founded with %d", len(rows), c.cfg.FoundWith)
	}
	return rows, placedShards(c.cfg.Pool, rows), nil
}

// joinedVolumes are numbered in the order of their nodes' names.
func (c *Coordinator) joinedVolumes() []*metapb.VolumeRow {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rows []*metapb.VolumeRow
	for _, n := range c.nodes {
		for _, v := range n.volumes {
			rows = append(rows, &metapb.VolumeRow{Id: v.Incarnation, Node: n.name, Zone: n.zone, Capacity: v.DiskTotal, Address: v.Address})
		}
	}
	slices.SortFunc(rows, func(a, b *metapb.VolumeRow) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), bytes.Compare(a.Id, b.Id))
	})
	for i, row := range rows {
		row.Number = uint32(i + 1)
	}
	return rows
}

// placedShards spreads the shards over failure domains.
func placedShards(p Pool, rows []*metapb.VolumeRow) []*metapb.ShardRow {
	volumes := make([]placement.Volume, len(rows))
	for i, r := range rows {
		volumes[i] = placement.Volume{Number: r.Number, Weight: max(float64(r.Capacity), 1), Node: r.Node, Zone: r.Zone}
	}
	shards := make([]*metapb.ShardRow, p.Shards)
	for i, members := range placement.Table(p.Shards, p.Replication, volumes) {
		slices.Sort(members)
		shards[i] = &metapb.ShardRow{Shard: uint32(i), Epoch: 1, Members: members}
	}
	return shards
}

// Leads is nil when this coordinator leads and has applied everything of earlier terms, whether or not a cluster exists.
func (c *Coordinator) Leads() error {
	_, err := c.node.Ready()
	return err
}

// ID is this coordinator's incarnation, 32 hexadecimal digits.
func (c *Coordinator) ID() string { return string(c.node.ID()) }

// Formed says whether this coordinator has ever been part of a Raft group.
func (c *Coordinator) Formed() bool { return c.node.Formed() }

// Form begins a Raft group with these voters; see consensus.Node.
func (c *Coordinator) Form(voters []consensus.Member) error {
	err := c.node.Form(voters)
	if err == nil {
		c.cfg.Log.Info("the Raft group was formed", zap.Int("voters", len(voters)))
	}
	return err
}

// Members are those of the Raft group.
func (c *Coordinator) Members() ([]consensus.Member, error) { return c.node.Members() }

// Promote makes a member a voter.
func (c *Coordinator) Promote(m consensus.Member) error { return c.node.Promote(m) }

// Confirm returns nil when this coordinator is of the incarnation and its current term is the given one.
func (c *Coordinator) Confirm(incarnation string, term uint64) error {
	return c.node.Confirm(incarnation, term)
}

// StepDown hands leadership to another coordinator, if there is one.
func (c *Coordinator) StepDown() error { return c.node.StepDown() }

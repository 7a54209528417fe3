package coordinator

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"

	"go.uber.org/zap"

	"minikv/coordinator/consensus"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// Join hears of a node: before the cluster is founded its volumes are what it may be founded with; afterwards they are registered, or
// their rows follow where they are now. Its coordinator becomes a member that does not vote yet. Nodes call it every second, so it is
// also how the leader knows that they live. errs.NotLeader; errs.Conflict: its settings are not the cluster's.
func (c *Coordinator) Join(ctx context.Context, r *coordpb.JoinRequest) (*coordpb.JoinReply, error) {
	const op = "coordinator.Join"
	if _, err := c.node.Ready(); err != nil {
		return nil, err
	}
	if r.Fsync != c.cfg.Fsync {
		return nil, errs.E(op, errs.Conflict, "node %s has fsync %q, this coordinator %q", r.Node, r.Fsync, c.cfg.Fsync)
	}
	if len(r.Volumes) > nodeVolumesMax {
		return nil, errs.E(op, errs.Invalid, "node %s has %d volumes; at most %d", r.Node, len(r.Volumes), nodeVolumesMax)
	}
	if err := checkInfo(r); err != nil {
		return nil, err
	}
	l, err := c.lately(ctx, r)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	reply := &coordpb.JoinReply{Cluster: hex.EncodeToString(l.GetCluster().GetId()), LayoutIndex: l.GetCluster().GetLayoutIndex()}
	if reply.Taken = c.admitName(l, r); reply.Taken != "" || r.Info.GetLeaving() {
		return reply, nil
	}
	if len(r.Incarnation) > 0 && r.RaftAddress != "" {
		if err := c.knowsEnough(ctx, r); err != nil {
			return nil, err
		}
		if err := c.node.Admit(r.Incarnation, r.RaftAddress); err != nil {
			return nil, errs.Wrap(op, err)
		}
	}
	c.health.heard(r, c.cfg.Clock.Now())
	reply.Differences = differencesOf(c.nodes.differences(c.cfg.Clock.Now()), r.Node)
	reply.Predecessors = predecessors(l, r)
	for _, v := range r.Volumes {
		number, err := c.register(ctx, l, r, v)
		if err != nil {
			reply.Refused = errs.Message(err)
		}
		reply.Volumes = append(reply.Volumes, &coordpb.NodeVolume{Incarnation: v.Incarnation, Number: number, Address: v.Address})
	}
	return reply, nil
}

// nodeVolumesMax bounds the volumes of a node.
const nodeVolumesMax = 256

// lately is the layout as this leader last read it, if it agrees with what the node says of itself; else as it is.
func (c *Coordinator) lately(ctx context.Context, r *coordpb.JoinRequest) (*metapb.Layout, error) {
	if l := c.health.layout(); l != nil && !slices.ContainsFunc(r.Volumes, func(v *coordpb.NodeVolume) bool {
		return !registered(rowOf(l, v.Incarnation), r, v)
	}) {
		return l, nil
	}
	return c.layout(ctx)
}

// register makes a volume of the node known when it is not, or follows a change. It gives the volume's number; 0: there is no cluster
// yet, or it was refused.
func (c *Coordinator) register(ctx context.Context, l *metapb.Layout, r *coordpb.JoinRequest, v *coordpb.NodeVolume) (uint32, error) {
	row := rowOf(l, v.Incarnation)
	if len(l.GetCluster().GetId()) == 0 || registered(row, r, v) {
		return row.GetNumber(), nil
	}
	if row.GetState() == meta.VolumeRemoved { // as Apply would say, each second
		return 0, errs.E("coordinator.Join", errs.Conflict, "volume %d was removed; node add brings it back", row.Number)
	}
	res, err := c.propose(ctx, "coordinator.Join", &metapb.Command{Op: &metapb.Command_RegisterVolume{RegisterVolume: &metapb.RegisterVolume{
		Id: v.Incarnation, Node: r.Node, Zone: r.Zone, Address: v.Address, Capacity: v.DiskTotal, Weight: weightOf(row, v),
	}}})
	if err != nil {
		return 0, err
	}
	c.cfg.Log.Info("volume registered", zap.Uint32("volume", res.GetVolume().GetNumber()), zap.String("node", r.Node), zap.String("address", v.Address))
	return res.GetVolume().GetNumber(), nil
}

// weightOf is what a volume that is not known yet asks for; later an operator decides.
func weightOf(row *metapb.VolumeRow, v *coordpb.NodeVolume) *uint64 {
	if row != nil {
		return nil
	}
	return v.Weight
}

// registered says that a row says what the node says.
func registered(row *metapb.VolumeRow, r *coordpb.JoinRequest, v *coordpb.NodeVolume) bool {
	return row != nil && !row.Silent && row.State != meta.VolumeRemoved &&
		row.Node == r.Node && row.Zone == r.Zone && row.Address == v.Address && sameSize(row.Capacity, v.DiskTotal)
}

// sameSize says that two sizes of a disk differ by less than a sixty-fourth. Where a pool of disks is shared (ZFS, btrfs), a file system's size moves
// with whatever is written beside it; to follow every step would be an entry and a new layout for all gateways each second.
func sameSize(a, b uint64) bool { return max(a, b)-min(a, b) <= max(a, b)/64 }

// rowOf is the row of the volume with that id; nil: it is not known.
func rowOf(l *metapb.Layout, id []byte) *metapb.VolumeRow {
	for _, row := range l.GetVolumes() {
		if bytes.Equal(row.Id, id) {
			return row
		}
	}
	return nil
}

// propose makes a recorded refusal an error.
func (c *Coordinator) propose(ctx context.Context, op string, cmd *metapb.Command) (*metapb.Result, error) {
	if err := c.allow(ctx, op, cmd); err != nil {
		return nil, err
	}
	r, err := c.node.Propose(ctx, cmd)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if r.Failed {
		return r, errs.E(op, errs.Kind(r.Kind), "%s", r.Message)
	}
	return r, nil
}

// Heartbeat tells a node where the cluster stands.
func (c *Coordinator) Heartbeat(ctx context.Context, _ *coordpb.HeartbeatRequest) (*coordpb.HeartbeatReply, error) {
	l, err := c.layout(ctx)
	if err != nil {
		return nil, errs.Wrap("coordinator.Heartbeat", err)
	}
	return &coordpb.HeartbeatReply{
		Epoch: l.GetCluster().GetEpoch(), Horizon: l.GetCluster().GetHorizon(), HorizonIndex: l.GetCluster().GetHorizonIndex(),
		LayoutIndex: l.GetCluster().GetLayoutIndex(),
	}, nil
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

package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"minikv/coordinator"
	"minikv/coordinator/meta"
	"minikv/coordinator/rebalance"
	"minikv/internal/config"
	"minikv/internal/ops"
	"minikv/proto/metapb"
)

// nodeOps are the operations on nodes and moves; coord leads while they run, and v sees the volumes.
func nodeOps(coord *coordinator.Coordinator, v viewer) []ops.Handler {
	if coord == nil {
		return nil
	}
	n := nodeOperator{coord, v}
	change := func(f func(context.Context, *ops.NodeRequest) error) func(context.Context, *ops.NodeRequest, ops.Progress) (*ops.NodeListAnswer, error) {
		return func(ctx context.Context, r *ops.NodeRequest, _ ops.Progress) (*ops.NodeListAnswer, error) {
			if err := f(ctx, r); err != nil {
				return nil, err
			}
			return n.list(ctx)
		}
	}
	set := func(s *metapb.SetRebalance) func(context.Context, *ops.None, ops.Progress) (*ops.RebalanceAnswer, error) {
		return func(ctx context.Context, _ *ops.None, _ ops.Progress) (*ops.RebalanceAnswer, error) {
			return n.rebalance(ctx, s)
		}
	}
	return []ops.Handler{
		ops.NodeList.Handle(func(ctx context.Context, _ *ops.None, _ ops.Progress) (*ops.NodeListAnswer, error) {
			return n.list(ctx)
		}),
		ops.NodeAdd.Handle(change(func(ctx context.Context, r *ops.NodeRequest) error { return coord.AddNode(ctx, r.Node) })),
		ops.NodeDrain.Handle(change(func(ctx context.Context, r *ops.NodeRequest) error { return coord.DrainNode(ctx, r.Node) })),
		ops.NodeRemove.Handle(n.remove),
		ops.NodeWeight.Handle(func(ctx context.Context, r *ops.NodeWeightRequest, _ ops.Progress) (*ops.NodeListAnswer, error) {
			if err := coord.SetWeight(ctx, r.Node, r.Weight); err != nil {
				return nil, err
			}
			return n.list(ctx)
		}),
		ops.RebalanceStatus.Handle(set(&metapb.SetRebalance{})),
		ops.RebalanceStart.Handle(set(&metapb.SetRebalance{Running: proto.Bool(true), Paused: proto.Bool(false)})),
		ops.RebalancePause.Handle(set(&metapb.SetRebalance{Paused: proto.Bool(true)})),
		ops.RebalanceResume.Handle(set(&metapb.SetRebalance{Paused: proto.Bool(false)})),
		ops.RebalanceLimit.Handle(func(ctx context.Context, r *ops.RebalanceLimitRequest, _ ops.Progress) (*ops.RebalanceAnswer, error) {
			return n.rebalance(ctx, &metapb.SetRebalance{BytesPerSecond: &r.BytesPerSecond})
		}),
	}
}

type nodeOperator struct {
	coord *coordinator.Coordinator
	view  viewer
}

// remove forgets a node, and says what only it had.
func (n nodeOperator) remove(ctx context.Context, r *ops.NodeRequest, _ ops.Progress) (*ops.NodeListAnswer, error) {
	lost, err := n.coord.RemoveNode(ctx, r.Node, r.Force)
	if err != nil {
		return nil, err
	}
	a, err := n.list(ctx)
	if err == nil && lost.Count > 0 {
		a.Lost = &ops.LostBlobs{Blobs: lost.Count}
		for _, id := range lost.Some {
			a.Lost.Some = append(a.Lost.Some, id.String())
		}
	}
	return a, err
}

func (n nodeOperator) list(ctx context.Context) (*ops.NodeListAnswer, error) {
	all, err := n.coord.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	total := 0.0
	for _, v := range all {
		if v.Row.State == meta.VolumeIn {
			total += rebalance.VolumeOf(v.Row).Weight
		}
	}
	a := &ops.NodeListAnswer{Nodes: n.nodes(ctx, all), Volumes: []ops.NodeVolume{}}
	for _, v := range all {
		x := ops.NodeVolume{
			Volume: v.Row.Number, ID: hex.EncodeToString(v.Row.Id), Node: cmp.Or(v.Row.Node, alone), Zone: v.Row.Zone, Address: v.Row.Address,
			State: meta.VolumeStateText(v.Row.State), Health: string(v.Health), SilentMs: v.Silent.Milliseconds(), Shards: v.Shards,
			Joining: v.Joining, Kept: v.Kept, Capacity: v.Row.Capacity, Missing: v.Missing,
			WeightSet: v.Row.Weight,
		}
		if v.Row.State == meta.VolumeIn && total > 0 {
			x.Weight = rebalance.VolumeOf(v.Row).Weight / total
		}
		if v.Last != nil {
			x.Free, x.Used, x.Blobs, x.Full = v.Last.DiskFree, v.Last.Used, v.Last.Blobs, v.Last.Full
		} else if st, err := n.view.volumeStats(ctx, v.Row.Number); err == nil { // in a process alone volumes tell nobody
			x.Free, x.Used, x.Blobs, x.Full = st.DiskFree, st.SegmentBytes, st.Blobs, st.Full
		}
		a.Volumes = append(a.Volumes, x)
	}
	noteSuccessors(a.Volumes)
	return a, nil
}

// nodes are those that the leader has heard of and those of the volumes.
func (n nodeOperator) nodes(ctx context.Context, volumes []coordinator.VolumeStatus) []ops.StatusNode {
	list := nodeList{}
	known, err := n.view.nodesNow(ctx)
	if err == nil { // else it no longer leads
		for _, k := range known.Nodes {
			x := knownNode(k)
			list[k.Node] = &x
		}
	}
	for _, v := range volumes {
		if v.Row.State != meta.VolumeRemoved || v.Shards > 0 {
			list.role(cmp.Or(v.Row.Node, alone), v.Row.Address, config.RoleVolume, "", v.Health == coordinator.Up)
		}
	}
	return list.sorted()
}

// noteSuccessors notes which volumes are silent while their node has another one that is up: it came back with another data directory.
func noteSuccessors(all []ops.NodeVolume) {
	for i := range all {
		v := &all[i]
		if v.Health == string(coordinator.Up) || v.State == meta.VolumeStateText(meta.VolumeRemoved) {
			continue
		}
		for _, w := range all {
			if w.Node == v.Node && w.Health == string(coordinator.Up) && w.Volume != v.Volume {
				v.Note = fmt.Sprintf("gone: %s came back with another data directory, which has volume %d", v.Node, w.Volume)
			}
		}
	}
}

// rebalance changes what is asked of moves and tells how far they are.
func (n nodeOperator) rebalance(ctx context.Context, change *metapb.SetRebalance) (*ops.RebalanceAnswer, error) {
	row, p, err := n.coord.Rebalance(ctx, change)
	if err != nil {
		return nil, err
	}
	a := &ops.RebalanceAnswer{
		LimitBytes: row.GetBytesPerSecond(), Moving: p.Moving, Planned: p.Planned, Blocked: p.Blocked, Moved: p.Moved, CopiedBytes: p.CopiedBytes,
		RemainingBytes: p.RemainingBytes, BytesPerSecond: p.BytesPerSecond, Percent: p.Percent,
		ETASeconds: p.ETA.Round(time.Second).Seconds(), Shards: []ops.RebalanceShard{},
	}
	if a.LimitBytes == 0 {
		a.LimitBytes = rebalance.BytesPerSecondDefault
	}
	switch {
	case row.GetPaused():
		a.State = "paused"
	case p.Planning:
		a.State = "planning"
	case row.GetRunning():
		a.State = "rebalancing"
	case p.Moving+p.Planned+p.Blocked > 0:
		a.State = "moving"
	default:
		a.State = "idle"
	}
	for _, s := range p.Shards {
		a.Shards = append(a.Shards, ops.RebalanceShard{
			Shard: s.Shard, Joining: slices.Clone(s.Joining), Leaving: slices.Clone(s.Leaving), Phase: s.Phase, Bytes: s.Bytes, TotalBytes: s.TotalBytes,
		})
	}
	return a, nil
}

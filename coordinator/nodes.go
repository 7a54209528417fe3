package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/consensus"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// Times and bounds of knowing nodes.
const (
	nodeSilent  = 3 * time.Second  // a node that was heard of since then is alive; they tell of themselves each second
	nodeForget  = 10 * time.Minute // what is silent for so long and has neither coordinator nor volume is no node any more
	rivalForget = time.Minute
	nodesMax    = 1024 // remembered

	nodesSettle = 1500 * time.Millisecond // into its term a leader has heard of all that live
	nodesAnswer = 300 * time.Millisecond  // is left of a question's time, in any case, for the answer
)

// Bounds of what a node tells of itself.
const (
	infoTextMax     = 256 // bytes
	infoRolesMax    = 8
	infoSettingsMax = 64
)

// nodes are those that the leader has heard of, by name. It is soft state: a new leader hears of all that live within a second or two.
type nodes struct {
	mu     sync.Mutex
	byName map[string]*heardNode
	told   map[string]string // settings that differ, as last logged
}

type heardNode struct {
	zone, address string
	info          *coordpb.NodeInfo
	at            time.Time
	replaced      []byte // id of whoever had the name before
	replacedAt    time.Time
	rival         string // address of another one that asked for the name and was refused
	rivalAt       time.Time
}

// checkInfo refuses what is too large to be kept.
func checkInfo(r *coordpb.JoinRequest) error {
	const op = "coordinator.Join"
	i := r.Info
	for _, s := range append([]string{r.Node, r.Zone, r.Address, i.GetVersion(), i.GetS3(), i.GetRest(), i.GetCoordinator()}, i.GetRoles()...) {
		if len(s) > infoTextMax {
			return errs.E(op, errs.Invalid, "node %.64q tells of itself more than %d bytes", r.Node, infoTextMax)
		}
	}
	if len(i.GetRoles()) > infoRolesMax || len(i.GetSettings()) > infoSettingsMax || len(i.GetId()) > 16 {
		return errs.E(op, errs.Invalid, "node %s tells too much of itself", r.Node)
	}
	for _, s := range i.GetSettings() {
		if len(s.Setting) > infoTextMax || len(s.Mac) > 32 {
			return errs.E(op, errs.Invalid, "node %s tells too much of a setting", r.Node)
		}
	}
	return nil
}

// heard takes in a Join. taken says why the name is not the node's: another one of that name is alive. established nodes, whom the metadata
// or the Raft group knows, are never refused.
//
// again says of a refusal that the same one was given within rivalForget.
func (n *nodes) heard(r *coordpb.JoinRequest, established bool, now time.Time) (taken string, again bool, before *heardNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byName == nil {
		n.byName = map[string]*heardNode{}
	}
	was := n.byName[r.Node]
	if r.Info.GetLeaving() {
		if was != nil && !others(was.info, r.Info) {
			delete(n.byName, r.Node)
		}
		return "", false, nil
	}
	if was != nil && others(was.info, r.Info) {
		silent := now.Sub(was.at)
		if silent < nodeSilent && !established && !inItsPlace(was, r) {
			again = was.rival == r.Address && now.Sub(was.rivalAt) < rivalForget
			was.rival, was.rivalAt = r.Address, now
			return fmt.Sprintf("another node named %s, at %s and with another data directory, is alive", r.Node, was.address), again, nil
		}
		before = was
	}
	next := &heardNode{zone: r.Zone, address: r.Address, info: r.Info, at: now}
	switch {
	case before != nil:
		next.replaced, next.replacedAt = before.info.GetId(), now
		if now.Sub(before.at) < nodeSilent { // both are established
			next.rival, next.rivalAt = before.address, now
		}
	case was != nil:
		next.replaced, next.replacedAt, next.rival, next.rivalAt = was.replaced, was.replacedAt, was.rival, was.rivalAt
	default:
		n.forget(now)
		if len(n.byName) >= nodesMax {
			return "", false, nil
		}
	}
	n.byName[r.Node] = next
	return "", false, before
}

// others says that what two nodes tell of themselves comes from two data directories. A program of before tells none.
func others(a, b *coordpb.NodeInfo) bool {
	return len(a.GetId()) > 0 && len(b.GetId()) > 0 && !bytes.Equal(a.Id, b.Id)
}

// inItsPlace says that a node answers where the other one did, which is no more, then. Only of nodes that others call: gateways may all tell the
// same address.
func inItsPlace(was *heardNode, r *coordpb.JoinRequest) bool {
	return was.address == r.Address && (len(r.Volumes) > 0 || r.Info.GetCoordinator() != "")
}

// forget drops those that were silent for long.
func (n *nodes) forget(now time.Time) {
	maps.DeleteFunc(n.byName, func(_ string, h *heardNode) bool { return now.Sub(h.at) > nodeForget })
}

// all are the nodes by name.
func (n *nodes) all(now time.Time) []*coordpb.KnownNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(now)
	out := make([]*coordpb.KnownNode, 0, len(n.byName))
	for name, h := range n.byName {
		k := &coordpb.KnownNode{
			Node: name, Zone: h.zone, Address: h.address, Info: h.info, SilentMs: now.Sub(h.at).Milliseconds(), Replaced: h.replaced,
		}
		if len(h.replaced) > 0 {
			k.ReplacedMs = now.Sub(h.replacedAt).Milliseconds()
		}
		if h.rival != "" && now.Sub(h.rivalAt) < rivalForget {
			k.Rival = h.rival
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *coordpb.KnownNode) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// differences are the settings of which living nodes have different values.
func (n *nodes) differences(now time.Time) []*coordpb.Difference {
	n.mu.Lock()
	defer n.mu.Unlock()
	values := map[string]map[string][]string{} // setting, value, nodes
	for name, h := range n.byName {
		if now.Sub(h.at) >= nodeSilent {
			continue
		}
		for _, s := range h.info.GetSettings() {
			if values[s.Setting] == nil {
				values[s.Setting] = map[string][]string{}
			}
			values[s.Setting][string(s.Mac)] = append(values[s.Setting][string(s.Mac)], name)
		}
	}
	var out []*coordpb.Difference
	for _, setting := range slices.Sorted(maps.Keys(values)) {
		if len(values[setting]) < 2 {
			continue
		}
		d := &coordpb.Difference{Setting: setting}
		for _, names := range values[setting] {
			slices.Sort(names)
			d.Groups = append(d.Groups, &coordpb.NodeGroup{Nodes: names})
		}
		slices.SortFunc(d.Groups, func(a, b *coordpb.NodeGroup) int {
			return cmp.Or(len(b.Nodes)-len(a.Nodes), strings.Compare(a.Nodes[0], b.Nodes[0]))
		})
		out = append(out, d)
	}
	return out
}

// changes are the differences to log: those that are new or other than before, and those that are over.
func (n *nodes) changes(now []*coordpb.Difference) (begun []*coordpb.Difference, over []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.told
	n.told = map[string]string{}
	for _, d := range now {
		text := strings.Join(groupTexts(d), " | ")
		n.told[d.Setting] = text
		if was[d.Setting] != text {
			begun = append(begun, d)
		}
	}
	for setting := range was {
		if n.told[setting] == "" {
			over = append(over, setting)
		}
	}
	slices.Sort(over)
	return begun, over
}

// Nodes tells of the nodes that this leader has heard of, and in which settings they differ. A new leader first lets nodes tell of themselves,
// as far as the context has time for it. Only the leader knows: errs.NotLeader.
func (c *Coordinator) Nodes(ctx context.Context) (*coordpb.NodesReply, error) {
	c.settle(ctx)
	if _, err := c.node.Ready(); err != nil {
		return nil, err
	}
	now := c.cfg.Clock.Now()
	return &coordpb.NodesReply{Nodes: c.nodes.all(now), Differences: c.nodes.differences(now)}, nil
}

// settle waits until this term is nodesSettle old.
func (c *Coordinator) settle(ctx context.Context) {
	left := min(nodesSettle, nodesSettle-c.health.age(c.cfg.Clock.Now()))
	if end, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(end)-nodesAnswer)
	}
	if left <= 0 {
		return
	}
	select {
	case <-c.cfg.Clock.After(left):
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
}

// watchSettings logs settings in which nodes differ, when that begins or changes, and when it is over.
func (c *Coordinator) watchSettings() {
	begun, over := c.nodes.changes(c.nodes.differences(c.cfg.Clock.Now()))
	for _, d := range begun {
		c.cfg.Log.Warn("nodes differ in a setting that must be the same", zap.String("setting", d.Setting), zap.Strings("nodes", groupTexts(d)))
	}
	for _, setting := range over {
		c.cfg.Log.Info("nodes agree in a setting again", zap.String("setting", setting))
	}
}

// groupTexts are the groups of a difference, each in one text.
func groupTexts(d *coordpb.Difference) (all []string) {
	for _, g := range d.Groups {
		all = append(all, strings.Join(g.Nodes, ","))
	}
	return all
}

// admitName says whether the name is the node's, and notes whom it replaces.
func (c *Coordinator) admitName(l *metapb.Layout, r *coordpb.JoinRequest) (taken string) {
	taken, again, before := c.nodes.heard(r, c.established(l, r), c.cfg.Clock.Now())
	switch {
	case again: // it was told
	case taken != "":
		c.cfg.Log.Warn("a node was refused: its name is taken", zap.String("node", r.Node), zap.String("address", r.Address), zap.String("cause", taken))
	case before != nil:
		c.cfg.Log.Warn("a node has come back with another data directory", zap.String("node", r.Node), zap.String("address", r.Address),
			zap.String("id", hex.EncodeToString(r.Info.GetId())), zap.String("before", hex.EncodeToString(before.info.GetId())))
	}
	return taken
}

// established says that the metadata or the Raft group knows the node.
func (c *Coordinator) established(l *metapb.Layout, r *coordpb.JoinRequest) bool {
	for _, v := range r.Volumes {
		if row := rowOf(l, v.Incarnation); row != nil && row.Node == r.Node {
			return true
		}
	}
	if r.Info.GetCoordinator() == "" {
		return false
	}
	members, err := c.node.Members()
	return err == nil && slices.ContainsFunc(members, func(m consensus.Member) bool { return m.ID == r.Info.Coordinator })
}

// predecessors are the volumes that the node's name had and the node has not.
func predecessors(l *metapb.Layout, r *coordpb.JoinRequest) (numbers []uint32) {
	if len(r.Volumes) == 0 {
		return nil
	}
	for _, row := range l.GetVolumes() {
		if row.Node == r.Node && row.State != meta.VolumeRemoved &&
			!slices.ContainsFunc(r.Volumes, func(v *coordpb.NodeVolume) bool { return bytes.Equal(v.Incarnation, row.Id) }) {
			numbers = append(numbers, row.Number)
		}
	}
	return numbers
}

// differencesOf are those that a node takes part in.
func differencesOf(all []*coordpb.Difference, node string) (own []*coordpb.Difference) {
	for _, d := range all {
		if slices.ContainsFunc(d.Groups, func(g *coordpb.NodeGroup) bool { return slices.Contains(g.Nodes, node) }) {
			own = append(own, d)
		}
	}
	return own
}

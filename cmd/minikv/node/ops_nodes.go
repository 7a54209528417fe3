package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"minikv/internal/config"
	"minikv/internal/ops"
	"minikv/proto/coordpb"
)

// nodeUp is how long ago the leader may have heard of a node that counts as up.
const nodeUp = 5 * time.Second

func seconds(ms int64) float64 {
	return (time.Duration(ms) * time.Millisecond).Round(100 * time.Millisecond).Seconds()
}

// knownNode is a node as the leader has heard of it.
func knownNode(k *coordpb.KnownNode) ops.StatusNode {
	n := ops.StatusNode{
		Node: k.Node, Zone: k.Zone, Address: k.Address, S3: k.Info.GetS3(), REST: k.Info.GetRest(), Roles: slices.Clone(k.Info.GetRoles()),
		Version: k.Info.GetVersion(), Up: k.SilentMs < nodeUp.Milliseconds(), Silent: seconds(k.SilentMs), Uptime: seconds(k.Info.GetUptimeMs()),
	}
	if len(k.Replaced) > 0 {
		n.Notes = append(n.Notes, fmt.Sprintf("came back %s ago with another data directory: id %s, before %s",
			(time.Duration(k.ReplacedMs)*time.Millisecond).Round(time.Second), shortID(k.Info.GetId()), shortID(k.Replaced)))
	}
	if k.Rival != "" {
		n.Notes = append(n.Notes, fmt.Sprintf("another node, at %s, uses the same name", k.Rival))
	}
	if u := k.Info.GetUnresolved(); u > 0 {
		n.Notes = append(n.Notes, fmt.Sprintf("asks for the outcome of %d commands", u))
	}
	return n
}

func shortID(id []byte) string { return hex.EncodeToString(id[:min(4, len(id))]) }

// nodeList puts together what is known of nodes, each by its name.
type nodeList map[string]*ops.StatusNode

func (l nodeList) at(name string) *ops.StatusNode {
	if l[name] == nil {
		l[name] = &ops.StatusNode{Node: name}
	}
	return l[name]
}

// role notes that a node has a role, seen from elsewhere than the leader.
func (l nodeList) role(name, address, role, version string, up bool) {
	n := l.at(name)
	if !slices.Contains(n.Roles, role) {
		n.Roles = append(n.Roles, role)
	}
	n.Up = n.Up || up
	n.Address, n.Version = cmp.Or(n.Address, address), cmp.Or(n.Version, version)
}

func (l nodeList) sorted() []ops.StatusNode {
	all := make([]ops.StatusNode, 0, len(l))
	for _, n := range l {
		slices.Sort(n.Roles)
		all = append(all, *n)
	}
	slices.SortFunc(all, func(a, b ops.StatusNode) int { return strings.Compare(a.Node, b.Node) })
	return all
}

// statusNodes are the nodes that the leader has heard of, those that coordinators and volumes are on, and this one.
func statusNodes(a *ops.StatusAnswer, v viewer, known *coordpb.NodesReply) []ops.StatusNode {
	list := nodeList{}
	for _, k := range known.GetNodes() {
		n := knownNode(k)
		list[k.Node] = &n
	}
	self, roles := v.self()
	for _, role := range roles {
		list.role(self, "", role, a.Version, true)
	}
	for _, c := range a.Coordinators {
		list.role(c.Node, c.Address, config.RoleCoordinator, c.Version, c.Up)
	}
	for _, vol := range a.Volumes {
		list.role(vol.Node, vol.Address, config.RoleVolume, "", vol.Up)
	}
	return list.sorted()
}

func statusDifferences(known *coordpb.NodesReply) (all []ops.StatusDifference) {
	for _, d := range known.GetDifferences() {
		x := ops.StatusDifference{Setting: d.Setting}
		for _, g := range d.Groups {
			x.Groups = append(x.Groups, g.Nodes)
		}
		all = append(all, x)
	}
	return all
}

// statusInDoubt adds up what volumes, the leader and gateways have in doubt.
func statusInDoubt(a *ops.StatusAnswer, coordinators []*coordpb.StatusReply, known *coordpb.NodesReply) (d ops.StatusInDoubt) {
	for _, v := range a.Volumes {
		d.Blobs += v.InDoubt
		if v.InDoubt > 0 && (d.Epoch == 0 || v.InDoubtEpoch < d.Epoch) {
			d.Epoch = v.InDoubtEpoch
		}
	}
	if d.Epoch > 0 && a.Epoch > d.Epoch {
		d.Epochs = a.Epoch - d.Epoch
	}
	for _, c := range coordinators {
		if c.Ready && c.Term >= a.Term {
			d.Queued, d.InFlight, d.Unknown = c.ProposalsQueued, c.ProposalsInFlight, c.ProposalsUnknown
		}
	}
	for _, n := range known.GetNodes() {
		d.Unresolved += n.Info.GetUnresolved()
	}
	return d
}

// nodesNow is this node alone, as it would tell a leader.
func (s *storage) nodesNow(context.Context) (*coordpb.NodesReply, error) {
	_, roles := s.self()
	info := s.about.info(roles)
	info.Unresolved = uint64(s.meta.Unresolved())
	return &coordpb.NodesReply{Nodes: []*coordpb.KnownNode{{Node: alone, Info: info}}}, nil
}

func (s *storage) waiting() []string { return nil }

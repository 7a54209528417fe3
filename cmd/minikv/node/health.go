package node

import (
	"fmt"
	"slices"
	"strings"

	"minikv/internal/config"
	"minikv/internal/ops"
	"minikv/proto/metapb"
)

// lagMax is how many entries a coordinator may be behind before that is worth a word.
const lagMax = 8192

// judge gives the verdict on a status and its reasons.
func judge(a *ops.StatusAnswer, l *metapb.Layout) {
	a.Health = ops.Healthy
	worse := func(h ops.Health, format string, args ...any) {
		a.Reasons = append(a.Reasons, fmt.Sprintf(format, args...))
		if h == ops.Unavailable || a.Health == ops.Healthy {
			a.Health = h
		}
	}
	for _, lack := range a.Waiting {
		worse(ops.Unavailable, "waiting for the cluster: %s", lack)
	}
	judgeCoordinators(a, worse)
	judgeNodes(a, worse)
	judgeVolumes(a, worse)
	judgeShards(a, l, worse)
	if a.Counts != nil && a.Counts.UnderReplicated > 0 {
		worse(ops.Degraded, "%d replicas are missing and will be made again", a.Counts.UnderReplicated)
	}
}

func judgeCoordinators(a *ops.StatusAnswer, worse func(ops.Health, string, ...any)) {
	var commit uint64
	for _, c := range a.Coordinators {
		if c.State == "leader" {
			commit = max(commit, c.CommitIndex)
		}
	}
	switch {
	case a.Leader == "":
		worse(ops.Unavailable, "no coordinator leads: nothing can be read or written")
	case a.Counts == nil:
		worse(ops.Unavailable, "the leader %s does not answer", a.Leader)
	}
	for _, c := range a.Coordinators {
		switch {
		case !c.Up:
			worse(ops.Degraded, "coordinator %s at %s does not answer", c.Node, c.Address)
		case !c.Voter:
			worse(ops.Degraded, "coordinator %s does not vote yet", c.Node)
		case commit > c.AppliedIndex+lagMax:
			worse(ops.Degraded, "coordinator %s is %d entries behind", c.Node, commit-c.AppliedIndex)
		}
		switch {
		case c.StorageFull && c.State == "leader":
			worse(ops.Unavailable, "the disk of the leader %s is full: writes are refused", c.Node)
		case c.StorageFull:
			worse(ops.Degraded, "the disk of coordinator %s is full", c.Node)
		}
	}
}

// judgeNodes tells of nodes that neither a coordinator nor a volume tells of, and of what an operator has set in two ways.
func judgeNodes(a *ops.StatusAnswer, worse func(ops.Health, string, ...any)) {
	for _, n := range a.Nodes {
		if !n.Up && slices.Equal(n.Roles, []string{config.RoleGateway}) {
			worse(ops.Degraded, "gateway %s is silent for %.0f s", n.Node, n.Silent)
		}
	}
	for _, d := range a.Differences {
		var groups []string
		for _, g := range d.Groups {
			groups = append(groups, strings.Join(g, ", "))
		}
		worse(ops.Degraded, "nodes have different values of %s: %s", d.Setting, strings.Join(groups, " | "))
	}
}

// successor is another volume of the node of a volume, one that is up: the node has come back with another data directory.
func successor(a *ops.StatusAnswer, of *ops.StatusVolume) (number uint32) {
	for _, v := range a.Volumes {
		if v.Node == of.Node && v.Number != of.Number && v.Up {
			number = v.Number
		}
	}
	return number
}

func judgeVolumes(a *ops.StatusAnswer, worse func(ops.Health, string, ...any)) {
	for _, v := range a.Volumes {
		switch {
		case !v.Up && successor(a, &v) > 0:
			worse(ops.Degraded, "volume %d is gone: %s came back with another data directory, which has volume %d", v.Number, v.Node, successor(a, &v))
		case !v.Up:
			worse(ops.Degraded, "volume %d on %s does not answer", v.Number, v.Node)
		case v.Full:
			worse(ops.Degraded, "volume %d on %s is full: it takes no new blobs", v.Number, v.Node)
		}
		if v.Damaged > 0 {
			worse(ops.Degraded, "%d pieces of volume %d on %s cannot be read", v.Damaged, v.Number, v.Node)
		}
	}
}

// judgeShards counts the shards that cannot be read, or not be written.
func judgeShards(a *ops.StatusAnswer, l *metapb.Layout, worse func(ops.Health, string, ...any)) {
	up, roomy := map[uint32]bool{}, map[uint32]bool{}
	for _, v := range a.Volumes {
		up[v.Number], roomy[v.Number] = v.Up, v.Up && !v.Full
	}
	unread, unwritten, few := 0, 0, 0
	for _, s := range l.GetShards() {
		if len(s.Members) < int(a.Replicas) {
			few++
		}
		readable, writable := false, 0
		for _, m := range s.Members {
			readable = readable || up[m]
			if roomy[m] {
				writable++
			}
		}
		for _, m := range s.Leaving {
			readable = readable || up[m]
		}
		if !readable {
			unread++
		}
		if writable < len(s.Members)/2+1 {
			unwritten++
		}
	}
	if unread > 0 {
		worse(ops.Unavailable, "%d of %d shards have no volume that answers: their objects cannot be read", unread, len(l.GetShards()))
	}
	if few > 0 {
		worse(ops.Degraded, "%d of %d shards have fewer than %d replicas yet (minikv pool list)", few, len(l.GetShards()), a.Replicas)
	}
	if unwritten == 0 {
		return
	}
	h := ops.Degraded // writes go to other shards
	if unwritten == len(l.GetShards()) {
		h = ops.Unavailable
	}
	worse(h, "%d of %d shards have no write quorum", unwritten, len(l.GetShards()))
}

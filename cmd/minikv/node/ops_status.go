package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"minikv/coordinator/meta"
	"minikv/internal/buildinfo"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/ops"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
	"minikv/proto/volumepb"
)

// viewer is what a status is put together from.
type viewer interface {
	self() (node string, roles []string)
	stats(ctx context.Context) (*metapb.StatsAnswer, error)
	currentLayout(ctx context.Context) *metapb.Layout
	coordinatorsNow(ctx context.Context) []*coordpb.StatusReply
	volumeStats(ctx context.Context, number uint32) (*volumepb.StatsReply, error)
	nodesNow(ctx context.Context) (*coordpb.NodesReply, error) // as the leader knows them
	waiting() []string
}

func statusOps(v viewer, cfg *config.Config) []ops.Handler {
	return []ops.Handler{ops.Status.Handle(func(ctx context.Context, _ *ops.None, _ ops.Progress) (*ops.StatusAnswer, error) {
		return statusNow(ctx, v, cfg), nil
	})}
}

// statusNow asks everyone at once; who does not answer in time is down.
func statusNow(ctx context.Context, v viewer, cfg *config.Config) *ops.StatusAnswer {
	ctx, cancel := context.WithTimeout(ctx, 2*statusMax)
	defer cancel()
	layout := v.currentLayout(ctx)
	a := &ops.StatusAnswer{Fsync: cfg.Fsync, Reasons: []string{}, Coordinators: []ops.StatusCoordinator{}, Nodes: []ops.StatusNode{}}
	a.Version, _ = buildinfo.Get()
	a.Node, _ = v.self()
	describeLayout(a, layout)
	var wg sync.WaitGroup
	wg.Go(func() {
		if s, err := v.stats(ctx); err == nil {
			a.Counts = statusCounts(s)
		}
	})
	var replies []*coordpb.StatusReply
	wg.Go(func() {
		replies = v.coordinatorsNow(ctx)
		a.Coordinators = statusCoordinators(replies, cfg)
	})
	wg.Go(func() { a.Volumes = statusVolumes(ctx, v, layout) })
	var known *coordpb.NodesReply
	wg.Go(func() { known, _ = v.nodesNow(ctx) })
	wg.Wait()
	for _, c := range a.Coordinators {
		if c.State == "leader" && c.Term >= a.Term {
			a.Leader, a.Term = c.Node, c.Term
		}
	}
	a.Nodes = statusNodes(a, v, known)
	a.Differences = statusDifferences(known)
	a.InDoubt = statusInDoubt(a, replies, known)
	a.Waiting = v.waiting()
	judge(a, layout)
	return a
}

func describeLayout(a *ops.StatusAnswer, l *metapb.Layout) {
	a.Cluster = hex.EncodeToString(l.GetCluster().GetId())
	a.Epoch, a.Horizon, a.Level = l.GetCluster().GetEpoch(), l.GetCluster().GetHorizon(), l.GetCluster().GetLevel()
	if len(l.GetPools()) > 0 {
		p := l.Pools[0]
		a.Shards, a.Replicas, a.BlobBytes = p.Shards, p.Replication, p.BlobSize
	}
}

func statusCounts(s *metapb.StatsAnswer) *ops.StatusCounts {
	return &ops.StatusCounts{
		Buckets: s.Buckets, Objects: s.Objects, Bytes: s.Bytes, Uploads: s.Uploads, UnderReplicated: s.Missing, Queued: s.Queued, Sessions: s.Sessions,
	}
}

// statusCoordinators are those that answered, and the members of the group that did not.
func statusCoordinators(replies []*coordpb.StatusReply, cfg *config.Config) []ops.StatusCoordinator {
	all := []ops.StatusCoordinator{}
	best := newestGroup(replies)
	for _, r := range replies {
		all = append(all, ops.StatusCoordinator{
			Node: r.Node, Incarnation: r.Incarnation, State: strings.ToLower(r.State), Up: true, Term: r.Term, CommitIndex: r.CommitIndex,
			AppliedIndex: r.AppliedIndex, LastIndex: r.LastIndex, SnapshotIndex: r.SnapshotIndex, StorageFull: r.StorageFull, Version: r.Version,
		})
		if c := &all[len(all)-1]; c.State == "leader" && !r.Ready {
			c.State = "candidate" // it was elected and has not applied what came before
		}
	}
	for _, m := range best.GetServers() {
		i := slices.IndexFunc(all, func(c ops.StatusCoordinator) bool { return c.Incarnation == m.Incarnation })
		if i < 0 {
			all = append(all, ops.StatusCoordinator{Node: nodeAt(cfg, m.Address), Incarnation: m.Incarnation, State: "down"})
			i = len(all) - 1
		}
		all[i].Address, all[i].Voter = m.Address, m.Voter
	}
	slices.SortFunc(all, func(a, b ops.StatusCoordinator) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Incarnation, b.Incarnation))
	})
	return all
}

// newestGroup is the reply that knows the group best: the leader's, else that of the highest term.
func newestGroup(replies []*coordpb.StatusReply) (best *coordpb.StatusReply) {
	for _, r := range replies {
		if best == nil || r.Ready && !best.Ready || r.Ready == best.Ready && (r.Term > best.Term || r.Term == best.Term && r.CommitIndex > best.CommitIndex) {
			best = r
		}
	}
	return best
}

// nodeAt is the name of the node at an address, as far as the configuration tells.
func nodeAt(cfg *config.Config, addr string) string {
	for _, p := range cfg.Cluster {
		if p.Address == addr {
			return p.Name
		}
	}
	return addr
}

func statusVolumes(ctx context.Context, v viewer, l *metapb.Layout) []ops.StatusVolume {
	shards := map[uint32]uint32{}
	for _, s := range l.GetShards() {
		for _, m := range s.Members {
			shards[m]++
		}
	}
	rows := slices.DeleteFunc(slices.Clone(l.GetVolumes()), func(row *metapb.VolumeRow) bool {
		return row.State == meta.VolumeRemoved && shards[row.Number] == 0 // nobody's business any more
	})
	all := make([]ops.StatusVolume, len(rows))
	var wg sync.WaitGroup
	for i, row := range rows {
		wg.Go(func() {
			s := ops.StatusVolume{
				Number: row.Number, ID: hex.EncodeToString(row.Id), Node: row.Node, Zone: row.Zone, Address: row.Address,
				State: "down", Shards: shards[row.Number], Capacity: row.Capacity,
			}
			if st, err := v.volumeStats(ctx, row.Number); err == nil {
				s.Up, s.State, s.Full = true, "up", st.Full
				switch {
				case row.State != meta.VolumeIn:
					s.State = meta.VolumeStateText(row.State)
				case st.Full:
					s.State = "full"
				}
				s.Blobs, s.Bytes, s.Used, s.Free, s.Damaged = st.Blobs, st.Bytes, st.SegmentBytes, st.DiskFree, st.Damaged
				s.InDoubt, s.InDoubtEpoch, s.InDoubtSeconds = st.InDoubt, st.InDoubtEpoch, seconds(st.InDoubtSeenMs)
				if st.DiskTotal > 0 {
					s.Capacity = st.DiskTotal
				}
			}
			all[i] = s
		})
	}
	wg.Wait()
	return all
}

// alone is the name of the only node of a process without a cluster.
const alone = "local"

func (s *storage) self() (string, []string) {
	return alone, []string{config.RoleGateway, config.RoleCoordinator, config.RoleVolume}
}

func (s *storage) currentLayout(ctx context.Context) *metapb.Layout {
	_ = s.meta.RefreshLayout(ctx) // the one before does
	l := s.meta.Layout()
	if len(l.GetVolumes()) == 1 && l.Volumes[0].Node == "" {
		l = &metapb.Layout{Cluster: l.Cluster, Pools: l.Pools, Shards: l.Shards, Volumes: []*metapb.VolumeRow{
			{Number: l.Volumes[0].Number, Id: l.Volumes[0].Id, Node: alone, Capacity: l.Volumes[0].Capacity},
		}}
	}
	return l
}

func (s *storage) coordinatorsNow(context.Context) []*coordpb.StatusReply {
	st := s.coord.Status()
	version, _ := buildinfo.Get()
	return []*coordpb.StatusReply{{
		Node: alone, Incarnation: st.ID, State: st.State, Ready: st.Ready, Formed: true, Term: st.Term, Leader: st.Leader,
		CommitIndex: st.CommitIndex, AppliedIndex: st.AppliedIndex, LastIndex: st.LastIndex, SnapshotIndex: st.SnapshotIndex,
		ProposalsQueued: st.Queued, ProposalsInFlight: st.InFlight, ProposalsUnknown: st.Unknown,
		StorageFull: st.StorageFull, Version: version, Servers: []*coordpb.Server{{Incarnation: st.ID, Voter: true}},
	}}
}

func (s *storage) volumeStats(_ context.Context, number uint32) (*volumepb.StatsReply, error) {
	if number != volumeNumber {
		return nil, errs.E("node.Stats", errs.Unavailable, "there is no volume %d", number)
	}
	return s.volume.statsReply(), nil
}

func (c *cluster) self() (string, []string) { return c.cfg.Node, c.cfg.Roles }

func (c *cluster) currentLayout(ctx context.Context) *metapb.Layout {
	if a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}}); err == nil {
		return a.GetLayout()
	}
	return c.layout.Load() // as it was
}

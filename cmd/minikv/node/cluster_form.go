package node

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/consensus"
	"minikv/coordinator/meta"
	"minikv/internal/buildinfo"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/rpc/raftnet"
	"minikv/proto/coordpb"
)

// Times of forming and belonging.
const (
	formEvery     = 200 * time.Millisecond
	announceEvery = time.Second
	statusMax     = time.Second
)

// form begins the Raft group once every listed coordinator has said that it is empty. Only the first by name does, so that there
// can't be two beginnings: the others learn the group from it. A wiped node that comes back meets others that are not empty, and
// never begins another group.
func (c *cluster) form() {
	if !c.begins() {
		return
	}
	for !c.coord.Formed() {
		if voters := c.emptyCoordinators(); voters != nil {
			if err := c.coord.Form(voters); err != nil {
				c.log.Warn("the Raft group could not be formed", zap.Error(err))
			}
		}
		if !c.pause(c.ctx, formEvery) {
			return
		}
	}
}

// begins says that this node is the first by name of those that found the cluster.
func (c *cluster) begins() bool {
	_, founds := c.cfg.Founding()
	return founds && !slices.ContainsFunc(c.cfg.Cluster, func(p config.Peer) bool { return p.Name < c.cfg.Node })
}

// emptyCoordinators are all the listed ones; nil unless each has answered, under its name, that it is empty.
func (c *cluster) emptyCoordinators() []consensus.Member {
	var voters []consensus.Member
	for _, p := range c.cfg.Cluster {
		s := c.coordinatorReply()
		if p.Name != c.cfg.Node {
			ctx, cancel := context.WithTimeout(c.ctx, statusMax)
			var err error
			s, err = c.remote.StatusOf(ctx, p.Address)
			cancel()
			if err != nil {
				return nil
			}
		}
		if s.Formed || s.Node != p.Name || len(s.Servers) != 1 || s.Servers[0].RaftAddress == "" {
			return nil
		}
		voters = append(voters, consensus.Member{
			ID: s.Incarnation, Address: raftnet.JoinAddresses(p.Address, s.Servers[0].RaftAddress), Voter: true,
		})
	}
	return voters
}

// coordinatorReply is this node's coordinator as it tells others. An empty one names itself as its only server.
func (c *cluster) coordinatorReply() *coordpb.StatusReply {
	st := c.coord.Status()
	version, _ := buildinfo.Get()
	r := &coordpb.StatusReply{
		Node: c.cfg.Node, Incarnation: st.ID, State: st.State, Ready: c.coord.Leads() == nil, Formed: c.coord.Formed(), Term: st.Term,
		Leader: st.Leader, CommitIndex: st.CommitIndex, AppliedIndex: st.AppliedIndex, LastIndex: st.LastIndex,
		SnapshotIndex: st.SnapshotIndex, StorageFull: st.StorageFull, Version: version,
		Cluster: hex.EncodeToString(c.coord.ClusterID()), RaftAddress: c.raftAddr, Waiting: st.Waiting,
		ProposalsQueued: st.Queued, ProposalsInFlight: st.InFlight, ProposalsUnknown: st.Unknown,
		Level: meta.Level,
	}
	if !r.Formed {
		r.Servers = []*coordpb.Server{{Incarnation: st.ID, Address: c.rpcAddr, RaftAddress: c.raftAddr}}
		return r
	}
	members, err := c.coord.Members()
	if err != nil {
		return r
	}
	for _, m := range members {
		rpcAddr, raftAddr, _ := raftnet.SplitAddress(m.Address)
		r.Servers = append(r.Servers, &coordpb.Server{Incarnation: m.ID, Address: rpcAddr, RaftAddress: raftAddr, Voter: m.Voter})
		if m.ID == st.Leader {
			r.LeaderAddress = rpcAddr
		}
	}
	return r
}

func (c *cluster) leaderAddress() string { return c.coordinatorReply().LeaderAddress }

// announce tells the leader again and again that this node is there, with what it has.
func (c *cluster) announce() {
	last := ""
	for {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		reply, err := c.Join(ctx, c.joinRequest())
		if err == nil {
			c.nameTaken.Store(reply.Taken != "")
			c.member.heard(reply, time.Now(), c.log)
			err = c.heardBack(ctx, reply)
		}
		cancel()
		if err != nil && c.ctx.Err() == nil && c.layout.Load() != nil && err.Error() != last {
			last = err.Error()
			c.log.Warn("the leader does not hear this node", zap.Error(err))
		}
		if !c.pause(c.ctx, announceEvery) {
			return
		}
	}
}

func (c *cluster) joinRequest() *coordpb.JoinRequest {
	r := &coordpb.JoinRequest{Node: c.cfg.Node, Zone: c.cfg.Zone, Address: c.rpcAddr, Fsync: c.cfg.Fsync, Level: meta.Level, Info: c.nodeInfo()}
	if c.coord != nil && !c.coord.Formed() {
		r.Incarnation, r.RaftAddress, r.Voter = c.coord.ID(), raftnet.JoinAddresses(c.rpcAddr, c.raftAddr), true
	}
	if c.volume != nil {
		r.Volumes = []*coordpb.NodeVolume{c.nodeVolume()}
	}
	return r
}

// promote makes voters of members that have caught up, while this coordinator leads.
func (c *cluster) promote() {
	belongs := true
	for c.pause(c.ctx, announceEvery) {
		members, err := c.coord.Members()
		if err != nil {
			continue
		}
		belongs = c.tellMembership(members, belongs)
		if c.coord.Leads() != nil {
			continue
		}
		for _, m := range members {
			if !m.Voter && c.caughtUp(m) {
				err := c.coord.Promote(m)
				c.log.Info("a coordinator has caught up", zap.String("id", m.ID), zap.String("address", m.Address), zap.Error(err))
			}
		}
	}
}

// tellMembership logs when this coordinator was removed from the group, or belongs to it again.
func (c *cluster) tellMembership(members []consensus.Member, before bool) (now bool) {
	id := c.coord.ID()
	now = len(members) == 0 || slices.ContainsFunc(members, func(m consensus.Member) bool { return m.ID == id })
	switch {
	case before && !now:
		c.log.Warn("this coordinator was removed from the Raft group; minikv raft add makes it a member again", zap.String("address", c.rpcAddr))
	case now && !before:
		c.log.Info("this coordinator is a member of the Raft group again")
	}
	return now
}

// caughtUpWithin is how many entries a member may be behind and still be made a voter.
const caughtUpWithin = 64

func (c *cluster) caughtUp(m consensus.Member) bool {
	addr, _, err := raftnet.SplitAddress(m.Address)
	if err != nil {
		return false
	}
	commit := c.coord.Status().CommitIndex
	ctx, cancel := context.WithTimeout(c.ctx, statusMax)
	defer cancel()
	s, err := c.remote.StatusOf(ctx, addr)
	return err == nil && s.Incarnation == m.ID && s.AppliedIndex+caughtUpWithin >= commit
}

// levelOf asks another coordinator for the highest command level that its program knows.
func (c *cluster) levelOf(ctx context.Context, m consensus.Member) (uint32, error) {
	addr, _, err := raftnet.SplitAddress(m.Address)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	s, err := c.remote.StatusOf(ctx, addr)
	if err == nil && s.Incarnation != m.ID {
		err = errs.E("node.level", errs.Unavailable, "another coordinator is there now")
	}
	return s.GetLevel(), err
}

// coordinatorsNow asks all coordinators how they are; those that do not answer are left out.
func (c *cluster) coordinatorsNow(ctx context.Context) []*coordpb.StatusReply {
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	addrs := c.remote.Addresses()
	replies := make([]*coordpb.StatusReply, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		wg.Go(func() { replies[i], _ = c.remote.StatusOf(ctx, a) })
	}
	wg.Wait()
	replies = slices.DeleteFunc(replies, func(r *coordpb.StatusReply) bool { return r == nil })
	slices.SortFunc(replies, func(a, b *coordpb.StatusReply) int { return strings.Compare(a.Node, b.Node) })
	return slices.CompactFunc(replies, func(a, b *coordpb.StatusReply) bool { return a.Incarnation == b.Incarnation })
}

package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
)

// Times of becoming a member.
const (
	nameGrace   = 2 * time.Second // the leader is waited for so long, if it says nothing of the name
	nameRefused = 5 * time.Second // another node of the name that lives has told of itself by then, again and again
	toldRepeat  = time.Minute     // what was said of a lasting trouble is said again
	leaveMax    = 500 * time.Millisecond
)

// membership is what the leader says of this node.
type membership struct {
	accepted chan struct{} // closed: the leader has taken this node for what it says it is
	refused  chan error    // 1: it never did, since another node of the name lives
	taken    time.Time     // since when the name is another one's; zero: it is not. Only announce uses it
	troubles troubles      // as taken
}

func newMembership() *membership {
	return &membership{accepted: make(chan struct{}), refused: make(chan error, 1)}
}

func (m *membership) isAccepted() bool {
	select {
	case <-m.accepted:
		return true
	default:
		return false
	}
}

// heard takes in what the leader says of this node itself.
func (m *membership) heard(r *coordpb.JoinReply, now time.Time, log *zap.Logger) {
	m.tell(r, now, log)
	if r.Taken == "" {
		m.taken = time.Time{}
		if !m.isAccepted() {
			close(m.accepted)
		}
		return
	}
	if m.taken.IsZero() {
		m.taken = now
	}
	if m.isAccepted() || now.Sub(m.taken) < nameRefused {
		return
	}
	select {
	case m.refused <- errs.E("node", errs.Conflict, "%s; names are unique: give this node another one with --node, or end the other node", r.Taken):
	default:
	}
}

// tell logs what is wrong with this node among the others.
func (m *membership) tell(r *coordpb.JoinReply, now time.Time, log *zap.Logger) {
	m.troubles.see("name", r.Taken, now, func(cause string) {
		log.Warn("the leader refuses this node: its name is taken", zap.String("cause", cause))
	}, func() { log.Info("this node has its name now") })
	m.troubles.see("settings", differencesText(r.Differences), now, func(cause string) {
		log.Warn("settings that must be the same differ between nodes, and clients are answered differently", zap.String("settings", cause))
	}, func() { log.Info("the settings of the nodes agree again") })
	m.troubles.see("predecessors", numbersText(r.Predecessors), now, func(numbers string) {
		log.Warn("this node's name had other volumes before: the data directory is another one. Their blobs are copied from other replicas once they "+
			"are out; minikv node remove NUMBER forgets one at once", zap.String("volumes", numbers))
	}, func() {})
}

// differencesText tells of all differences in one line: "root-password (g1, g2 | g3)".
func differencesText(all []*coordpb.Difference) string {
	var texts []string
	for _, d := range all {
		var groups []string
		for _, g := range d.Groups {
			groups = append(groups, strings.Join(g.Nodes, ", "))
		}
		texts = append(texts, fmt.Sprintf("%s (%s)", d.Setting, strings.Join(groups, " | ")))
	}
	return strings.Join(texts, "; ")
}

func numbersText(numbers []uint32) string {
	var texts []string
	for _, n := range numbers {
		texts = append(texts, fmt.Sprint(n))
	}
	return strings.Join(texts, ", ")
}

// troubles remembers what was logged, by topic.
type troubles map[string]trouble

type trouble struct {
	text string
	told time.Time
}

// see logs a trouble when it is new, has changed or has lasted for toldRepeat since it was last told, and its end. No text: there is none.
func (t *troubles) see(topic, text string, now time.Time, begun func(text string), over func()) {
	was, is := (*t)[topic], text != ""
	switch {
	case is && (was.text != text || now.Sub(was.told) >= toldRepeat):
		if *t == nil {
			*t = troubles{}
		}
		(*t)[topic] = trouble{text, now}
		begun(text)
	case !is && was.text != "":
		delete(*t, topic)
		over()
	}
}

// awaitName waits until the leader has taken this node for a member. A leader that says nothing of the name for a while does not keep it from
// serving; one that says that another node of the name lives does.
func (c *cluster) awaitName(ctx context.Context) error {
	for began := time.Now(); ; {
		select {
		case <-c.member.accepted:
			return nil
		case err := <-c.member.refused:
			return err
		default:
		}
		if time.Since(began) > nameGrace && !c.nameTaken.Load() {
			return nil
		}
		if !c.pause(ctx, awaitEvery) {
			return errs.E("cluster", errs.Unavailable, "told to end before it was a member")
		}
	}
}

// nodeInfo is what this node tells of itself.
func (c *cluster) nodeInfo() *coordpb.NodeInfo {
	i := c.about.info(c.cfg.Roles)
	i.Settings = c.about.shared(c.cfg, c.security.Secret, c.layout.Load() != nil)
	if c.coord != nil {
		i.Coordinator = c.coord.ID()
	}
	i.Unresolved = uint64(c.unresolved())
	return i
}

// leave tells the leader that this node ends in good order, so that nobody waits for it or keeps its name.
func (c *cluster) leave() {
	if c.about == nil || c.remote == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveMax)
	defer cancel()
	info := c.nodeInfo()
	info.Leaving = true
	_, err := c.Join(ctx, &coordpb.JoinRequest{Node: c.cfg.Node, Zone: c.cfg.Zone, Address: c.rpcAddr, Fsync: c.cfg.Fsync, Info: info})
	if err != nil {
		c.log.Debug("the leader was not told of the end", zap.Error(err))
	}
}

// nodesNow asks the leader for the nodes that it has heard of.
func (c *cluster) nodesNow(ctx context.Context) (*coordpb.NodesReply, error) {
	if l := c.here(); l != nil {
		return l.Nodes(ctx)
	}
	return c.remote.Nodes(ctx)
}

// callable says that other nodes call this one: those without coordinator and volume only call.
func (c *cluster) callable() bool {
	return slices.ContainsFunc(c.cfg.Roles, func(r string) bool { return r != config.RoleGateway })
}

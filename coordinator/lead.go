package coordinator

import (
	"context"

	"minikv/coordinator/consensus"
	"minikv/proto/metapb"
)

// WhileLeading gives a context that ends with ctx, and when this coordinator no longer leads the present term or closes. Call cancel
// when done. errs.NotLeader, errs.Unavailable: it does not lead now.
func (c *Coordinator) WhileLeading(ctx context.Context) (leading context.Context, cancel context.CancelFunc, err error) {
	term, err := c.node.Ready()
	if err != nil {
		return nil, nil, err
	}
	leading, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.awaitEnd(leading, term)
		stop()
	}()
	unhook := context.AfterFunc(c.ctx, stop)
	return leading, func() { unhook(); stop(); <-done }, nil
}

// Remove takes a member out of the Raft group; see consensus.Node.
func (c *Coordinator) Remove(id string, answers func(consensus.Member) bool) error {
	return c.node.Remove(id, answers)
}

// Admit adds a coordinator that does not vote yet; see consensus.Node.
func (c *Coordinator) Admit(id, addr string) error { return c.node.Admit(id, addr) }

// TransferTo hands leadership to a voter; see consensus.Node.
func (c *Coordinator) TransferTo(id string) error { return c.node.TransferTo(id) }

// ClusterID is that of the cluster as far as this coordinator has heard, perhaps a while ago; nil: of none yet. It never changes.
func (c *Coordinator) ClusterID() []byte {
	a, err := c.node.Peek(&metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	if err != nil {
		return nil
	}
	return a.GetLayout().GetCluster().GetId()
}

// Counts are those of the metadata as far as this coordinator has applied it, for metrics; nil: none yet.
func (c *Coordinator) Counts() *metapb.StatsAnswer {
	a, err := c.node.Peek(&metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
	if err != nil {
		return nil
	}
	return a.GetStats()
}

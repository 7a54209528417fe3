package rpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/rpc/secure"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// attemptMax is how long one coordinator is waited for before another one is asked: a frozen leader takes connections and never
// answers, and failover has 5 s. It ends sooner when another one says that it leads.
const attemptMax = 2 * time.Second

// CoordinatorConfig of a CoordinatorClient; the zero value works.
type CoordinatorConfig struct {
	AttemptMax time.Duration // of one proposal or read at one coordinator; 0: 2 s
}

// CoordinatorClient is the coordinators of other nodes, of which it finds the one that leads. For concurrent use.
type CoordinatorClient struct {
	pool *Pool
	cfg  CoordinatorConfig
	find finder

	reads     turns[*sharedRead]
	proposals turns[*sharedProposal]
}

// NewCoordinatorClient names the coordinators by host:port of their RPC.
func NewCoordinatorClient(p *Pool, cfg CoordinatorConfig, addrs ...string) *CoordinatorClient {
	if cfg.AttemptMax == 0 {
		cfg.AttemptMax = attemptMax
	}
	c := &CoordinatorClient{pool: p, cfg: cfg}
	c.find.ask, c.find.times = c.StatusOf, findUsually
	c.find.set(addrs)
	return c
}

// SetAddresses replaces the coordinators, after a change of members.
func (c *CoordinatorClient) SetAddresses(addrs ...string) { c.find.set(addrs) }

// Addresses are the coordinators' host:port.
func (c *CoordinatorClient) Addresses() []string { return c.find.all() }

func (c *CoordinatorClient) peer(addr string) (*Peer, error) {
	return c.pool.Peer(addr, secure.Expect{Roles: certs.Roles(certs.Coordinator)})
}

// Propose has the leader decide the command. errs.NotLeader, errs.NotProposed, errs.StorageFull: it surely never was proposed by
// this call and never will be. errs.Invalid, errs.LimitExceeded, errs.Unsupported: nor will it be by another call.
// errs.IndeterminateResult: no one knows; asking again with the same session and sequence is safe. There are no other kinds.
// It turns to another coordinator only after an attempt that surely proposed nothing.
func (c *CoordinatorClient) Propose(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	if p := shareableCommand(cmd); p != nil {
		return c.proposeShared(ctx, p)
	}
	return c.proposeAlone(ctx, cmd)
}

func (c *CoordinatorClient) proposeAlone(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	var last error
	for range c.find.attempts() {
		addr, err := c.find.leader(ctx)
		if err != nil {
			return nil, errs.WrapKind(opOf(methodPropose), notProposed(last, err), err)
		}
		var result metapb.Result
		attempt, cancel := c.find.attempt(ctx, addr, c.cfg.AttemptMax)
		r, sent, err := c.once(attempt, addr, methodPropose, cmd, &result)
		cancel()
		switch {
		case err == nil:
			return &result, nil
		case r.ran && r.kind == errs.NotLeader:
			c.find.hint(addr, r.leader)
		case r.ran:
			if k := answerKind(r.kind); k != r.kind {
				err = errs.WrapKind(opOf(methodPropose), k, err)
			}
			return nil, err
		case !sent || r.kind == errs.AccessDenied || r.kind == errs.Unsupported:
			c.find.suspect(addr)
			err = errs.WrapKind(opOf(methodPropose), errs.NotProposed, err)
		default:
			c.find.suspect(addr)
			return nil, errs.WrapKind(opOf(methodPropose), errs.IndeterminateResult, err)
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// notProposed is the kind of a proposal that found no leader.
func notProposed(last, err error) errs.Kind {
	if errs.Is(err, errs.NotLeader) || (last != nil && errs.Is(last, errs.NotLeader)) {
		return errs.NotLeader
	}
	return errs.NotProposed
}

func (c *CoordinatorClient) once(ctx context.Context, addr, method string, req, resp proto.Message) (remote, bool, error) {
	p, err := c.peer(addr)
	if err != nil {
		return remote{kind: errs.KindOf(err)}, false, err
	}
	return p.once(ctx, method, req, resp)
}

// ask has the leader answer; it may be asked again, so it is, wherever the leader may be by now.
func (c *CoordinatorClient) ask(ctx context.Context, method string, req, resp proto.Message) error {
	var last error
	for range c.find.attempts() {
		addr, err := c.find.leader(ctx)
		if err != nil {
			if last != nil {
				return last
			}
			return errs.Wrap(opOf(method), err)
		}
		attempt, cancel := c.find.attempt(ctx, addr, c.cfg.AttemptMax)
		r, _, err := c.once(attempt, addr, method, req, resp)
		cancel()
		switch {
		case err == nil:
			return nil
		case !c.doubt(addr, r):
			return err
		case !r.ran && (r.kind == errs.Timeout || r.kind == errs.Canceled) && ctx.Err() == nil: // ours, not the caller's
			err = errs.WrapKind(opOf(method), errs.Unavailable, err)
		}
		if last = err; ctx.Err() != nil {
			return errs.Wrap(opOf(method), ctx.Err())
		}
		proto.Reset(resp)
	}
	return last
}

// doubt notes what the end of a call says of who leads. False: nothing, the leader has answered.
func (c *CoordinatorClient) doubt(addr string, r remote) bool {
	switch {
	case r.ran && r.kind == errs.NotLeader:
		c.find.hint(addr, r.leader)
	case r.ran && r.kind != errs.Unavailable:
		return false
	default:
		c.find.suspect(addr) // it does not answer, or has lost its quorum, perhaps to another leader
	}
	return true
}

// Read answers q linearizably. errs.NotLeader, errs.Unavailable: ask again.
func (c *CoordinatorClient) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if shareable(q) {
		return c.readShared(ctx, q)
	}
	return c.readAlone(ctx, q)
}

func (c *CoordinatorClient) readAlone(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	a := &metapb.Answer{}
	if err := c.ask(ctx, methodRead, q, a); err != nil {
		return nil, err
	}
	return a, nil
}

// RunStates tells whether the runs are alive, in order.
func (c *CoordinatorClient) RunStates(ctx context.Context, bases []object.RunBase) (*metapb.RunStatesAnswer, error) {
	q := &metapb.RunStatesQuery{Bases: make([][]byte, len(bases))}
	for i := range bases {
		q.Bases[i] = bases[i][:]
	}
	a := &metapb.RunStatesAnswer{}
	if err := c.ask(ctx, methodRunStates, q, a); err != nil {
		return nil, err
	}
	if len(a.States) != len(bases) {
		return nil, errs.E(opOf(methodRunStates), errs.Other, "%d states of %d runs", len(a.States), len(bases))
	}
	return a, nil
}

// Join makes a node a member.
func (c *CoordinatorClient) Join(ctx context.Context, r *coordpb.JoinRequest) (*coordpb.JoinReply, error) {
	a := &coordpb.JoinReply{}
	if err := c.ask(ctx, methodJoin, r, a); err != nil {
		return nil, err
	}
	return a, nil
}

// Heartbeat tells the leader how the node's volumes are.
func (c *CoordinatorClient) Heartbeat(ctx context.Context, r *coordpb.HeartbeatRequest) (*coordpb.HeartbeatReply, error) {
	a := &coordpb.HeartbeatReply{}
	if err := c.ask(ctx, methodHeartbeat, r, a); err != nil {
		return nil, err
	}
	return a, nil
}

// Nodes asks the leader which nodes it has heard of.
func (c *CoordinatorClient) Nodes(ctx context.Context) (*coordpb.NodesReply, error) {
	a := &coordpb.NodesReply{}
	if err := c.ask(ctx, methodNodes, &coordpb.NodesRequest{}, a); err != nil {
		return nil, err
	}
	return a, nil
}

// Report tells the leader of replicas that are bad, and of volumes that have started.
func (c *CoordinatorClient) Report(ctx context.Context, r *coordpb.ReportRequest) (*coordpb.ReportReply, error) {
	a := &coordpb.ReportReply{}
	if err := c.ask(ctx, methodReport, r, a); err != nil {
		return nil, err
	}
	return a, nil
}

// StatusOf asks one coordinator how it is; any answers.
func (c *CoordinatorClient) StatusOf(ctx context.Context, addr string) (*coordpb.StatusReply, error) {
	p, err := c.peer(addr)
	if err != nil {
		return nil, err
	}
	a := &coordpb.StatusReply{}
	if _, err := p.unary(ctx, methodStatus, &coordpb.StatusRequest{}, a); err != nil {
		return nil, err
	}
	return a, nil
}

// Confirm asks the coordinator at addr whether it is of the incarnation and its current term is term.
func (c *CoordinatorClient) Confirm(ctx context.Context, addr, incarnation string, term uint64) error {
	p, err := c.peer(addr)
	if err != nil {
		return err
	}
	_, _, err = p.once(ctx, methodConfirm, &coordpb.ConfirmRequest{Incarnation: incarnation, Term: term}, &coordpb.ConfirmReply{})
	return err
}

package consensus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Folders of a coordinator.
const (
	logDir      = "log"
	stateDir    = "state"
	snapshotDir = "snapshots"
)

// Node is one member of the Raft group with its state machine.
type Node struct {
	opts  Options
	id    raft.ServerID
	log   *logStore
	snaps *snapshotStore
	state *state
	fsm   *fsm
	raft  *raft.Raft
	props *proposer
	reads *reads

	noise   *noise
	notify  chan bool // Raft's NotifyCh
	term    *watched  // changes with leadership and readiness
	stop    chan struct{}
	wg      sync.WaitGroup
	futures futures
	close   sync.Once
	closed  error

	backing  sync.Mutex // held while a backup is made
	changing sync.Mutex // held while members are changed: judged, then done
	reload   sync.Mutex // held while Raft's settings are changed

	failMu sync.Mutex
	failed error // first fatal failure
}

// Open opens a coordinator's folder and starts Raft. It returns before a leader is known; see Changed and Ready.
func Open(o Options) (*Node, error) {
	const op = "consensus.Open"
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	n := &Node{opts: o, noise: newNoise(), notify: make(chan bool, 8), term: newWatched(), stop: make(chan struct{})}
	if err := n.openStores(); err != nil {
		n.closeStores()
		return nil, errs.Wrap(op, err)
	}
	if err := n.startRaft(); err != nil {
		n.closeStores()
		return nil, errs.Wrap(op, err)
	}
	return n, nil
}

func (n *Node) fatal(err error) {
	n.failMu.Lock()
	if n.failed == nil {
		n.failed = err
	}
	n.failMu.Unlock()
	n.opts.Fatal(err)
}

func (n *Node) failure() error {
	n.failMu.Lock()
	defer n.failMu.Unlock()
	return n.failed
}

func (n *Node) openStores() error {
	o := n.opts
	var err error
	if n.id, err = openIncarnation(o.FS, o.Dir); err != nil {
		return err
	}
	if err = n.removeBackup(); err != nil {
		return err
	}
	n.snaps, err = openSnapshots(o.FS, o.FS.PathJoin(o.Dir, snapshotDir))
	if err != nil {
		return err
	}
	n.log, err = openLog(logOptions{
		fs: o.FS, dir: o.FS.PathJoin(o.Dir, logDir), logger: newRaftLogger(o.Log, false), fatal: n.fatal,
		segmentBytes: o.SegmentBytes, cacheBytes: o.LogCacheBytes, hangMax: o.AppendHangMax,
	})
	if err != nil {
		return err
	}
	if o.KV.OnFatal == nil {
		o.KV.OnFatal = func(msg string) { n.fatal(errs.E("consensus.kv", errs.Other, "%s", msg)) }
	}
	n.state, err = openState(o.FS, o.FS.PathJoin(o.Dir, stateDir), o.KV)
	if err != nil {
		return err
	}
	return n.recover()
}

func (n *Node) startRaft() error {
	at, err := n.state.covered()
	if err != nil {
		return err
	}
	n.fsm = &fsm{state: n.state, fatal: n.fatal, restoreIndex: n.newestSnapshot}
	n.fsm.applied.Store(at)
	trans := NewEmbeddedTransport(raft.ServerAddress(n.id))
	if n.opts.Transport != nil {
		if trans, err = n.opts.Transport(n.id); err != nil {
			return err
		}
	}
	if err := assertWrapped(trans, n.log); err != nil {
		return err
	}
	if err := n.rehome(trans.LocalAddr()); err != nil {
		return err
	}
	conf := n.raftConfig()
	if n.opts.Bootstrap {
		if err := n.bootstrap(conf, trans); err != nil {
			return err
		}
	} else if err := n.forgetUnusedTerm(); err != nil {
		return err
	}
	if n.raft, err = raft.NewRaft(conf, n.fsm, n.log, n.log, n.snaps, trans); err != nil {
		return err
	}
	n.reads = &reads{self: n.id, raft: raftView{n.raft}, ask: n.opts.Confirmer}
	n.props = newProposer(func(b []byte) applyFuture { return n.raft.Apply(b, enqueueMax) }, n.Leads, n.opts.Now, n.alone)
	n.wg.Go(n.watchLeadership)
	n.wg.Go(n.watchLogSize)
	if n.opts.Transport != nil {
		n.wg.Go(n.watchPeers)
		n.wg.Go(n.watchSilence)
	}
	return nil
}

// newestSnapshot is its index, 0 without any.
func (n *Node) newestSnapshot() uint64 {
	ids, err := n.snaps.ids()
	if err != nil || len(ids) == 0 {
		return 0
	}
	m, err := n.snaps.readMeta(ids[0])
	if err != nil {
		return 0
	}
	return m.Index
}

// alone says whether an entry is committed once it is stored here.
func (n *Node) alone() bool {
	f := n.raft.GetConfiguration()
	return f.Error() == nil && len(f.Configuration().Servers) == 1
}

// raftView is Raft as reads see it.
type raftView struct{ *raft.Raft }

func (v raftView) voters() ([]raft.Server, error) {
	f := v.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, err
	}
	var voters []raft.Server
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, s)
		}
	}
	return voters, nil
}

// Propose has the leader put c into an entry; see proposer.propose for its errors.
func (n *Node) Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	if err := n.failure(); err != nil {
		return nil, errs.WrapKind("consensus.Propose", errs.NotProposed, err)
	}
	return n.props.propose(ctx, c)
}

// Read answers q linearizably. errs.NotLeader, errs.Unavailable: ask again, perhaps elsewhere.
func (n *Node) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if err := n.failure(); err != nil {
		return nil, errs.WrapKind("consensus.Read", errs.Unavailable, err)
	}
	if err := n.reads.confirm(ctx); err != nil {
		return nil, err
	}
	return n.state.read(q)
}

// Peek answers q from what this node has applied, which may be old: only for what never changes.
func (n *Node) Peek(q *metapb.Query) (*metapb.Answer, error) { return n.state.read(q) }

// Hash is that of the state machine's rows.
func (n *Node) Hash() ([32]byte, error) { return n.state.hash() }

// Applied is the index of the newest entry in the state machine.
func (n *Node) Applied() uint64 { return n.fsm.applied.Load() }

// Leads says whether this node thinks that it leads.
func (n *Node) Leads() bool { return n.raft.State() == raft.Leader }

// Ready is the term this node leads, with everything of earlier terms applied; else an error of kind errs.NotLeader or
// errs.Unavailable.
func (n *Node) Ready() (uint64, error) {
	if err := n.failure(); err != nil {
		return 0, errs.WrapKind("consensus.Ready", errs.Unavailable, err)
	}
	return n.reads.leading()
}

// ID is the node's incarnation.
func (n *Node) ID() raft.ServerID { return n.id }

// Close takes no more work, lets what is on its way finish for some seconds, and closes the files. It is safe to call again.
func (n *Node) Close() error {
	n.close.Do(func() {
		late := time.Now().Add(closeGrace)
		n.props.close(closeGrace)
		close(n.stop)
		n.futures.close(time.Until(late))
		err := n.raft.Shutdown().Error()
		n.wg.Wait()
		n.reads.close()
		n.closed = errors.Join(err, n.closeStores())
	})
	return n.closed
}

func (n *Node) closeStores() error {
	var all []error
	if n.state != nil {
		all = append(all, n.state.close())
	}
	if n.log != nil {
		all = append(all, n.log.Close())
	}
	return errors.Join(all...)
}

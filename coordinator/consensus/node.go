package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// Folders of a coordinator.
const (
	logDir      = "log"
	stateDir    = "state"
	snapshotDir = "snapshots"
)

// Times and bounds of Raft.
const (
	electionTimeout       = time.Second
	electionTimeoutSingle = 50 * time.Millisecond
	appendEntriesMax      = 16
	snapshotEveryBytes    = 64 << 20
	snapshotEveryEntries  = 65536 // looked at every few minutes; bytes come first under load
	trailingBytes         = 64 << 20
	trailingEntriesMax    = 10240
	trailingEntriesMin    = 64
	watchEvery            = 100 * time.Millisecond
	confirmMax            = 2 * time.Second
	closeGrace            = 5 * time.Second
)

// Options of a Node. FS, Dir and Fatal must be set; the rest has defaults.
type Options struct {
	FS  vfs.FS
	Dir string // the coordinator's own folder
	Log *zap.Logger
	KV  kv.Options
	// Fatal is told what makes going on unsafe. In a server it ends the process; where it returns, the node refuses all work.
	Fatal func(error)
	// Transport carries Raft between coordinators; nil: a single voter in this process.
	Transport func(id raft.ServerID) (raft.Transport, error)
	Confirmer Confirmer
	// Bootstrap makes an empty folder a cluster of one voter.
	Bootstrap bool

	Now                func() time.Time // of the leader's stamps; nil: time.Now
	SnapshotEveryBytes uint64           // of log; 0: 64 MiB
	SegmentBytes       int              // of the log's files; 0: 16 MiB
	LogCacheBytes      int              // 0: 32 MiB
	AppendHangMax      time.Duration    // 0: 5 s
	ElectionTimeout    time.Duration    // 0: 1 s, for a single voter 50 ms
}

func (o *Options) setDefaults() error {
	if o.FS == nil || o.Dir == "" || o.Fatal == nil {
		return errs.E("consensus.Open", errs.Invalid, "FS, Dir and Fatal must be set")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		setDefault(&o.ElectionTimeout, electionTimeoutSingle)
	}
	setDefault(&o.ElectionTimeout, electionTimeout)
	setDefault(&o.SnapshotEveryBytes, snapshotEveryBytes)
	setDefault(&o.SegmentBytes, walSegmentBytes)
	setDefault(&o.LogCacheBytes, logCacheBytesMax)
	setDefault(&o.AppendHangMax, appendHangMax)
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

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

	notify chan bool // Raft's NotifyCh
	term   *watched  // changes with leadership and readiness
	stop   chan struct{}
	wg     sync.WaitGroup
	close  sync.Once
	closed error

	failMu sync.Mutex
	failed error // first fatal failure
}

// Open opens a coordinator's folder and starts Raft. It returns before a leader is known; see Changed and Ready.
func Open(o Options) (*Node, error) {
	const op = "consensus.Open"
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	n := &Node{opts: o, notify: make(chan bool, 8), term: newWatched(), stop: make(chan struct{})}
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

// recover brings the state up to the newest snapshot (C4) and checks that the log continues from there.
func (n *Node) recover() error {
	const op = "consensus.recover"
	newest, err := n.restoreNewest()
	if err != nil {
		return err
	}
	if err := n.log.dropBelow(newest); err != nil {
		return err
	}
	first, err := n.log.FirstIndex()
	if err != nil {
		return err
	}
	at, err := n.state.covered()
	if err != nil {
		return err
	}
	if first > newest+1 {
		return errs.E(op, errs.Corrupt, "the Raft log begins at entry %d, the newest snapshot ends at %d", first, newest)
	}
	if first == 0 && newest == 0 && at > 0 {
		return errs.E(op, errs.Corrupt, "the state stands at entry %d, but the Raft log is gone", at)
	}
	return nil
}

// restoreNewest restores the newest snapshot if the state is behind it, and gives its index. Snapshots that can't be restored
// are set aside; Raft then takes the next older one for its own, so the log must reach back to that.
func (n *Node) restoreNewest() (uint64, error) {
	const op = "consensus.recover"
	at, err := n.state.covered()
	if err != nil {
		return 0, errs.Wrap(op, err)
	}
	ids, err := n.snaps.ids()
	if err != nil {
		return 0, errs.Wrap(op, err)
	}
	var cause error
	for _, id := range ids {
		m, err := n.snaps.readMeta(id)
		if err == nil {
			if at >= m.Index {
				return m.Index, nil
			}
			if err = n.restoreOne(m); err == nil {
				return m.Index, nil
			}
		}
		cause = err
		n.opts.Log.Error("a snapshot can't be used", zap.String("id", id), zap.Error(err))
		if err := n.snaps.setAside(id); err != nil {
			return 0, errs.Wrap(op, err)
		}
	}
	if cause != nil {
		return 0, errs.Wrap(op, fmt.Errorf("no usable snapshot, and the state at entry %d is behind: %w", at, cause))
	}
	return 0, nil
}

func (n *Node) restoreOne(m *raft.SnapshotMeta) error {
	_, r, err := n.snaps.Open(m.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	return n.state.restore(r, m.Index)
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
	conf := n.raftConfig()
	if n.opts.Bootstrap {
		if err := n.bootstrap(conf, trans); err != nil {
			return err
		}
	}
	if n.raft, err = raft.NewRaft(conf, n.fsm, n.log, n.log, n.snaps, trans); err != nil {
		return err
	}
	n.reads = &reads{self: n.id, raft: raftView{n.raft}, ask: n.opts.Confirmer}
	n.props = newProposer(func(b []byte) applyFuture { return n.raft.Apply(b, enqueueMax) }, n.Leads, n.opts.Now)
	n.wg.Go(n.watchLeadership)
	n.wg.Go(n.watchLogSize)
	return nil
}

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = n.id
	c.HeartbeatTimeout, c.ElectionTimeout = n.opts.ElectionTimeout, n.opts.ElectionTimeout
	c.LeaderLeaseTimeout = min(c.LeaderLeaseTimeout, c.HeartbeatTimeout)
	c.MaxAppendEntries = appendEntriesMax
	c.BatchApplyCh = true
	c.ShutdownOnRemove = true
	c.TrailingLogs = trailingEntriesMax
	c.SnapshotThreshold = snapshotEveryEntries
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.NotifyCh = n.notify
	c.Logger = newRaftLogger(n.opts.Log, n.opts.Transport == nil)
	return c
}

var keyCurrentTerm = []byte("CurrentTerm") // as raft names it

// bootstrap makes this node the only voter, once. Raft stores term 1 before the entry that names the voters: a crash in between
// leaves a folder that Raft takes for a used one, though nothing ever happened in it.
func (n *Node) bootstrap(conf *raft.Config, trans raft.Transport) error {
	used, err := raft.HasExistingState(n.log, n.log, n.snaps)
	if err != nil {
		return err
	}
	if used {
		last, err := n.log.LastIndex()
		if err != nil || last > 0 || n.newestSnapshot() > 0 {
			return err
		}
		if at, err := n.state.covered(); err != nil || at > 0 {
			return err
		}
		if term, err := n.log.GetUint64(keyCurrentTerm); err != nil || term > 1 {
			return err
		}
		if err := n.log.SetUint64(keyCurrentTerm, 0); err != nil {
			return err
		}
	}
	return raft.BootstrapCluster(conf, n.log, n.log, n.snaps, trans, raft.Configuration{
		Servers: []raft.Server{{Suffrage: raft.Voter, ID: n.id, Address: trans.LocalAddr()}},
	})
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

// Hash is that of the state machine's rows.
func (n *Node) Hash() ([32]byte, error) { return n.state.hash() }

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
		n.props.close(closeGrace)
		close(n.stop)
		err := n.raft.Shutdown().Error()
		n.wg.Wait()
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

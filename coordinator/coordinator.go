package coordinator

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/consensus"
	"minikv/coordinator/rebalance"
	"minikv/coordinator/repair"
	"minikv/coordinator/txn"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// Coordinator is one coordinator, leading or not.
type Coordinator struct {
	cfg     Config
	node    *consensus.Node
	space   *space
	health  health
	nodes   nodes
	lacking atomic.Pointer[string]          // why there is no cluster yet, while this coordinator leads; nil: nothing is known to be wrong
	mover   atomic.Pointer[rebalance.Mover] // while this coordinator leads
	founded atomic.Bool
	repair  *repair.Queue    // nil: nothing is repaired
	compare *repair.Comparer // as repair

	ages      ages
	epochAge  epochAge
	started   time.Time     // by the wall clock, without what is never set in it
	startedAt time.Duration // by the clock that is never set

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	close  sync.Once
	closed error

	collecting sync.Mutex // held while the deletion queue is gone through; guards what follows
	collected  txn.Place

	mu    sync.Mutex // guards what follows
	blobs txn.Volumes
}

// Open opens the folder and starts. It does not wait for a leader: see WaitReady.
func Open(ctx context.Context, cfg Config) (*Coordinator, error) {
	const op = "coordinator.Open"
	if err := ctx.Err(); err != nil {
		return nil, errs.Wrap(op, err)
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := vfs.MkdirAll(cfg.FS, cfg.Dir, 0o700); err != nil {
		return nil, errs.Wrap(op, err)
	}
	c := &Coordinator{cfg: cfg, blobs: cfg.Blobs}
	c.space = newSpace(&c.cfg)
	c.ages.delay = cfg.QueueDelay
	c.epochAge.fs, c.epochAge.name = cfg.FS, cfg.FS.PathJoin(cfg.Dir, tickName)
	c.started, c.startedAt = cfg.Clock.Now().Round(0), cfg.Clock.Elapsed()
	c.repair, c.compare = c.newRepair(), c.newCompare()
	o := cfg.Raft
	o.FS, o.Dir, o.Log, o.KV, o.Fatal, o.Now = cfg.FS, cfg.Dir, cfg.Log, cfg.KV, cfg.Fatal, cfg.Clock.Now
	o.Bootstrap = o.Transport == nil
	var err error
	if c.node, err = consensus.Open(o); err != nil {
		return nil, errs.Wrap(op, err)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.lead)
	c.wg.Go(func() { c.watchAges(c.ctx) })
	return c, nil
}

// Propose has c applied and gives its recorded result; refusals are results. errs.NotLeader, errs.NotProposed and
// errs.StorageFull: it surely never was and will be proposed. errs.IndeterminateResult: it may take effect, now or later.
func (c *Coordinator) Propose(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	if err := c.space.admit(cmd); err != nil {
		if _, no := c.node.Ready(); errs.Is(no, errs.NotLeader) {
			return nil, no // who leads may have room
		}
		return nil, err
	}
	if err := c.allow(ctx, "coordinator.Propose", cmd); err != nil {
		return nil, errs.WrapKind("coordinator.Propose", errs.NotProposed, err)
	}
	return c.node.Propose(ctx, cmd)
}

// Read answers q linearizably. errs.NotLeader, errs.Unavailable: ask again, perhaps elsewhere.
func (c *Coordinator) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	return c.node.Read(ctx, q)
}

// RunStates tells whether the runs are alive, for volumes that want to drop prepared blobs. The answer stands at or after the
// entry that moved the horizon to the value it names (L2).
func (c *Coordinator) RunStates(ctx context.Context, bases []object.RunBase) (*metapb.RunStatesAnswer, error) {
	const op = "coordinator.RunStates"
	q := &metapb.RunStatesQuery{Bases: make([][]byte, len(bases))}
	for i := range bases {
		q.Bases[i] = bases[i][:]
	}
	a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_RunStates{RunStates: q}})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	r := a.GetRunStates()
	if r == nil || len(r.States) != len(bases) || a.Index < r.HorizonIndex {
		return nil, errs.E(op, errs.Other, "the answer of index %d does not fit the question", a.Index)
	}
	return r, nil
}

// Ready is nil when this coordinator leads, has applied everything from before its term and a cluster exists.
func (c *Coordinator) Ready() error {
	if _, err := c.node.Ready(); err != nil {
		return err
	}
	if !c.founded.Load() {
		return errs.E("coordinator.Ready", errs.Unavailable, "there is no cluster yet")
	}
	return nil
}

// WaitReady waits until Ready is nil.
func (c *Coordinator) WaitReady(ctx context.Context) error {
	for {
		changed := c.node.Changed()
		err := c.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errs.WrapKind("coordinator.WaitReady", errs.Unavailable, err)
		case <-c.ctx.Done():
			return errs.E("coordinator.WaitReady", errs.Unavailable, "closed")
		}
	}
}

// SetBlobs names who deletes on volumes, for processes in which volumes come after the coordinator.
func (c *Coordinator) SetBlobs(v txn.Volumes) {
	c.mu.Lock()
	c.blobs = v
	c.mu.Unlock()
}

func (c *Coordinator) volumes() txn.Volumes {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blobs
}

// Status is what operators want to know.
type Status struct {
	consensus.Status
	Ready       bool
	StorageFull bool
	Waiting     string // why there is no cluster yet, on the leader; empty: nothing is known to be wrong
}

// Status is taken without waiting.
func (c *Coordinator) Status() Status {
	c.space.mu.Lock()
	short := c.space.short
	c.space.mu.Unlock()
	st := Status{Status: c.node.Status(), Ready: c.Ready() == nil, StorageFull: short}
	if why := c.lacking.Load(); why != nil {
		st.Waiting = *why
	}
	return st
}

// Hash is that of the replicated rows, for comparing replicas.
func (c *Coordinator) Hash() ([32]byte, error) { return c.node.Hash() }

// Snapshot takes one now, for tests and operators.
func (c *Coordinator) Snapshot() error { return c.node.Snapshot() }

// Close ends the duties, lets proposals finish for some seconds and closes the files. It is safe to call again.
func (c *Coordinator) Close() error {
	c.close.Do(func() {
		c.cancel()
		c.wg.Wait()
		c.epochAge.keep(c.cfg.Clock.Elapsed())
		c.closed = c.node.Close()
	})
	return c.closed
}

func (c *Coordinator) layout(ctx context.Context) (*metapb.Layout, error) {
	a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	return a.GetLayout(), err
}

// lead founds the cluster and runs the duties of each term that this coordinator leads.
func (c *Coordinator) lead() {
	for {
		changed := c.node.Changed()
		if term, err := c.node.Ready(); err == nil {
			c.term(term)
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return
		}
	}
}

const foundRetry = 200 * time.Millisecond

// term runs until this coordinator no longer leads the term.
func (c *Coordinator) term(term uint64) {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer c.lacking.Store(nil)
	c.health.begin(c.cfg.Clock.Now())
	wg.Go(func() {
		c.awaitEnd(ctx, term)
		cancel()
	})
	for last := ""; ; {
		err := c.foundIfEmpty(ctx)
		if err == nil {
			break
		}
		why := errs.Message(err)
		c.lacking.Store(&why)
		if now := err.Error(); now != last {
			last = now
			tell := c.cfg.Log.Warn
			if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.NotLeader) { // volumes have yet to join, or another one leads by now
				tell = c.cfg.Log.Info
			}
			tell("the cluster could not be read or founded yet", zap.Error(err))
		}
		select {
		case <-c.cfg.Clock.After(foundRetry):
		case <-ctx.Done():
			return
		}
	}
	c.lacking.Store(nil)
	c.node.Announce()
	c.runDuties(ctx)
}

// awaitEnd returns when the term is no longer ours.
func (c *Coordinator) awaitEnd(ctx context.Context, term uint64) {
	for {
		changed := c.node.Changed()
		if now, err := c.node.Ready(); err != nil || now != term {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

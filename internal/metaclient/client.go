package metaclient

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Coordinator is what the client talks to: coordinator.Coordinator in process, later a gRPC client that finds the leader.
type Coordinator interface {
	Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error)
	Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error)
}

// Defaults of Config.
const (
	retryForDefault    = 10 * time.Second
	renewEveryDefault  = 30 * time.Minute // half an epoch
	layoutEveryDefault = 30 * time.Second
	backoffMin         = 5 * time.Millisecond
	backoffMax         = 250 * time.Millisecond
	sessionAttemptsMax = 3                // sessions that one never-proposed command may go through
	resolveFor         = 10 * time.Second // how long an outcome that no one waits for is asked for
)

// Config of a Client; the zero value works.
type Config struct {
	Log         *zap.Logger
	RetryFor    time.Duration // how long a command or query is tried, within its context; 0: 10 s
	RenewEvery  time.Duration // 0: 30 min, half of the default epoch
	LayoutEvery time.Duration // 0: 30 s
	// OutageCertain is how long there may be no leader before requests are refused at once; 0: 5.5 s, more than a failover takes.
	OutageCertain time.Duration
}

// Client implements the gateway's Metadata. For concurrent use.
type Client struct {
	coord  Coordinator
	cfg    Config
	layout atomic.Pointer[layoutAt]
	outage outage

	unresolved atomic.Int64 // commands that nobody waits for and whose outcome is asked for

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the renewing goroutine and unresolved commands

	mu      sync.Mutex // guards session and opening, and what is added to wg
	session *session
	opening chan struct{} // closed when the running attempt to open a session is over
}

// New opens a session and reads the layout, waiting for a coordinator until ctx ends.
func New(ctx context.Context, coord Coordinator, cfg Config) (*Client, error) {
	const op = "metaclient.New"
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	setDefault(&cfg.RetryFor, retryForDefault)
	setDefault(&cfg.RenewEvery, renewEveryDefault)
	setDefault(&cfg.LayoutEvery, layoutEveryDefault)
	c := &Client{coord: coord, cfg: cfg}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	setDefault(&c.cfg.OutageCertain, outageCertainDefault)
	c.outage.certain, c.outage.log, c.outage.life, c.outage.base = c.cfg.OutageCertain, c.cfg.Log, c.ctx, time.Now()
	c.outage.probe = func(ctx context.Context) error {
		_, err := c.coord.Read(ctx, &metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
		return err
	}
	if err := c.start(ctx); err != nil {
		c.cancel()
		return nil, errs.Wrap(op, err)
	}
	c.wg.Go(c.keep)
	return c, nil
}

func (c *Client) start(ctx context.Context) error {
	for wait := (backoff{}); ; {
		_, err := c.current(ctx)
		if err == nil {
			err = c.RefreshLayout(ctx)
		}
		if err == nil || !worthRetrying(errs.KindOf(err)) {
			return err
		}
		if !wait.sleep(ctx, c.ctx, time.Now().Add(time.Hour)) {
			return err
		}
	}
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Close ends the client and its goroutines. Commands on their way end as unknown.
func (c *Client) Close() error {
	c.mu.Lock()
	c.outage.mu.Lock()
	c.cancel()
	c.outage.mu.Unlock()
	c.mu.Unlock()
	c.wg.Wait()
	c.outage.wg.Wait()
	return nil
}

// keep renews the session and the layout.
func (c *Client) keep() {
	renew, layout := time.NewTicker(c.cfg.RenewEvery), time.NewTicker(c.cfg.LayoutEvery)
	defer renew.Stop()
	defer layout.Stop()
	for {
		var err error
		select {
		case <-renew.C:
			err = c.renew(c.ctx)
		case <-layout.C:
			err = c.RefreshLayout(c.ctx)
		case <-c.ctx.Done():
			return
		}
		if err != nil && c.ctx.Err() == nil {
			c.cfg.Log.Warn("the session or the layout could not be renewed", zap.Error(err))
		}
	}
}

// Unresolved are the commands whose callers were told that the outcome is not known, and whose outcome is still being asked for.
func (c *Client) Unresolved() int { return int(c.unresolved.Load()) }

// Layout is the cached layout; callers do not change it.
func (c *Client) Layout() *metapb.Layout {
	if l := c.layout.Load(); l != nil {
		return l.layout
	}
	return nil
}

// layoutAt is a layout and the index of the state that it was read from.
type layoutAt struct {
	layout *metapb.Layout
	index  uint64
}

// RefreshLayout reads it anew. Of answers that overtake one another the newest stays.
func (c *Client) RefreshLayout(ctx context.Context) error {
	const op = "metaclient.RefreshLayout"
	a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	if err != nil {
		return errs.Wrap(op, err)
	}
	if len(a.GetLayout().GetCluster().GetId()) == 0 {
		return errs.E(op, errs.Unavailable, "there is no cluster yet")
	}
	next := &layoutAt{a.GetLayout(), a.GetIndex()}
	for {
		old := c.layout.Load()
		if old != nil && old.index > next.index && bytes.Equal(old.layout.Cluster.Id, next.layout.Cluster.Id) {
			return nil
		}
		if c.layout.CompareAndSwap(old, next) {
			return nil
		}
	}
}

// Read answers q linearizably, trying again while no coordinator leads.
func (c *Client) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	a, err := c.read(ctx, q)
	if err == nil || !worthRetrying(errs.KindOf(err)) {
		return a, err
	}
	deadline := time.Now().Add(c.cfg.RetryFor)
	for wait := (backoff{}); wait.sleep(ctx, c.ctx, c.outage.until(deadline, c.cfg.RetryFor)); {
		if a, err = c.read(ctx, q); err == nil || !worthRetrying(errs.KindOf(err)) {
			return a, err
		}
	}
	return nil, errs.WrapKind("metaclient.Read", errs.Unavailable, err)
}

// worthRetrying kinds say that another attempt may find a leader.
func worthRetrying(k errs.Kind) bool {
	return k == errs.NotLeader || k == errs.NotProposed || k == errs.Unavailable
}

// backoff waits a little longer each time, with jitter.
type backoff struct{ last time.Duration }

// sleep is false when the deadline, ctx or the client's own life ends first.
func (b *backoff) sleep(ctx, life context.Context, deadline time.Time) bool {
	b.last = min(max(2*b.last, backoffMin), backoffMax)
	d := b.last/2 + rand.N(b.last/2)
	if time.Now().Add(d).After(deadline) {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-life.Done():
		return false
	}
}

// current is the open session, opened if there is none.
func (c *Client) current(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		if c.session != nil {
			s := c.session
			c.mu.Unlock()
			return s, nil
		}
		if c.opening == nil {
			c.opening = make(chan struct{})
			c.mu.Unlock()
			return c.open(ctx)
		}
		wait := c.opening
		c.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, errs.WrapKind("metaclient.Do", errs.NotProposed, ctx.Err())
		}
	}
}

// open opens a session. A lost answer costs nothing: the id is opened again, or never used.
func (c *Client) open(ctx context.Context) (s *session, err error) {
	defer func() {
		c.mu.Lock()
		if err == nil {
			c.session = s
		}
		close(c.opening)
		c.opening = nil
		c.mu.Unlock()
	}()
	s = newSession()
	deadline := time.Now().Add(c.cfg.RetryFor)
	for wait := (backoff{}); ; {
		var r *metapb.Result
		r, err = c.propose(ctx, &metapb.Command{Op: &metapb.Command_OpenSession{OpenSession: &metapb.OpenSession{Id: s.id}}})
		if err == nil {
			err = refusal("metaclient.open", r)
		}
		k := errs.KindOf(err)
		if err == nil || !(worthRetrying(k) || k == errs.IndeterminateResult) {
			break
		}
		if !wait.sleep(ctx, c.ctx, c.outage.until(deadline, c.cfg.RetryFor)) {
			// The command that wants the session was not proposed itself.
			return nil, errs.WrapKind("metaclient.open", errs.Unavailable, err)
		}
	}
	return s, err
}

// ended drops a session that the coordinator does not know.
func (c *Client) ended(s *session) {
	s.end()
	c.mu.Lock()
	if c.session == s {
		c.session = nil
	}
	c.mu.Unlock()
}

// renew keeps the session alive while no commands do.
func (c *Client) renew(ctx context.Context) error {
	s, err := c.current(ctx)
	if err != nil {
		return err
	}
	r, err := c.propose(ctx, &metapb.Command{
		Session: s.id, LowestOutstanding: s.lowestOutstanding(), Op: &metapb.Command_RenewSession{RenewSession: &metapb.RenewSession{}},
	})
	if err != nil {
		return err
	}
	if r.Failed && errs.Kind(r.Kind) == errs.UnknownSession {
		c.ended(s)
		_, err = c.current(ctx)
		return err
	}
	return refusal("metaclient.renew", r)
}

// refusal turns a recorded refusal into an error of its kind.
func refusal(op string, r *metapb.Result) error {
	if !r.Failed {
		return nil
	}
	return errs.E(op, errs.Kind(r.Kind), "%s", r.Message)
}

// withSession copies cmd's head for one session; the operation is shared.
func withSession(cmd *metapb.Command, s *session, sequence uint64) *metapb.Command {
	return &metapb.Command{
		Level: cmd.Level, Session: s.id, Sequence: sequence, LowestOutstanding: s.lowestOutstanding(),
		Seed: cmd.Seed, IamRevision: cmd.IamRevision, Op: cmd.Op,
	}
}

package rebalance

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/coordinator/pace"
	"minikv/coordinator/txn"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Volumes is what the mover needs of volumes, by their numbers.
type Volumes interface {
	// Fence makes a volume refuse prepares of the shard by older epochs; nil: those that ran have ended.
	Fence(ctx context.Context, volume, shard, shards uint32, epoch uint64) error
	// ListShard gives up to limit blobs of the shard after the given one; fewer mean the end. What cannot be read is an error.
	ListShard(ctx context.Context, volume, shard, shards uint32, after object.BlobID, limit int) ([]object.BlobInfo, error)
	// Fetch has a volume get blobs from others, verified; at most object.FetchBlobsMax and object.CareBytesMax.
	Fetch(ctx context.Context, volume uint32, wants []object.Want) ([]object.Fetched, error)
}

// Config of a Mover.
type Config struct {
	Log   *zap.Logger
	Clock txn.Clock
	Up    func(volume uint32) bool // it was heard of lately
	// Started tells when a volume's process started, by Clock; false, or nil: it has not told.
	Started func(volume uint32) (time.Time, bool)
	// MovesMax is how many shards move at once. 0: 8
	MovesMax int
}

// Bounds and times.
const (
	movesMaxDefault = 8
	// BytesPerSecondDefault is how fast blobs are copied, all moves together, unless an operator says otherwise.
	BytesPerSecondDefault = 64 << 20
	stepEvery             = time.Second
	retryAfter            = 2 * time.Second // a move that failed is tried again
	clearPages            = 16              // of missing rows looked at in one step
	clearPage             = 1000
)

// Mover carries out moves while its coordinator leads a term. Make a new one for each term.
type Mover struct {
	m   txn.Metadata
	v   Volumes
	cfg Config

	pace *pace.Pace
	wake chan struct{}
	wg   sync.WaitGroup // jobs

	mu       sync.Mutex // guards what follows
	paused   bool
	jobs     map[uint32]*job
	failed   map[uint32]failedMove
	progress Progress
	rate     rate
	cleared  *metapb.MissingRow // where clearing goes on
}

// failedMove is a move that is to be tried again.
type failedMove struct {
	epoch uint64 // of the shard's row
	again time.Time
	at    position
}

// New makes a Mover; Run it.
func New(m txn.Metadata, v Volumes, cfg Config) *Mover {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Clock == nil {
		cfg.Clock = txn.RealClock{}
	}
	if cfg.MovesMax == 0 {
		cfg.MovesMax = movesMaxDefault
	}
	return &Mover{
		m: m, v: v, cfg: cfg, pace: pace.New(cfg.Clock, BytesPerSecondDefault), wake: make(chan struct{}, 1), jobs: map[uint32]*job{}, failed: map[uint32]failedMove{},
	}
}

// Run moves what is to be moved until ctx ends, and waits for what runs.
func (m *Mover) Run(ctx context.Context) {
	defer m.wg.Wait()
	for {
		if err := m.Step(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Debug("shards do not move now", zap.Error(err))
		}
		select {
		case <-m.wake:
		case <-m.cfg.Clock.After(stepEvery):
		case <-ctx.Done():
			return
		}
	}
}

// Step looks at the layout once and does what follows: it gives up moves that can't end, begins others, and releases what has left.
// Copying goes on beside it.
func (m *Mover) Step(ctx context.Context) error {
	const op = "rebalance.Step"
	l, err := m.layout(ctx)
	if err != nil || len(l.GetPools()) == 0 {
		return errs.Wrap(op, err)
	}
	counts, err := m.missingCounts(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	m.settings(l.GetRebalance())
	m.healthy(l, counts)
	if err := m.endHopeless(ctx, l); err != nil {
		return errs.Wrap(op, err)
	}
	if err := m.begin(ctx, l); err != nil {
		return errs.Wrap(op, err)
	}
	if err := m.release(ctx, l, counts); err != nil {
		return errs.Wrap(op, err)
	}
	return errs.Wrap(op, m.clearStrangers(ctx, l, counts))
}

func (m *Mover) settings(r *metapb.RebalanceRow) {
	limit := r.GetBytesPerSecond()
	if limit == 0 {
		limit = BytesPerSecondDefault
	}
	m.pace.Set(int64(min(limit, math.MaxInt64)))
	m.mu.Lock()
	m.paused = r.GetPaused()
	m.mu.Unlock()
}

func (m *Mover) layout(ctx context.Context) (*metapb.Layout, error) {
	a, err := m.m.Read(ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	return a.GetLayout(), err
}

// propose makes a recorded refusal an error.
func (m *Mover) propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	r, err := m.m.Propose(ctx, c)
	if err == nil && r.Failed {
		err = errs.E("", errs.Kind(r.Kind), "%s", r.Message)
	}
	return r, err
}

// endHopeless gives up moves to volumes that are down or not in any more, or, where none joins, that would leave a shard to such ones; and
// those that lead away from the replication that the pool is to have by now.
func (m *Mover) endHopeless(ctx context.Context, l *metapb.Layout) error {
	usable := map[uint32]bool{}
	for _, v := range l.Volumes {
		usable[v.Number] = v.State == meta.VolumeIn && m.cfg.Up(v.Number)
	}
	for _, row := range l.Shards {
		if !meta.Moving(row) {
			continue
		}
		must := (&job{row: row}).targets()
		wanted := meta.Towards(len(row.Members), len(meta.Next(row)), l.Pools[0].Replication)
		if wanted && !slices.ContainsFunc(must, func(v uint32) bool { return !usable[v] }) {
			continue
		}
		r, err := m.propose(ctx, &metapb.Command{Op: &metapb.Command_CancelJoin{CancelJoin: &metapb.CancelJoin{Shard: row.Shard, Epoch: row.Epoch}}})
		if err != nil {
			return err
		}
		m.cfg.Log.Info("a move was given up", zap.Uint32("shard", row.Shard), zap.Uint32s("joining", row.Joining), zap.Uint32s("leaving", row.Leaving))
		l.Shards[row.Shard] = r.GetShard()
	}
	return nil
}

// begin goes on with the moves in the layout, and begins planned ones while there is room.
func (m *Mover) begin(ctx context.Context, l *metapb.Layout) error {
	moving := 0
	for _, row := range l.Shards {
		if meta.Moving(row) {
			moving++
			m.start(ctx, l, row)
		}
	}
	spread := l.GetRebalance().GetRunning()
	moves, blocked := Due(l, m.cfg.Up)
	m.plan(len(moves), blocked, moving, l.GetRebalance())
	if l.GetRebalance().GetPaused() {
		return nil
	}
	if spread && moving == 0 && len(moves) == 0 && len(Plan(l, true, always)) == 0 {
		done := false
		_, err := m.propose(ctx, &metapb.Command{Op: &metapb.Command_SetRebalance{SetRebalance: &metapb.SetRebalance{Running: &done}}})
		m.cfg.Log.Info("the shards are spread")
		return err
	}
	for _, move := range moves[:min(len(moves), max(0, m.cfg.MovesMax-moving))] {
		r, err := m.propose(ctx, &metapb.Command{Op: &metapb.Command_JoinShard{JoinShard: &metapb.JoinShard{
			Shard: move.Shard, Epoch: move.Epoch, Joining: move.Joining, Leaving: move.Leaving,
		}}})
		if errs.Is(err, errs.Conflict) { // it was planned by what was so
			continue
		}
		if err != nil {
			return err
		}
		m.start(ctx, l, r.GetShard())
	}
	return nil
}

// start runs a job for a shard that moves, unless one runs or it has just failed.
func (m *Mover) start(ctx context.Context, l *metapb.Layout, row *metapb.ShardRow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, failed := m.cfg.Clock.Now(), m.failed[row.Shard]
	if m.paused || m.jobs[row.Shard] != nil || now.Before(failed.again) || ctx.Err() != nil {
		return
	}
	j := &job{m: m, row: row, pool: l.Pools[0], epoch: l.GetCluster().GetEpoch(), at: position{began: now}}
	if failed.epoch == row.Epoch && !failed.at.began.IsZero() {
		j.at = failed.at
	}
	m.jobs[row.Shard] = j
	m.wg.Go(func() {
		err := j.run(ctx)
		m.ended(ctx, j, err)
	})
}

func (m *Mover) ended(ctx context.Context, j *job, err error) {
	m.mu.Lock()
	delete(m.jobs, j.row.Shard)
	if err != nil {
		m.failed[j.row.Shard] = failedMove{j.row.Epoch, m.cfg.Clock.Now().Add(retryAfter), j.at}
	} else {
		delete(m.failed, j.row.Shard)
		m.progress.Moved++
		m.progress.movedBytes += j.at.bytes
	}
	m.mu.Unlock()
	switch {
	case err == nil:
		m.cfg.Log.Debug("a shard moved", zap.Uint32("shard", j.row.Shard), zap.Uint32s("joined", j.row.Joining), zap.Int64("bytes", j.at.bytes))
		select {
		case m.wake <- struct{}{}:
		default:
		}
	case ctx.Err() == nil:
		m.cfg.Log.Info("a shard could not move now", zap.Uint32("shard", j.row.Shard), zap.Error(err))
	}
}

// startedSince says that a volume told of a start after a time. The caller holds mu.
func (m *Mover) startedSince(volume uint32, since time.Time) bool {
	if m.cfg.Started == nil {
		return false
	}
	at, known := m.cfg.Started(volume)
	return known && at.After(since)
}

// gone are the volumes that left the shard and keep their blobs.
func gone(row *metapb.ShardRow) (out []uint32) {
	for _, v := range row.Leaving {
		if !slices.Contains(row.Members, v) {
			out = append(out, v)
		}
	}
	return out
}

package repair

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/pace"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of the queue.
const (
	lookEvery   = 2 * time.Second
	countEvery  = 5 * time.Second
	pageRows    = 1024
	pagesMax    = 16   // in one look
	targetRows  = 1024 // at hand for one volume
	targetsMax  = 64   // volumes that are worked for at once
	batchBlobs  = 64
	batchBytes  = 16 << 20
	batchMax    = time.Minute
	parallelMax = 8 // batches on their way
	backoffMin  = time.Second
	backoffMax  = 15 * time.Second
	stuckMax    = 16384 // rows without a source that are remembered
	stuckWait   = 30 * time.Second
)

// RateDefault is how fast replicas are copied, in bytes per second of the whole cluster.
const RateDefault = 64 << 20

// Config of a Queue. Metadata, Volumes, Clock and Log must be set.
type Config struct {
	Metadata Metadata
	Volumes  Volumes
	Clock    Clock
	Log      *zap.Logger
	Rate     int64 // bytes per second; 0 or less: no limit
}

// Queue copies replicas to the volumes that lack them, as long as Run runs. Its methods may be called concurrently.
type Queue struct {
	cfg   Config
	pace  *pace.Pace
	slots chan struct{} // for batches
	wake  chan struct{}

	counted time.Time // only Run's

	mu     sync.Mutex // guards what follows
	cursor *metapb.MissingRow
	away   map[uint32]*standing
	busy   map[uint32]bool
	stuck  map[replica]time.Time // until when a row without a source is left alone
	stats  Stats
	oldest int64 // of the running round through all rows
}

// replica is a blob on a volume.
type replica struct {
	blob   object.BlobID
	volume uint32
}

// standing is how a volume that failed stands.
type standing struct {
	failures int
	until    time.Time
}

// Stats is what the queue has done since it was made, and how it stands.
type Stats struct {
	Copied      int64 // replicas
	CopiedBytes int64
	Had         int64 // replicas that turned out good
	Cleared     int64 // rows of what is not alive, or belongs elsewhere
	Failed      int64 // attempts
	Lost        int   // replicas for which no volume has good bytes, as far as is known now
	Away        int   // volumes that do not answer
	OldestMs    int64 // when the oldest row was written, as of the last round; 0: none
	// Missing is how many blobs each volume lacks, as of some seconds ago. It is not to be changed.
	Missing map[uint32]uint64
}

// NewQueue makes a queue; Run runs it.
func NewQueue(cfg Config) *Queue {
	return &Queue{
		cfg: cfg, pace: pace.New(cfg.Clock, cfg.Rate), slots: make(chan struct{}, parallelMax), wake: make(chan struct{}, 1),
		away: map[uint32]*standing{}, busy: map[uint32]bool{}, stuck: map[replica]time.Time{},
	}
}

// Stats is taken without waiting.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Lost, s.Away = len(q.stuck), 0
	now := q.cfg.Clock.Now()
	for _, a := range q.away {
		if a.until.After(now) {
			s.Away++
		}
	}
	return s
}

// Nudge has the queue look now. With anew, it also asks again what failed a moment ago.
func (q *Queue) Nudge(anew bool) {
	if anew {
		q.mu.Lock()
		clear(q.away)
		clear(q.stuck)
		q.mu.Unlock()
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and waits for what it began.
func (q *Queue) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	last := ""
	for {
		err := q.look(ctx, &wg)
		switch {
		case err == nil:
			last = ""
		case errs.Is(err, errs.NotLeader), errs.Is(err, errs.Unavailable):
			q.cfg.Log.Debug("missing replicas wait", zap.Error(err)) // a lead that has ended: its duties end soon, too
		case ctx.Err() == nil && err.Error() != last:
			last = err.Error()
			q.cfg.Log.Warn("missing replicas could not be looked at", zap.Error(err))
		}
		select {
		case <-q.wake:
		case <-q.cfg.Clock.After(lookEvery):
		case <-ctx.Done():
			return
		}
	}
}

// look reads rows from where the last look ended until there are enough for a volume, and begins to work for volumes that are idle.
func (q *Queue) look(ctx context.Context, wg *sync.WaitGroup) error {
	q.forget()
	if err := q.recount(ctx); err != nil {
		return err
	}
	skip, idle := q.unusable()
	found := map[uint32][]*metapb.MissingRow{}
	full := idle == 0
	for pages := 0; pages < pagesMax && !full; pages++ {
		a, err := q.cfg.Metadata.Read(ctx, &metapb.Query{Q: &metapb.Query_Missing{Missing: &metapb.MissingQuery{
			After: q.position(), Limit: pageRows, Skip: skip,
		}}})
		if err != nil {
			return err
		}
		page := a.GetMissing()
		for _, row := range page.GetRows() {
			rows := found[row.Volume]
			if full = full || len(rows) == targetRows; len(rows) < targetRows && (len(rows) > 0 || len(found) < idle) {
				found[row.Volume] = append(rows, row)
			}
		}
		if q.turn(page) {
			break
		}
	}
	if len(found) == 0 {
		return nil
	}
	begun, err := q.begin(ctx, wg, found)
	if full && begun > 0 {
		q.Nudge(false) // for the others; rows that only wait would have it look without end
	}
	return err
}

// recount reads, now and then, how much is missing where.
func (q *Queue) recount(ctx context.Context) error {
	now := q.cfg.Clock.Now()
	if now.Sub(q.counted) < countEvery {
		return nil
	}
	q.counted = now
	a, err := q.cfg.Metadata.Read(ctx, &metapb.Query{Q: &metapb.Query_MissingCounts{MissingCounts: &metapb.MissingCountsQuery{}}})
	if err != nil {
		return err
	}
	by := map[uint32]uint64{}
	for _, c := range a.GetMissingCounts().GetCounts() {
		by[c.Volume] += c.Count
	}
	q.mu.Lock()
	q.stats.Missing = by
	q.mu.Unlock()
	return nil
}

// forget lets go of rows without a source that were not met again: they went with their runs.
func (q *Queue) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	old := q.cfg.Clock.Now().Add(-10 * stuckWait)
	for r, until := range q.stuck {
		if until.Before(old) {
			delete(q.stuck, r)
		}
	}
}

// unusable are the volumes that no rows are read for, and for how many others work may begin.
func (q *Queue) unusable() (skip []uint32, idle int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Clock.Now()
	for v := range q.busy {
		skip = append(skip, v)
	}
	for v, a := range q.away {
		if a.until.After(now) && !q.busy[v] {
			skip = append(skip, v)
		}
	}
	return skip, max(0, targetsMax-len(q.busy))
}

func (q *Queue) position() *metapb.MissingRow {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cursor
}

// turn moves the cursor on; true: all rows have been seen, and the next page is the first.
func (q *Queue) turn(page *metapb.MissingAnswer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o := page.GetOldestMs(); o > 0 && (q.oldest == 0 || o < q.oldest) {
		q.oldest = o
	}
	q.cursor = page.GetNext()
	if q.cursor != nil {
		return false
	}
	q.stats.OldestMs, q.oldest = q.oldest, 0
	return true
}

// begin sorts out rows that mean nothing any more (R1) and works for each volume beside the others. It says for how many.
func (q *Queue) begin(ctx context.Context, wg *sync.WaitGroup, found map[uint32][]*metapb.MissingRow) (int, error) {
	var all []*metapb.MissingRow
	for _, rows := range found {
		all = append(all, rows...)
	}
	t, jobs, dead, err := q.jobs(ctx, all)
	if err != nil {
		return 0, err
	}
	if err := q.clear(ctx, dead); err != nil {
		return 0, err
	}
	q.mu.Lock()
	q.stats.Cleared += int64(len(dead))
	for number := range jobs {
		q.busy[number] = true
	}
	q.mu.Unlock()
	for number, list := range jobs {
		wg.Go(func() {
			q.work(ctx, t, t.volumes[number], list)
			q.mu.Lock()
			delete(q.busy, number)
			q.mu.Unlock()
			q.Nudge(false)
		})
	}
	return len(jobs), nil
}

// clearMax is how many rows one entry clears.
const clearMax = 1000

// clear forgets rows.
func (q *Queue) clear(ctx context.Context, rows []*metapb.MissingRow) error {
	q.mu.Lock()
	for _, r := range rows {
		delete(q.stuck, replicaOf(r))
	}
	q.mu.Unlock()
	for len(rows) > 0 {
		some := rows[:min(len(rows), clearMax)]
		rows = rows[len(some):]
		_, err := propose(ctx, q.cfg.Metadata, "repair.clear", &metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: some}}})
		if err != nil {
			return err
		}
	}
	return nil
}

func replicaOf(r *metapb.MissingRow) replica { return replica{object.BlobID(r.Blob), r.Volume} }

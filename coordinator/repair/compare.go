package repair

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/lists"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds and times of comparing replicas.
const (
	CompareEveryDefault = time.Hour
	settleTime          = 5 * time.Second  // what still differs after it was not just being written
	listedMax           = 16               // shards whose lists are compared in a round; when more differ, metadata is walked
	listPage            = 4096             // blobs of one list at hand
	startedWithin       = 10 * time.Minute // a volume that has run for longer is not compared because a leader is new
	retryStarted        = 10 * time.Second
)

// CompareStats is what comparing has done since it was made.
type CompareStats struct {
	Rounds  int64
	Started int64 // volumes compared because they had started
	Differ  int64 // shards found to differ, of the last round
	Found   int64 // replicas found to lack or to be bad, that were not known before
}

// Comparer finds replicas that lack blobs without anybody having noticed: it compares what volumes hold of each shard, by digests, now and
// then, and what a volume holds with metadata when it has started. What is found becomes missing rows; what is held and should not be is
// left to the collector.
type Comparer struct {
	Metadata Metadata
	Volumes  Volumes
	Clock    Clock
	Log      *zap.Logger
	Every    time.Duration
	Found    func() // called when there is something to repair

	mu      sync.Mutex // guards what follows
	boots   map[uint32]boot
	started map[uint32]*start // to be compared first
	wake    chan struct{}
	stats   CompareStats
}

// boot is a volume's last start.
type boot struct {
	id []byte
	at time.Time // by Clock
}

// start is one of a volume that is to be compared with metadata.
type start struct {
	after []byte // runs up to this one are; nil: none
}

// StartedAt is when a volume's process started; false: it has not told.
func (c *Comparer) StartedAt(volume uint32) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, known := c.boots[volume]
	return b.at, known
}

// Stats is taken without waiting.
func (c *Comparer) Stats() CompareStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

func (c *Comparer) wakeUp() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	return c.wake
}

// Booted hears that a volume runs, under an id drawn at its start. One that has started is compared soon.
func (c *Comparer) Booted(volume uint32, id []byte, uptime time.Duration) {
	wake := c.wakeUp()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.boots == nil {
		c.boots, c.started = map[uint32]boot{}, map[uint32]*start{}
	}
	last, known := c.boots[volume]
	if known && bytes.Equal(last.id, id) || len(c.boots) > 1<<16 {
		return
	}
	c.boots[volume] = boot{bytes.Clone(id), c.Clock.Now().Add(-uptime)}
	if !known && uptime > startedWithin {
		return
	}
	c.started[volume] = &start{}
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Run compares until ctx ends.
func (c *Comparer) Run(ctx context.Context) {
	wake := c.wakeUp()
	next := c.Clock.Now().Add(c.Every)
	for {
		wait := next.Sub(c.Clock.Now())
		if c.waiting() {
			wait = min(wait, retryStarted)
		}
		select {
		case <-wake:
		case <-c.Clock.After(max(wait, 0)):
		case <-ctx.Done():
			return
		}
		c.log(ctx, "a volume that has started is not compared yet", c.compareStarted(ctx))
		if !c.Clock.Now().Before(next) {
			c.log(ctx, "replicas could not be compared", c.Round(ctx))
			next = c.Clock.Now().Add(c.Every)
		}
	}
}

func (c *Comparer) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.started) > 0
}

func (c *Comparer) log(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		c.Log.Info(what, zap.Error(err))
	}
}

// compareStarted compares volumes that have started with metadata: after a crash, or with a segment lost, what lacks becomes missing.
func (c *Comparer) compareStarted(ctx context.Context) error {
	c.mu.Lock()
	volumes := maps.Clone(c.started)
	c.mu.Unlock()
	var failed error
	for v, x := range volumes {
		w := c.walker()
		did, err := w.Walk(ctx, Scope{Volume: v, After: x.after}, func(bad []Finding) error { return c.report(ctx, bad) }, func(Walked) error { return ctx.Err() })
		x.after = w.done
		if err != nil {
			failed = err
			continue
		}
		c.mu.Lock()
		if c.started[v] == x { // else it has started again meanwhile
			delete(c.started, v)
		}
		c.stats.Started++
		c.mu.Unlock()
		c.Log.Info("a volume that has started was compared", zap.Uint32("volume", v), zap.Int64("replicas", did.Replicas), zap.Int64("bad", did.Bad))
	}
	return failed
}

func (c *Comparer) walker() *Walker {
	return &Walker{Metadata: c.Metadata, Volumes: c.Volumes, Clock: c.Clock}
}

// walk compares metadata with all volumes and reports what it finds.
func (c *Comparer) walk(ctx context.Context) error {
	_, err := c.walker().Walk(ctx, Scope{}, func(bad []Finding) error { return c.report(ctx, bad) }, func(Walked) error { return ctx.Err() })
	return err
}

func (c *Comparer) report(ctx context.Context, bad []Finding) error {
	n, err := ReportFindings(ctx, c.Metadata, bad)
	if n > 0 {
		c.mu.Lock()
		c.stats.Found += int64(n)
		c.mu.Unlock()
		c.Log.Warn("replicas lack blobs that they should have", zap.Int("replicas", n))
		if c.Found != nil {
			c.Found()
		}
	}
	return err
}

// Round compares all shards once: digests first; of the shards that differ and still do after a while, without what is not alive, the lists,
// or, where there are many, metadata.
func (c *Comparer) Round(ctx context.Context) error {
	const op = "repair.Round"
	t, err := readTopology(ctx, c.Metadata)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if !slices.ContainsFunc(t.Shards, func(s *metapb.ShardRow) bool { return len(s.Members) > 1 }) {
		return nil
	}
	differ := t.differing(c.digests(ctx, t), nil)
	if len(differ) > 0 {
		select {
		case <-c.Clock.After(settleTime):
		case <-ctx.Done():
			return ctx.Err()
		}
		digests := c.digests(ctx, t)
		if differ = t.differing(digests, differ); len(differ) > 0 {
			if err := c.leftOut(ctx, t, digests, differ); err != nil {
				return errs.Wrap(op, err)
			}
			differ = t.differing(digests, differ)
		}
	}
	c.mu.Lock()
	c.stats.Rounds++
	c.stats.Differ = int64(len(differ))
	c.mu.Unlock()
	if len(differ) > listedMax {
		return errs.Wrap(op, c.walk(ctx))
	}
	for _, shard := range differ {
		if err := c.lists(ctx, t, shard); err != nil {
			return errs.Wrap(op, err)
		}
	}
	return nil
}

// digests are those of all volumes that answer, by number.
func (c *Comparer) digests(ctx context.Context, t *topology) map[uint32][]object.ShardDigest {
	digests := map[uint32][]object.ShardDigest{}
	for _, row := range t.Volumes {
		call, cancel := context.WithTimeout(ctx, checkMax)
		all, err := c.Volumes.Digests(call, row, t.Pools[0].Shards)
		cancel()
		if err == nil && len(all) == len(t.Shards) {
			digests[row.Number] = all
		}
	}
	return digests
}

// differing are the shards, of those given (nil: all), whose members that answered do not hold the same. Shards that move are left out.
func (t *topology) differing(digests map[uint32][]object.ShardDigest, of []uint32) []uint32 {
	var out []uint32
	for i, s := range t.Shards {
		if len(s.Joining) > 0 || (of != nil && !slices.Contains(of, uint32(i))) {
			continue
		}
		var first *object.ShardDigest
		for _, v := range s.Members {
			all := digests[v]
			if all == nil {
				continue
			}
			d := all[i]
			d.Shard = uint32(i)
			if first != nil && *first != d {
				out = append(out, uint32(i))
				break
			}
			first = &d
		}
	}
	return out
}

// lists goes through the lists of a shard's members side by side; what one has and another lacks, and is alive, is missing there.
func (c *Comparer) lists(ctx context.Context, t *topology, shard uint32) error {
	var members []*metapb.VolumeRow
	all := lists.New(object.BlobID{}, listPage)
	for _, v := range t.Shards[shard].Members {
		at := t.volumes[v]
		if at == nil {
			continue
		}
		err := all.Add(ctx, func(ctx context.Context, after object.BlobID, limit int) ([]object.BlobInfo, error) {
			call, cancel := context.WithTimeout(ctx, checkMax)
			defer cancel()
			return c.Volumes.ListShard(call, at, shard, t.Pools[0].Shards, after, limit)
		})
		if err == nil {
			members = append(members, at)
		}
	}
	var suspects []Finding
	for all.Len() > 1 {
		b, some, err := all.Next(ctx)
		if err != nil {
			return err // what that volume has is not known from here on
		}
		if !some {
			break
		}
		for i, at := range members {
			if b.From>>i&1 == 0 {
				suspects = append(suspects, Finding{b.ID, at.Number, object.Missing})
			}
		}
		if len(suspects) >= clearMax {
			if err := c.confirmed(ctx, t, suspects); err != nil {
				return err
			}
			suspects = nil
		}
	}
	return c.confirmed(ctx, t, suspects)
}

// confirmed asks the volumes for what their lists did not have, as far as it is alive, and reports what they lack.
func (c *Comparer) confirmed(ctx context.Context, t *topology, suspects []Finding) error {
	suspects, err := confirm(ctx, c.Metadata, suspects)
	if err != nil || len(suspects) == 0 {
		return err
	}
	ids := make([]object.BlobID, len(suspects))
	for i := range suspects {
		ids[i] = suspects[i].Blob
	}
	known, err := lives(ctx, c.Metadata, ids)
	if err != nil {
		return err
	}
	by := map[uint32]*object.Check{}
	for i, f := range suspects {
		if by[f.Volume] == nil {
			by[f.Volume] = &object.Check{}
		}
		if known[i].alive {
			by[f.Volume].IDs, by[f.Volume].Lengths = append(by[f.Volume].IDs, f.Blob), append(by[f.Volume].Lengths, uint32(known[i].length))
		}
	}
	var bad []Finding
	for v, q := range by {
		call, cancel := context.WithTimeout(ctx, checkMax)
		got, err := c.Volumes.Check(call, t.volumes[v], *q)
		cancel()
		if err != nil || len(got.Verdicts) != len(q.IDs) {
			continue // the next round asks again
		}
		for i, verdict := range got.Verdicts {
			if verdict != object.Good {
				bad = append(bad, Finding{q.IDs[i], v, verdict})
			}
		}
	}
	if bad, err = confirm(ctx, c.Metadata, bad); err != nil || len(bad) == 0 {
		return err
	}
	return c.report(ctx, bad)
}

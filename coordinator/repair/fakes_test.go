package repair

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

const (
	testShards = 8
	testBlob   = 1 << 20
)

// cluster is metadata and volumes in memory.
type cluster struct {
	mu        sync.Mutex
	layout    *metapb.Layout
	runs      map[object.RunBase]*metapb.Run // alive
	dying     map[object.RunBase]bool
	missing   map[replica]*metapb.MissingRow
	index     uint64
	down      map[uint32]bool
	full      map[uint32]bool
	refuses   map[object.BlobID]bool
	held      map[replica]object.Verdict
	fetches   []fetched
	asked     map[uint32]bool // sources
	running   int             // calls of Fetch
	most      int
	slow      time.Duration // of one Fetch
	deep      int64         // bytes checked deep
	cleared   int
	digests   int                    // calls
	listed    int                    // calls of ListShard, and pages of runs
	hinted    map[object.BlobID]bool // the volumes know that it is committed
	paged     func()                 // before each page of runs
	failCheck int                    // the so many-th Check from now fails
	audits    []*metapb.AuditAnswer
	failed    error // of the metadata
}

type fetched struct {
	to    uint32
	blobs int
	at    time.Time
}

func newCluster(volumes, replication int) *cluster {
	c := &cluster{
		runs: map[object.RunBase]*metapb.Run{}, dying: map[object.RunBase]bool{}, missing: map[replica]*metapb.MissingRow{},
		asked: map[uint32]bool{}, down: map[uint32]bool{}, full: map[uint32]bool{}, refuses: map[object.BlobID]bool{}, held: map[replica]object.Verdict{},
	}
	c.layout = &metapb.Layout{
		Cluster: &metapb.ClusterRow{Id: []byte{1}, Epoch: 9},
		Pools:   []*metapb.PoolRow{{Shards: testShards, Replication: uint32(replication), BlobSize: testBlob}},
	}
	for v := range volumes {
		c.layout.Volumes = append(c.layout.Volumes, &metapb.VolumeRow{Number: uint32(v + 1)})
	}
	for s := range testShards {
		row := &metapb.ShardRow{Shard: uint32(s), Epoch: 1}
		for r := range replication {
			row.Members = append(row.Members, uint32((s+r)%volumes+1))
		}
		c.layout.Shards = append(c.layout.Shards, row)
	}
	return c
}

// put makes a living run that all its replicas hold.
func (c *cluster) put(n int, length uint64) object.RunBase {
	var random [12]byte
	binary.BigEndian.PutUint64(random[:], uint64(n)*0x9E3779B97F4A7C15)
	base := object.NewRunBase(0, random)
	blobs := uint32((length + testBlob - 1) / testBlob)
	c.runs[base] = &metapb.Run{Base: base[:], BlobSize: testBlob, Length: length, Ranges: []*metapb.CounterRange{{First: 2, Count: blobs}}}
	for i := range blobs {
		id := base.Blob(2 + i)
		for _, v := range c.layout.Shards[id.Shard(testShards)].Members {
			c.held[replica{id, v}] = object.Good
		}
	}
	return base
}

// lose has a replica lack a blob, with a row or without.
func (c *cluster) lose(id object.BlobID, volume uint32, v object.Verdict, row bool) {
	if c.held[replica{id, volume}] = v; v == object.Missing {
		delete(c.held, replica{id, volume})
	}
	if row {
		c.index++
		c.missing[replica{id, volume}] = &metapb.MissingRow{Blob: id[:], Volume: volume, SinceIndex: c.index, SinceMs: time.Now().UnixMilli()}
	}
}

func (c *cluster) members(id object.BlobID) []uint32 {
	return c.layout.Shards[id.Shard(testShards)].Members
}

func (c *cluster) Read(_ context.Context, q *metapb.Query) (*metapb.Answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &metapb.Answer{Index: c.index}
	switch q := q.Q.(type) {
	case *metapb.Query_Layout:
		a.A = &metapb.Answer_Layout{Layout: c.layout}
	case *metapb.Query_RunStates:
		r := &metapb.RunStatesAnswer{}
		for _, b := range q.RunStates.Bases {
			s := &metapb.RunState{}
			if run := c.runs[object.RunBase(b)]; run != nil {
				s = &metapb.RunState{State: meta.RunAlive, Ranges: run.Ranges, BlobSize: run.BlobSize, Length: run.Length}
			} else if c.dying[object.RunBase(b)] {
				s.State = meta.RunDying
			}
			r.States = append(r.States, s)
		}
		a.A = &metapb.Answer_RunStates{RunStates: r}
	case *metapb.Query_Missing:
		a.A = &metapb.Answer_Missing{Missing: c.page(q.Missing)}
	case *metapb.Query_MissingCounts:
		r := &metapb.MissingCountsAnswer{}
		for x := range c.missing {
			r.Counts = append(r.Counts, &metapb.MissingCount{Volume: x.volume, Count: 1})
		}
		a.A = &metapb.Answer_MissingCounts{MissingCounts: r}
	case *metapb.Query_Audit:
		r := &metapb.AuditAnswer{}
		if n := len(q.Audit.After); n < len(c.audits) {
			r = c.audits[n]
		}
		a.A = &metapb.Answer_Audit{Audit: r}
	case *metapb.Query_Runs:
		c.listed++
		if c.paged != nil {
			c.paged()
		}
		a.A = &metapb.Answer_Runs{Runs: c.runPage(q.Runs)}
	}
	return a, c.failed
}

func (c *cluster) page(q *metapb.MissingQuery) *metapb.MissingAnswer {
	r := &metapb.MissingAnswer{}
	var all []*metapb.MissingRow
	for _, row := range c.missing {
		all = append(all, row)
	}
	key := func(r *metapb.MissingRow) []byte { return binary.BigEndian.AppendUint32(bytes.Clone(r.Blob), r.Volume) }
	slices.SortFunc(all, func(a, b *metapb.MissingRow) int { return bytes.Compare(key(a), key(b)) })
	seen := uint32(0)
	for _, row := range all {
		if q.After != nil && bytes.Compare(key(row), key(q.After)) <= 0 {
			continue
		}
		if r.OldestMs == 0 || row.SinceMs < r.OldestMs {
			r.OldestMs = row.SinceMs
		}
		if !slices.Contains(q.Skip, row.Volume) {
			r.Rows = append(r.Rows, row)
		}
		if seen++; seen == q.Limit {
			r.Next = row
			break
		}
	}
	return r
}

func (c *cluster) runPage(q *metapb.RunsQuery) *metapb.RunsAnswer {
	r := &metapb.RunsAnswer{}
	var all []*metapb.Run
	for _, run := range c.runs {
		all = append(all, run)
	}
	slices.SortFunc(all, func(a, b *metapb.Run) int { return bytes.Compare(a.Base, b.Base) })
	for _, run := range all {
		if bytes.Compare(run.Base, q.After) <= 0 {
			continue
		}
		if r.Runs = append(r.Runs, run); len(r.Runs) == 3 { // small pages
			r.Next = run.Base
			break
		}
	}
	return r
}

func (c *cluster) Propose(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return nil, c.failed
	}
	c.index++
	res := &metapb.ReleaseResult{}
	switch op := cmd.Op.(type) {
	case *metapb.Command_ClearMissing:
		for _, r := range op.ClearMissing.Rows {
			if row := c.missing[replicaOf(r)]; row != nil && row.SinceIndex == r.SinceIndex {
				delete(c.missing, replicaOf(r))
				c.cleared++
			}
		}
	case *metapb.Command_ReportMissing:
		for _, r := range op.ReportMissing.Rows {
			if c.missing[replicaOf(r)] == nil {
				c.missing[replicaOf(r)] = &metapb.MissingRow{Blob: r.Blob, Volume: r.Volume, SinceIndex: c.index, SinceMs: time.Now().UnixMilli(), Reason: r.Reason}
				res.Released++
			}
		}
	}
	return &metapb.Result{Value: &metapb.Result_Released{Released: res}}, nil
}

func (c *cluster) Fetch(ctx context.Context, to *metapb.VolumeRow, wants []object.Want, sources []*metapb.VolumeRow) ([]object.Fetched, error) {
	c.mu.Lock()
	c.fetches = append(c.fetches, fetched{to.Number, len(wants), time.Now()})
	c.running++
	c.most = max(c.most, c.running)
	slow := c.slow
	c.mu.Unlock()
	time.Sleep(slow) // of the bubble
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if c.down[to.Number] {
		return nil, errs.E("fake", errs.Unavailable, "volume %d is down", to.Number)
	}
	if len(sources) > object.FetchSourcesMax {
		return nil, errs.E("fake", errs.Invalid, "%d sources", len(sources))
	}
	out := make([]object.Fetched, len(wants))
	for i, w := range wants {
		out[i] = c.fetch(to.Number, w)
	}
	return out, ctx.Err()
}

func (c *cluster) fetch(to uint32, w object.Want) (f object.Fetched) {
	switch {
	case c.held[replica{w.ID, to}] == object.Good:
		return object.Fetched{Outcome: object.FetchHad}
	case c.full[to]:
		return object.Fetched{Own: true, Err: errs.E("fake", errs.StorageFull, "full")}
	case c.refuses[w.ID]:
		return object.Fetched{Own: true, Err: errs.E("fake", errs.Aborted, "no")}
	}
	f.Err = errs.E("fake", errs.BlobMissing, "no source")
	for _, v := range w.From {
		c.asked[v] = true
		switch {
		case c.down[v]:
			f.Away = append(f.Away, v)
		case c.held[replica{w.ID, v}] == object.Good:
			c.held[replica{w.ID, to}] = object.Good
			f.Outcome, f.Err = object.FetchCopied, nil
			return f
		default:
			f.Lacking = append(f.Lacking, v)
		}
	}
	return f
}

func (c *cluster) Check(_ context.Context, at *metapb.VolumeRow, q object.Check) (object.Checked, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out object.Checked
	c.failCheck--
	if c.down[at.Number] || c.failCheck == 0 {
		return out, errs.E("fake", errs.Unavailable, "volume %d is down", at.Number)
	}
	for i, id := range q.IDs {
		v := c.held[replica{id, at.Number}]
		switch {
		case v == 0:
			v = object.Missing
		case v == object.Damaged && !q.Deep:
			v = object.Good // nobody has looked
		}
		if q.Deep {
			c.deep += int64(q.Lengths[i])
		}
		out.Verdicts = append(out.Verdicts, v)
	}
	return out, nil
}

func (c *cluster) ListShard(ctx context.Context, at *metapb.VolumeRow, shard, shards uint32, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed++
	return c.list(at, after, limit, func(r replica) bool { return shards == 0 || r.blob.Shard(shards) == shard })
}

func (c *cluster) ListPrepared(_ context.Context, at *metapb.VolumeRow, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list(at, after, limit, func(r replica) bool { return !c.hinted[r.blob] })
}

func (c *cluster) list(at *metapb.VolumeRow, after object.BlobID, limit int, want func(replica) bool) ([]object.BlobInfo, error) {
	if c.down[at.Number] {
		return nil, errs.E("fake", errs.Unavailable, "volume %d is down", at.Number)
	}
	var all []object.BlobInfo
	for r := range c.held {
		if r.volume == at.Number && want(r) {
			all = append(all, object.BlobInfo{ID: r.blob, Length: 9})
		}
	}
	less := func(a, b object.BlobID) int {
		return cmp.Or(cmp.Compare(a.Hash(), b.Hash()), bytes.Compare(a[:], b[:]))
	}
	slices.SortFunc(all, func(a, b object.BlobInfo) int { return less(a.ID, b.ID) })
	if after != (object.BlobID{}) {
		all = slices.DeleteFunc(all, func(b object.BlobInfo) bool { return less(b.ID, after) <= 0 })
	}
	return all[:min(len(all), limit)], nil
}

func (c *cluster) List(ctx context.Context, at *metapb.VolumeRow, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	return c.ListShard(ctx, at, 0, 0, after, limit)
}

func (c *cluster) Digests(_ context.Context, at *metapb.VolumeRow, shards uint32) ([]object.ShardDigest, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.digests++
	if c.down[at.Number] {
		return nil, errs.E("fake", errs.Unavailable, "volume %d is down", at.Number)
	}
	all := make([]object.ShardDigest, shards)
	for r := range c.held {
		if r.volume == at.Number {
			all[r.blob.Shard(shards)].Add(r.blob, 9)
		}
	}
	return all, nil
}

// realClock is the bubble's.
type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

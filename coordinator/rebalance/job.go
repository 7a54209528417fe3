package rebalance

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"minikv/coordinator/lists"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of a job.
const (
	listPage     = 8192 // blobs of each source at hand
	batchBlobs   = 64
	batchBytes   = 8 << 20          // and one blob
	fenceTimeout = 35 * time.Second // a prepare that runs ends after 30 s
	listTimeout  = 30 * time.Second
	fetchTimeout = 2 * time.Minute
)

// job is one shard's move, from the acknowledgement of its epoch to the flip.
type job struct {
	m     *Mover
	row   *metapb.ShardRow
	pool  *metapb.PoolRow
	epoch uint64 // of the cluster, to prepare under

	// Guarded by m.mu.
	phase string
	at    position
}

// position is how far a move has come. It outlives its job in memory, so that one that failed goes on there (B6).
type position struct {
	began time.Time
	after object.BlobID // blobs up to this one are done
	bytes int64         // of them
	whole bool          // there are no others
}

// total estimates the bytes of the shard: hashes are spread evenly, and blobs come in their order.
func (p *position) total() int64 {
	if share := float64(p.after.Hash()) / (1 << 64); !p.whole && share > 0 {
		return max(p.bytes, int64(min(float64(p.bytes)/share, math.MaxInt64/2)))
	}
	return p.bytes
}

var errPaused = errs.E("rebalance.job", errs.Unavailable, "moves are paused")

// stopped is errPaused when moves are paused.
func (m *Mover) stopped() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paused {
		return errPaused
	}
	return nil
}

// run does what is left of the move; after an error it can be done again, by any leader.
func (j *job) run(ctx context.Context) error {
	j.enter("waiting for the epoch")
	sources, err := j.fence(ctx)
	if err != nil {
		return err
	}
	if err := j.complete(ctx, sources); err != nil {
		return err
	}
	j.enter("copying")
	if err := j.copyAll(ctx, sources); err != nil {
		return err
	}
	j.enter("ending")
	if err := j.steady(); err != nil {
		return err
	}
	_, err = j.m.propose(ctx, &metapb.Command{Op: &metapb.Command_FlipShard{FlipShard: &metapb.FlipShard{Shard: j.row.Shard, Epoch: j.row.Epoch}}})
	return err
}

// targets are the volumes that must have everything before the move ends: those that join. Where none does, others leave without being
// replaced, and it is those that stay (B6).
func (j *job) targets() []uint32 {
	if len(j.row.Joining) > 0 {
		return j.row.Joining
	}
	return meta.Next(j.row)
}

func (j *job) enter(phase string) {
	j.m.mu.Lock()
	j.phase = phase
	j.m.mu.Unlock()
}

// steady refuses to go on when a target has started since the first copy: what it did not sync is gone, and all is to be looked
// at again.
func (j *job) steady() error {
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	for _, v := range j.targets() {
		if j.m.startedSince(v, j.at.began) {
			j.at = position{}
			return errs.E("rebalance.job", errs.Unavailable, "volume %d has started meanwhile", v)
		}
	}
	return nil
}

// fence has the replicas acknowledge the move's epoch (B2). It gives the members that did: at least as many as meet every write quorum.
func (j *job) fence(ctx context.Context) ([]uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	all, must := slices.Concat(j.row.Members, j.row.Joining), j.targets()
	failed := make([]error, len(all))
	var wg sync.WaitGroup
	for i, v := range all {
		if !j.m.cfg.Up(v) {
			failed[i] = errs.E("rebalance.fence", errs.Unavailable, "volume %d is down", v)
			continue
		}
		wg.Go(func() { failed[i] = j.m.v.Fence(ctx, v, j.row.Shard, j.pool.Shards, j.row.Epoch) })
	}
	wg.Wait()
	var acknowledged []uint32
	var worst error
	for i, v := range all {
		switch {
		case failed[i] == nil && i < len(j.row.Members):
			acknowledged = append(acknowledged, v)
		case failed[i] == nil:
		case slices.Contains(must, v) || errs.Is(failed[i], errs.StaleShardEpoch):
			return nil, errs.Wrap("rebalance.fence", failed[i])
		default:
			worst = failed[i]
		}
	}
	if need := len(j.row.Members) - meta.Quorum(len(j.row.Members)) + 1; len(acknowledged) < need || len(acknowledged) > lists.SourcesMax {
		return nil, errs.WrapKind("rebalance.fence", errs.Unavailable, worst)
	}
	return acknowledged, nil
}

// complete refuses to copy when a member does not answer and each of those that do is known to lack blobs: it may be the same ones, which no
// list of theirs has then. Repair brings them once that member is back. One that lacks nothing lists everything.
func (j *job) complete(ctx context.Context, sources []uint32) error {
	if len(sources) == len(j.row.Members) {
		return nil
	}
	missing, err := j.m.missingCounts(ctx)
	if err != nil {
		return errs.Wrap("rebalance.complete", err)
	}
	of := missing[j.row.Shard]
	if slices.ContainsFunc(sources, func(v uint32) bool { return of[v] == 0 }) {
		return nil
	}
	return errs.E("rebalance.complete", errs.Unavailable, "all members that answer lack blobs, which the others may have")
}

// copyAll brings what the sources list to the targets, page by page and batch by batch, from where an earlier job ended.
func (j *job) copyAll(ctx context.Context, sources []uint32) error {
	if j.at.whole {
		return nil
	}
	union := lists.New(j.at.after, listPage)
	for _, v := range sources {
		err := union.Add(ctx, func(ctx context.Context, after object.BlobID, limit int) ([]object.BlobInfo, error) {
			return j.listPage(ctx, v, after, limit)
		})
		if err != nil {
			return errs.Wrap("rebalance.list", err)
		}
	}
	for {
		batch, err := nextBatch(ctx, union)
		if err != nil {
			return errs.Wrap("rebalance.list", err)
		}
		for _, v := range j.targets() {
			if err := j.copyBatch(ctx, v, sources, batch); err != nil {
				return err
			}
		}
		if j.passed(batch); len(batch) == 0 {
			return nil
		}
	}
}

// nextBatch is empty at the end.
func nextBatch(ctx context.Context, union *lists.Merge) (batch []lists.Blob, err error) {
	size := int64(0)
	for len(batch) < batchBlobs && size < batchBytes {
		b, ok, err := union.Next(ctx)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		batch = append(batch, b)
		size += b.Length
	}
	return batch, nil
}

// passed notes that a batch is done; after an empty one nothing is left.
func (j *job) passed(batch []lists.Blob) {
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	j.at.whole = len(batch) == 0
	for i := range batch {
		j.at.after = batch[i].ID
		j.at.bytes += batch[i].Length
	}
}

func (j *job) listPage(ctx context.Context, volume uint32, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return j.m.v.ListShard(ctx, volume, j.row.Shard, j.pool.Shards, after, limit)
}

// copyBatch has a target get what is worth it of a batch, also what it lists already: Fetch reads what it has, and gets anew what
// is bad (B1).
func (j *job) copyBatch(ctx context.Context, to uint32, sources []uint32, batch []lists.Blob) error {
	worth, err := j.worth(ctx, batch)
	if err != nil {
		return err
	}
	size := int64(0)
	var wants []object.Want
	for i, x := range batch {
		if worth[i] == useless {
			continue
		}
		size += x.Length
		// A copy of what is undecided must not be older than the write: the horizon would pass the copy first, and it would be dropped
		// although its volume may have confirmed the write, which can be decided yet.
		epochs := object.Epochs{Cluster: max(j.epoch, x.Epoch), Shard: j.row.Epoch}
		wants = append(wants, object.Want{ID: x.ID, Length: x.Length, Epochs: epochs, From: j.from(x, sources)})
	}
	if len(wants) == 0 {
		return nil
	}
	if err := j.m.pace.Wait(ctx, size, j.m.stopped); err != nil {
		return err
	}
	fctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	got, err := j.m.v.Fetch(fctx, to, wants)
	cancel()
	if err != nil {
		return errs.Wrap("rebalance.copy", err)
	}
	if len(got) != len(wants) {
		return errs.E("rebalance.copy", errs.Other, "%d outcomes of %d blobs", len(got), len(wants))
	}
	return j.check(ctx, batch, wants, got)
}

// from is who has the blob, beginning at one that depends on it, so that load spreads.
func (j *job) from(x lists.Blob, sources []uint32) []uint32 {
	var out []uint32
	first := int(x.ID.Hash() >> 32 % uint64(len(sources)))
	for i := range sources {
		k := (first + i) % len(sources)
		if x.From>>k&1 != 0 {
			out = append(out, sources[k])
		}
	}
	return out
}

// check takes the outcomes in. A blob that failed and is still alive keeps the move from ending; one that was undecided does not:
// should it be decided yet, the joining volume gets a missing row.
func (j *job) check(ctx context.Context, batch []lists.Blob, wants []object.Want, got []object.Fetched) error {
	var failed []lists.Blob
	var worst error
	copied := int64(0)
	for i, g := range got {
		switch {
		case g.Outcome == object.FetchCopied:
			copied += wants[i].Length
		case g.Outcome == object.FetchHad:
		default:
			worst = g.Err
			k := slices.IndexFunc(batch, func(x lists.Blob) bool { return x.ID == wants[i].ID })
			failed = append(failed, batch[k])
		}
	}
	j.m.copied(copied)
	if len(failed) == 0 {
		return nil
	}
	worth, err := j.worth(ctx, failed)
	if err != nil {
		return err
	}
	if slices.Contains(worth, needed) {
		return errs.WrapKind("rebalance.copy", errs.Unavailable, worst)
	}
	return nil
}

// value of a blob to the volume that joins.
type value uint8

const (
	useless   value = iota // of no run, or of a dying one
	undecided              // its decision may be on its way
	needed                 // alive
)

// worth asks what the blobs are worth.
func (j *job) worth(ctx context.Context, blobs []lists.Blob) ([]value, error) {
	var bases [][]byte
	place := map[object.RunBase]int{}
	for i := range blobs {
		base := blobs[i].ID.Run()
		if _, known := place[base]; !known {
			place[base] = len(bases)
			bases = append(bases, base[:])
		}
	}
	a, err := j.m.m.Read(ctx, &metapb.Query{Q: &metapb.Query_RunStates{RunStates: &metapb.RunStatesQuery{Bases: bases}}})
	if err != nil {
		return nil, errs.Wrap("rebalance.worth", err)
	}
	r := a.GetRunStates()
	if len(r.GetStates()) != len(bases) {
		return nil, errs.E("rebalance.worth", errs.Other, "%d states of %d runs", len(r.GetStates()), len(bases))
	}
	out := make([]value, len(blobs))
	for i := range blobs {
		s := r.States[place[blobs[i].ID.Run()]]
		counter := blobs[i].ID.Counter()
		of := slices.ContainsFunc(s.Ranges, func(g *metapb.CounterRange) bool { return counter-g.First < g.Count })
		switch {
		case s.State == meta.RunAlive && of:
			out[i] = needed
		case s.State == meta.RunNone && blobs[i].Epoch >= r.Horizon:
			out[i] = undecided
		}
	}
	return out, nil
}

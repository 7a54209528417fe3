package rebalance

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of a job.
const (
	listPage       = 8192
	batchBlobs     = 64
	batchBytes     = 8 << 20
	fenceTimeout   = 35 * time.Second // a prepare that runs ends after 30 s
	listTimeout    = 30 * time.Second
	fetchTimeout   = 2 * time.Minute
	membersListMax = 64 // bits of a set of sources
)

// job is one shard's move, from the acknowledgement of its epoch to the flip.
type job struct {
	m     *Mover
	row   *metapb.ShardRow
	pool  *metapb.PoolRow
	epoch uint64 // of the cluster, to prepare under

	// Guarded by m.mu.
	phase       string
	total, done int64 // bytes to be copied; copied
}

// listed is a blob as members list it.
type listed struct {
	id     object.BlobID
	length int64
	epoch  uint64 // the cluster's that it was prepared under; the highest that is told
	from   uint64 // which of the members have it, as bits
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

// run does all of the move; after an error it can be done again, by any leader.
func (j *job) run(ctx context.Context) error {
	j.enter("waiting for the epoch")
	sources, err := j.fence(ctx)
	if err != nil {
		return err
	}
	j.enter("comparing")
	union, err := j.union(ctx, sources)
	if err != nil {
		return err
	}
	todo := make([][]listed, len(j.row.Joining))
	for i, v := range j.row.Joining {
		if todo[i], err = j.lacking(ctx, v, union); err != nil {
			return err
		}
	}
	j.plan(todo)
	j.enter("copying")
	for i, v := range j.row.Joining {
		if err := j.copyAll(ctx, v, sources, todo[i]); err != nil {
			return err
		}
	}
	j.enter("ending")
	_, err = j.m.propose(ctx, &metapb.Command{Op: &metapb.Command_FlipShard{FlipShard: &metapb.FlipShard{Shard: j.row.Shard, Epoch: j.row.Epoch}}})
	return err
}

func (j *job) enter(phase string) {
	j.m.mu.Lock()
	j.phase = phase
	j.m.mu.Unlock()
}

func (j *job) plan(todo [][]listed) {
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	for _, blobs := range todo {
		for i := range blobs {
			j.total += blobs[i].length
		}
	}
}

// fence has the replicas acknowledge the move's epoch (B2). It gives the members that did: at least as many as meet every write quorum.
func (j *job) fence(ctx context.Context) ([]uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	all := slices.Concat(j.row.Members, j.row.Joining)
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
		case i >= len(j.row.Members) || errs.Is(failed[i], errs.StaleShardEpoch):
			return nil, errs.Wrap("rebalance.fence", failed[i])
		default:
			worst = failed[i]
		}
	}
	quorum := int(j.pool.Replication/2 + 1)
	if need := len(j.row.Members) - quorum + 1; len(acknowledged) < need || len(acknowledged) > membersListMax {
		return nil, errs.WrapKind("rebalance.fence", errs.Unavailable, worst)
	}
	return acknowledged, nil
}

// union is what the sources list, in the order of ids, each blob once.
func (j *job) union(ctx context.Context, sources []uint32) ([]listed, error) {
	byID := map[object.BlobID]listed{}
	for i, v := range sources {
		err := j.list(ctx, v, func(in *object.BlobInfo) {
			x, known := byID[in.ID]
			if !known {
				x = listed{id: in.ID, length: in.Length}
			}
			x.epoch = max(x.epoch, in.Epochs.Cluster)
			x.from |= 1 << i
			byID[in.ID] = x
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]listed, 0, len(byID))
	for _, x := range byID {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b listed) int { return bytes.Compare(a.id[:], b.id[:]) })
	return out, nil
}

// list visits what a volume has of the shard, all of it or an error (B4).
func (j *job) list(ctx context.Context, volume uint32, visit func(*object.BlobInfo)) error {
	var after object.BlobID
	for {
		page, err := j.listPage(ctx, volume, after)
		if err != nil {
			return errs.Wrap("rebalance.list", err)
		}
		for i := range page {
			visit(&page[i])
		}
		if len(page) < listPage {
			return nil
		}
		after = page[len(page)-1].ID
	}
}

func (j *job) listPage(ctx context.Context, volume uint32, after object.BlobID) ([]object.BlobInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return j.m.v.ListShard(ctx, volume, j.row.Shard, j.pool.Shards, after, listPage)
}

// lacking is what of the union a joining volume does not list.
func (j *job) lacking(ctx context.Context, volume uint32, union []listed) ([]listed, error) {
	has := map[object.BlobID]struct{}{}
	if err := j.list(ctx, volume, func(in *object.BlobInfo) { has[in.ID] = struct{}{} }); err != nil {
		return nil, err
	}
	var out []listed
	for _, x := range union {
		if _, ok := has[x.id]; !ok {
			out = append(out, x)
		}
	}
	return out, nil
}

// copyAll has a joining volume get what it lacks and what is worth it, batch by batch.
func (j *job) copyAll(ctx context.Context, to uint32, sources []uint32, todo []listed) error {
	for len(todo) > 0 {
		n, size := 0, int64(0)
		for n < len(todo) && n < batchBlobs && (n == 0 || size+todo[n].length <= batchBytes) {
			size += todo[n].length
			n++
		}
		if err := j.copyBatch(ctx, to, sources, todo[:n]); err != nil {
			return err
		}
		todo = todo[n:]
		j.m.mu.Lock()
		j.done += size
		j.m.mu.Unlock()
	}
	return nil
}

func (j *job) copyBatch(ctx context.Context, to uint32, sources []uint32, batch []listed) error {
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
		size += x.length
		// A copy of what is undecided must not be older than the write: the horizon would pass the copy first, and it would be dropped
		// although its volume may have confirmed the write, which can be decided yet.
		epochs := object.Epochs{Cluster: max(j.epoch, x.epoch), Shard: j.row.Epoch}
		wants = append(wants, object.Want{ID: x.id, Length: x.length, Epochs: epochs, From: j.from(x, sources)})
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
func (j *job) from(x listed, sources []uint32) []uint32 {
	var out []uint32
	first := int(x.id.Hash() >> 32 % uint64(len(sources)))
	for i := range sources {
		k := (first + i) % len(sources)
		if x.from>>k&1 != 0 {
			out = append(out, sources[k])
		}
	}
	return out
}

// check takes the outcomes in. A blob that failed and is still alive keeps the move from ending; one that was undecided does not:
// should it be decided yet, the joining volume gets a missing row.
func (j *job) check(ctx context.Context, batch []listed, wants []object.Want, got []object.Fetched) error {
	var failed []listed
	var worst error
	copied := int64(0)
	for i, g := range got {
		switch {
		case g.Outcome == object.FetchCopied:
			copied += wants[i].Length
		case g.Outcome == object.FetchHad:
		default:
			worst = g.Err
			k := slices.IndexFunc(batch, func(x listed) bool { return x.id == wants[i].ID })
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
func (j *job) worth(ctx context.Context, blobs []listed) ([]value, error) {
	var bases [][]byte
	place := map[object.RunBase]int{}
	for i := range blobs {
		base := blobs[i].id.Run()
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
		s := r.States[place[blobs[i].id.Run()]]
		counter := blobs[i].id.Counter()
		of := slices.ContainsFunc(s.Ranges, func(g *metapb.CounterRange) bool { return counter-g.First < g.Count })
		switch {
		case s.State == meta.RunAlive && of:
			out[i] = needed
		case s.State == meta.RunNone && blobs[i].epoch >= r.Horizon:
			out[i] = undecided
		}
	}
	return out, nil
}

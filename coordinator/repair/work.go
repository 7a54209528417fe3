package repair

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// job is a row that can be worked on.
type job struct {
	row  *metapb.MissingRow
	want object.Want
}

// jobs reads what became of the rows' blobs and shards, after the rows: what can be done for which volume, and which rows mean nothing
// any more. Rows that wait are in neither.
func (q *Queue) jobs(ctx context.Context, rows []*metapb.MissingRow) (*topology, map[uint32][]job, []*metapb.MissingRow, error) {
	t, err := readTopology(ctx, q.cfg.Metadata)
	if err != nil {
		return nil, nil, nil, err
	}
	ids := make([]object.BlobID, len(rows))
	for i, r := range rows {
		if ids[i], err = object.BlobIDFrom(r.Blob); err != nil {
			return nil, nil, nil, err
		}
	}
	known, err := lives(ctx, q.cfg.Metadata, ids)
	if err != nil {
		return nil, nil, nil, err
	}
	jobs := map[uint32][]job{}
	var dead []*metapb.MissingRow
	for i, r := range rows {
		shard := t.shard(ids[i])
		belongs := slices.Contains(shard.Members, r.Volume) || slices.Contains(shard.Joining, r.Volume)
		if !known[i].alive || !belongs || t.volumes[r.Volume] == nil {
			dead = append(dead, r)
			continue
		}
		from := t.sources(ids[i], r.Volume, q.usable)
		if !q.ready(r) || (len(from) == 0 && len(t.sources(ids[i], r.Volume, anyVolume)) > 0) {
			continue
		}
		if q.tried(r) {
			from = append(from, t.strangers(ids[i], r.Volume, q.usable, int(q.cfg.Clock.Now().Unix()/int64(stuckWait/time.Second)))...)
		}
		jobs[r.Volume] = append(jobs[r.Volume], job{r, object.Want{
			ID: ids[i], Length: known[i].length, From: from, Epochs: object.Epochs{Cluster: t.Cluster.Epoch, Shard: shard.Epoch},
		}})
	}
	return t, jobs, dead, nil
}

func anyVolume(uint32) bool { return true }

func (q *Queue) usable(volume uint32) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.away[volume]
	return a == nil || !a.until.After(q.cfg.Clock.Now())
}

// ready says that a row is not one without a source that was tried a moment ago.
func (q *Queue) ready(r *metapb.MissingRow) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.stuck[replicaOf(r)].After(q.cfg.Clock.Now())
}

// tried says that no replica had good bytes when a row was tried.
func (q *Queue) tried(r *metapb.MissingRow) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, tried := q.stuck[replicaOf(r)]
	return tried
}

// work does one volume's jobs, batch by batch, until one fails as a whole.
func (q *Queue) work(ctx context.Context, t *topology, to *metapb.VolumeRow, jobs []job) {
	for len(jobs) > 0 && ctx.Err() == nil {
		n, bytes, sources := nextBatch(jobs)
		if !q.batch(ctx, t, to, jobs[:n], bytes, sources) {
			return
		}
		jobs = jobs[n:]
	}
}

// nextBatch says how many jobs go together, their bytes, and the volumes that they get blobs from. One job alone names no more sources than
// a Fetch may have.
func nextBatch(jobs []job) (n int, bytes int64, sources []uint32) {
	used := map[uint32]bool{}
	for n < len(jobs) && n < batchBlobs && (n == 0 || bytes+jobs[n].want.Length <= batchBytes) {
		w := &jobs[n].want
		w.From = w.From[:min(len(w.From), object.FetchSourcesMax)]
		more := 0
		for _, v := range w.From {
			if !used[v] {
				more++
			}
		}
		if len(sources)+more > object.FetchSourcesMax {
			break
		}
		for _, v := range w.From {
			if !used[v] {
				used[v] = true
				sources = append(sources, v)
			}
		}
		bytes += w.Length
		n++
	}
	return n, bytes, sources
}

// batch has the volume fetch some blobs; false: leave it alone for a while.
func (q *Queue) batch(ctx context.Context, t *topology, to *metapb.VolumeRow, jobs []job, bytes int64, from []uint32) bool {
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return false
	}
	if q.pace.Wait(ctx, bytes, nil) != nil {
		return false
	}
	wants := make([]object.Want, len(jobs))
	for i, j := range jobs {
		wants[i] = j.want
	}
	sources := make([]*metapb.VolumeRow, len(from))
	for i, v := range from {
		sources[i] = t.volumes[v]
	}
	call, cancel := context.WithTimeout(ctx, batchMax)
	got, err := q.cfg.Volumes.Fetch(call, to, wants, sources)
	cancel()
	if err == nil && len(got) != len(jobs) {
		err = errs.E("repair.batch", errs.Other, "%d outcomes of %d blobs", len(got), len(jobs))
	}
	if err != nil {
		q.failed(ctx, to.Number, err)
		return false
	}
	return q.settle(ctx, to, jobs, got)
}

// settle notes what became of a batch.
func (q *Queue) settle(ctx context.Context, to *metapb.VolumeRow, jobs []job, got []object.Fetched) bool {
	var done, bad []*metapb.MissingRow
	var own error
	answered := map[uint32]bool{}
	for i := range got {
		j, g := &jobs[i], &got[i]
		switch {
		case g.Outcome != object.FetchFailed:
			done = append(done, j.row)
		case g.Own && forGood(g.Err):
			q.lost(j, g.Err)
		case g.Own:
			own = g.Err
		case len(g.Away) == 0:
			q.lost(j, g.Err)
		}
		for _, v := range g.Lacking {
			answered[v] = true
			bad = append(bad, &metapb.MissingRow{Blob: j.row.Blob, Volume: v, Reason: meta.MissingLost})
		}
		for _, v := range g.Away {
			if !answered[v] {
				answered[v] = true
				q.failed(ctx, v, g.Err)
			}
		}
	}
	q.count(jobs, got)
	q.fine(to.Number, own)
	if own != nil {
		q.failed(ctx, to.Number, own)
	}
	if err := q.clear(ctx, done); err != nil {
		q.cfg.Log.Debug("repaired replicas are not noted yet", zap.Error(err))
		return false
	}
	if len(bad) > 0 {
		if _, err := Report(ctx, q.cfg.Metadata, bad); err != nil {
			q.cfg.Log.Debug("bad sources are not noted", zap.Error(err))
		}
	}
	return own == nil
}

// forGood says that a volume refuses a blob and not the copy of it at this time.
func forGood(err error) bool {
	return errs.Is(err, errs.Conflict) || errs.Is(err, errs.Aborted) || errs.Is(err, errs.Invalid)
}

func (q *Queue) count(jobs []job, got []object.Fetched) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range got {
		switch got[i].Outcome {
		case object.FetchCopied:
			q.stats.Copied++
			q.stats.CopiedBytes += jobs[i].want.Length
		case object.FetchHad:
			q.stats.Had++
		default:
			q.stats.Failed++
		}
	}
}

// failed leaves a volume alone for a while, longer each time.
func (q *Queue) failed(ctx context.Context, volume uint32, err error) {
	if ctx.Err() != nil {
		return
	}
	q.mu.Lock()
	a := q.away[volume]
	if a == nil {
		a = &standing{}
		q.away[volume] = a
	}
	wait := min(backoffMin<<min(a.failures, 10), backoffMax)
	a.failures++
	a.until = q.cfg.Clock.Now().Add(wait)
	first := a.failures == 1
	q.mu.Unlock()
	if first {
		q.cfg.Log.Info("a volume cannot be repaired, or copied from, now", zap.Uint32("volume", volume), zap.Error(err))
	}
}

// fine says that a volume answers.
func (q *Queue) fine(volume uint32, err error) {
	if err != nil {
		return
	}
	q.mu.Lock()
	delete(q.away, volume)
	q.mu.Unlock()
}

// lost tells loudly, once, of a replica for which nobody has good bytes. It is tried again all the same.
func (q *Queue) lost(j *job, err error) {
	r := replicaOf(j.row)
	q.mu.Lock()
	_, known := q.stuck[r]
	remembered := known || len(q.stuck) < stuckMax
	if remembered {
		q.stuck[r] = q.cfg.Clock.Now().Add(stuckWait)
	}
	q.mu.Unlock()
	if !known && remembered { // of those beyond the bound nobody is told at every attempt
		q.cfg.Log.Error("a replica cannot be repaired: no volume gave good bytes, or it refuses them", zap.Stringer("blob", r.blob), zap.Uint32("volume", r.volume),
			zap.Time("since", time.UnixMilli(j.row.SinceMs)), zap.Error(err))
	}
}

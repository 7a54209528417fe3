package repair

import (
	"context"
	"slices"
	"sync"
	"time"

	"minikv/coordinator/meta"
	"minikv/coordinator/pace"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of a walk.
const (
	walkRuns  = 1000
	walkBlobs = 8192     // of the runs of one page
	deepBytes = 16 << 20 // in one deep question
	deepBlobs = 1024
	checkMax  = time.Minute
)

// Scope says what a walk looks at.
type Scope struct {
	Volume uint32 // only replicas on it, and the walk ends when it does not answer; 0: all
	After  []byte // only runs after this one; nil: all
	Epoch  uint64 // only runs prepared in it or later
	Deep   bool   // read and verify all bytes
}

// Finding is a replica that is not as metadata wants it. Its blob was alive, and its volume a member of the shard, after the volume
// had answered.
type Finding struct {
	Blob    object.BlobID
	Volume  uint32
	Verdict object.Verdict
}

// Walked counts what a walk did so far.
type Walked struct {
	Runs, Blobs int64
	Replicas    int64 // that were checked
	Bytes       int64 // of replicas that were read
	Unchecked   int64 // replicas on volumes that did not answer
	Bad         int64 // findings
	Lost        int64 // blobs of which no replica was good, of those with all replicas checked
}

// Walker compares the runs that are alive with what their volumes have, page by page.
type Walker struct {
	Metadata Metadata
	Volumes  Volumes
	Clock    Clock
	Rate     int64 // bytes per second of a deep walk; 0 or less: no limit

	scope    Scope
	pace     *pace.Pace
	found    func([]Finding) error
	progress func(Walked) error
	silent   map[uint32]int // failures in a row
	did      Walked
	done     []byte // runs up to this one are
}

// Walk goes through all living runs once. found is told of findings as they come, progress after each page; an error of theirs ends the
// walk. A volume that does not answer leaves its replicas unchecked.
func (w *Walker) Walk(ctx context.Context, s Scope, found func([]Finding) error, progress func(Walked) error) (Walked, error) {
	const op = "repair.Walk"
	w.scope, w.found, w.progress = s, found, progress
	w.pace = pace.New(w.Clock, w.Rate)
	w.silent, w.did, w.done = map[uint32]int{}, Walked{}, s.After
	q := &metapb.RunsQuery{Limit: walkRuns, Blobs: walkBlobs, Epoch: s.Epoch, After: s.After}
	for {
		a, err := w.Metadata.Read(ctx, &metapb.Query{Q: &metapb.Query_Runs{Runs: q}})
		if err != nil {
			return w.did, errs.Wrap(op, err)
		}
		page := a.GetRuns()
		if err := w.page(ctx, page.GetRuns()); err != nil {
			return w.did, errs.Wrap(op, err)
		}
		if s.Volume != 0 && w.silent[s.Volume] > 0 {
			return w.did, errs.E(op, errs.Unavailable, "volume %d does not answer", s.Volume)
		}
		if err := progress(w.did); err != nil {
			return w.did, err
		}
		if q.After = page.GetNext(); len(q.After) == 0 {
			return w.did, nil
		}
		w.done = q.After
	}
}

// expected is what a volume should have of a page.
type expected struct {
	ids      []object.BlobID
	lengths  []uint32
	verdicts []object.Verdict // as far as it answered
}

// page checks the blobs of some runs on all volumes side by side.
func (w *Walker) page(ctx context.Context, runs []*metapb.Run) error {
	if len(runs) == 0 {
		return ctx.Err()
	}
	t, err := readTopology(ctx, w.Metadata)
	if err != nil {
		return err
	}
	by := map[uint32]*expected{}
	for _, r := range runs {
		w.did.Runs++
		for id, length := range blobsOf(r) {
			w.did.Blobs++
			for _, v := range t.shard(id).Members {
				if t.volumes[v] == nil || (w.scope.Volume != 0 && v != w.scope.Volume) {
					continue
				}
				if by[v] == nil {
					by[v] = &expected{}
				}
				by[v].ids, by[v].lengths = append(by[v].ids, id), append(by[v].lengths, length)
			}
		}
	}
	if err := w.ask(ctx, t, by); err != nil {
		return err
	}
	return w.judge(ctx, by)
}

// blobsOf are the blobs of a run and their lengths.
func blobsOf(r *metapb.Run) func(yield func(object.BlobID, uint32) bool) {
	return func(yield func(object.BlobID, uint32) bool) {
		base, err := object.BlobIDFrom(r.Base)
		if err != nil {
			return
		}
		left := r.Length
		for _, g := range r.Ranges {
			for i := range g.Count {
				n := min(left, uint64(r.BlobSize))
				if left -= n; n == 0 || !yield(base.Run().Blob(g.First+i), uint32(n)) {
					return
				}
			}
		}
	}
}

// ask has each volume check its part.
func (w *Walker) ask(ctx context.Context, t *topology, by map[uint32]*expected) error {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed
	failed := map[uint32]bool{}
	for v, e := range by {
		wg.Go(func() {
			ok := w.askOne(ctx, t.volumes[v], e)
			mu.Lock()
			failed[v] = !ok
			mu.Unlock()
		})
	}
	wg.Wait()
	for v, e := range by {
		w.did.Replicas += int64(len(e.verdicts))
		w.did.Unchecked += int64(len(e.ids) - len(e.verdicts))
		if failed[v] {
			w.silent[v]++
		} else {
			w.silent[v] = 0
		}
		for i := range e.verdicts {
			if w.scope.Deep {
				w.did.Bytes += int64(e.lengths[i])
			}
		}
	}
	return ctx.Err()
}

// silentMax is how often a volume may fail in a row before it is left out.
const silentMax = 3

func (w *Walker) askOne(ctx context.Context, at *metapb.VolumeRow, e *expected) bool {
	if w.silent[at.Number] >= silentMax {
		return false
	}
	for len(e.verdicts) < len(e.ids) {
		from, to, bytes := len(e.verdicts), len(e.verdicts), int64(0)
		for to < len(e.ids) && to-from < object.CheckBlobsMax {
			if w.scope.Deep && to > from && (to-from == deepBlobs || bytes+int64(e.lengths[to]) > deepBytes) {
				break
			}
			bytes += int64(e.lengths[to])
			to++
		}
		if w.scope.Deep && w.pace.Wait(ctx, bytes, nil) != nil {
			return false
		}
		call, cancel := context.WithTimeout(ctx, checkMax)
		got, err := w.Volumes.Check(call, at, object.Check{IDs: e.ids[from:to], Lengths: e.lengths[from:to], Deep: w.scope.Deep})
		cancel()
		if err != nil || len(got.Verdicts) != to-from {
			return false
		}
		e.verdicts = append(e.verdicts, got.Verdicts...)
	}
	return true
}

// judge tells of what is not good, unless it was deleted or moved meanwhile.
func (w *Walker) judge(ctx context.Context, by map[uint32]*expected) error {
	var suspects []Finding
	for v, e := range by {
		for i, verdict := range e.verdicts {
			if verdict != object.Good {
				suspects = append(suspects, Finding{e.ids[i], v, verdict})
			}
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	bad, err := confirm(ctx, w.Metadata, suspects)
	if err != nil || len(bad) == 0 {
		return err
	}
	w.did.Bad += int64(len(bad))
	w.did.Lost += lostOf(bad, by)
	return w.found(bad)
}

// confirm leaves out what is not alive, or not the volume's to have, by what metadata says now.
func confirm(ctx context.Context, m Metadata, suspects []Finding) ([]Finding, error) {
	t, err := readTopology(ctx, m)
	if err != nil {
		return nil, err
	}
	ids := make([]object.BlobID, len(suspects))
	for i := range suspects {
		ids[i] = suspects[i].Blob
	}
	known, err := lives(ctx, m, ids)
	if err != nil {
		return nil, err
	}
	bad := suspects[:0]
	for i, f := range suspects {
		if known[i].alive && slices.Contains(t.shard(f.Blob).Members, f.Volume) {
			bad = append(bad, f)
		}
	}
	return bad, nil
}

// lostOf counts blobs among the findings that no volume answered to have.
func lostOf(bad []Finding, by map[uint32]*expected) (n int64) {
	good := map[object.BlobID]bool{}
	for _, f := range bad {
		good[f.Blob] = false
	}
	for _, e := range by {
		for i, id := range e.ids {
			if _, suspect := good[id]; suspect && (i >= len(e.verdicts) || e.verdicts[i] == object.Good) {
				good[id] = true
			}
		}
	}
	for _, g := range good {
		if !g {
			n++
		}
	}
	return n
}

// ReportFindings makes missing rows of findings, and gives how many were new.
func ReportFindings(ctx context.Context, m Metadata, bad []Finding) (int, error) {
	total := 0
	for len(bad) > 0 {
		some := bad[:min(len(bad), clearMax)]
		bad = bad[len(some):]
		rows := make([]*metapb.MissingRow, len(some))
		for i := range some {
			rows[i] = some[i].row()
		}
		n, err := Report(ctx, m, rows)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

func (f *Finding) row() *metapb.MissingRow {
	r := &metapb.MissingRow{Blob: f.Blob[:], Volume: f.Volume, Reason: meta.MissingLost}
	if f.Verdict == object.Damaged || f.Verdict == object.OtherLength {
		r.Reason = meta.MissingDamaged
	}
	return r
}

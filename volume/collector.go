package volume

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// pageBlobs is how many blobs the collector asks about at once. One question is one read at the leader.
const pageBlobs = 1024

// Collected counts what the collector did.
type Collected struct {
	Asked     int64 // blobs
	Dropped   int64 // blobs whose run is none
	Relearned int64 // blobs whose commit hint was lost
}

// InDoubt are the blobs that are prepared and of which it is not known here whether they were published: those on their way, those whose
// commit hint was lost, and orphans. A round of the collector settles the old ones, and counts what is left.
type InDoubt struct {
	Blobs  int64
	Oldest uint64    // lowest epoch of them; 0: there are none
	At     time.Time // when they were counted; zero: not since the volume was opened
}

func (d *InDoubt) see(epoch uint64) {
	if d.Blobs == 0 || epoch < d.Oldest {
		d.Oldest = epoch
	}
	d.Blobs++
}

// InDoubt is what the collector's last round counted.
func (s *Server) InDoubt() InDoubt {
	if d := s.doubt.Load(); d != nil {
		return *d
	}
	return InDoubt{}
}

type totals struct{ asked, dropped, relearned atomic.Int64 }

// Collected is what the collector has done since the volume was opened.
func (s *Server) Collected() Collected {
	return Collected{s.totals.asked.Load(), s.totals.dropped.Load(), s.totals.relearned.Load()}
}

// collect runs rounds until ctx ends.
func (s *Server) collect(ctx context.Context, runs Runs, stopped chan<- struct{}) {
	defer close(stopped)
	t := time.NewTimer(s.cfg.CollectEvery)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		_, err := s.Collect(ctx, runs)
		if fails := err != nil && ctx.Err() == nil; fails != failing {
			failing = fails
			if logf := s.cfg.Store.Logf; logf != nil && fails {
				logf("the collector waits: %v", err)
			}
		}
		t.Reset(s.cfg.CollectEvery)
	}
}

// Collect is one round of the collector: it asks about every blob that is not committed and below the horizon, or older than
// Config.RelearnAfter epochs.
func (s *Server) Collect(ctx context.Context, runs Runs) (done Collected, err error) {
	const op = "volume.Collect"
	_, horizon, err := runs.RunStates(ctx, nil)
	if err != nil {
		return done, errs.Wrap(op, err)
	}
	s.SetHorizon(horizon)
	if done, err = s.sweep(ctx, runs, horizon); err != nil {
		return done, errs.Wrap(op, err)
	}
	below := max(horizon, s.NewestEpoch()+1-min(s.cfg.RelearnAfter, s.NewestEpoch()+1))
	var after object.BlobID
	doubt := InDoubt{At: time.Now()}
	for {
		page, err := s.TallyPrepared(after, pageBlobs, below, doubt.see)
		if err != nil {
			return done, errs.Wrap(op, err)
		}
		if len(page) > 0 {
			after = page[len(page)-1].ID
			some, err := s.settle(ctx, runs, page, &doubt)
			done.Asked += some.Asked
			done.Dropped += some.Dropped
			done.Relearned += some.Relearned
			if err != nil {
				return done, errs.Wrap(op, err)
			}
		}
		if len(page) < pageBlobs {
			s.doubt.Store(&doubt)
			return done, nil
		}
	}
}

// sweep asks about one page of committed blobs below the horizon: a prepare and its hint that came late, after the run was deleted,
// leave a blob that nobody else asks about.
func (s *Server) sweep(ctx context.Context, runs Runs, horizon uint64) (done Collected, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	page, err := s.ListCommitted(s.swept, pageBlobs, horizon)
	if err != nil {
		return done, err
	}
	if len(page) == 0 {
		s.swept = object.BlobID{}
		return done, nil
	}
	if done, err = s.settle(ctx, runs, page, &InDoubt{}); err == nil {
		s.swept = page[len(page)-1].ID
	}
	return done, err
}

// settle asks about a page of blobs and does what follows. left gets those of which nothing follows.
func (s *Server) settle(ctx context.Context, runs Runs, page []object.BlobInfo, left *InDoubt) (done Collected, err error) {
	bases := basesOf(page)
	states, horizon, err := runs.RunStates(ctx, bases)
	if err != nil {
		return done, err
	}
	if len(states) != len(bases) {
		return done, errs.E("", errs.Other, "%d answers to %d questions", len(states), len(bases))
	}
	commit, drop := decide(page, bases, states, horizon)
	s.SetHorizon(horizon) // from here on no prepare brings a dropped blob back
	if err := s.Commit(ctx, commit...); err != nil && !errs.Is(err, errs.BlobMissing) && !errs.Is(err, errs.Aborted) {
		return done, err
	}
	if err := s.Delete(ctx, drop...); err != nil {
		return done, err
	}
	c, d := commit, drop // each in the order of the page
	for _, b := range page {
		switch {
		case len(c) > 0 && c[0] == b.ID:
			c = c[1:]
		case len(d) > 0 && d[0] == b.ID:
			d = d[1:]
		default:
			left.see(b.Epochs.Cluster)
		}
	}
	done = Collected{int64(len(page)), int64(len(drop)), int64(len(commit))}
	s.totals.asked.Add(done.Asked)
	s.totals.dropped.Add(done.Dropped)
	s.totals.relearned.Add(done.Relearned)
	return done, nil
}

// basesOf are the runs of the blobs, sorted, each once.
func basesOf(page []object.BlobInfo) []object.RunBase {
	bases := make([]object.RunBase, len(page))
	for i := range page {
		bases[i] = page[i].ID.Run()
	}
	slices.SortFunc(bases, compareBases)
	return slices.Compact(bases)
}

func compareBases(a, b object.RunBase) int { return slices.Compare(a[:], b[:]) }

// decide says which undecided blobs are published and which are nobody's, by the answer for their runs (bases is sorted).
func decide(page []object.BlobInfo, bases []object.RunBase, states []object.RunState, horizon uint64) (commit, drop []object.BlobID) {
	for _, b := range page {
		i, found := slices.BinarySearchFunc(bases, b.ID.Run(), compareBases)
		if !found {
			continue
		}
		switch life := states[i].Blob(b.ID.Counter()); {
		case life == object.RunAlive && b.State != object.BlobCommitted:
			commit = append(commit, b.ID)
		case life == object.RunNone && b.Epochs.Cluster < horizon:
			drop = append(drop, b.ID)
		}
	}
	return commit, drop
}

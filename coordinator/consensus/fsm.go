package consensus

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"minikv/coordinator/kv"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// fsm gives committed entries to the state machine, each batch with the index it brings the store to. Raft calls it from one
// goroutine, all but persist.
type fsm struct {
	state *state
	fatal func(error)

	restoreIndex func() uint64 // the newest snapshot's, which Raft is about to restore
	halted       error         // nothing is applied after the first failure
	applied      atomic.Uint64
}

var (
	_ raft.BatchingFSM = (*fsm)(nil)
	_ raft.FSMSnapshot = (*fsmSnapshot)(nil)
)

// entryResult is what an entry's future answers.
type entryResult struct {
	results []*metapb.Result
	err     error
}

// Apply applies one entry.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries in one batch. Those at or below the applied index are skipped: they are in the store.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	results, err := f.applyAll(logs)
	if err != nil && f.halted == nil {
		f.halted = err
		f.fatal(fmt.Errorf("applying entries %d to %d: %w", logs[0].Index, logs[len(logs)-1].Index, err))
	}
	for i := range out {
		if err != nil {
			out[i] = entryResult{err: err}
			continue
		}
		out[i] = entryResult{results: results[i]}
	}
	return out
}

func (f *fsm) applyAll(logs []*raft.Log) ([][]*metapb.Result, error) {
	if f.halted != nil {
		return nil, errs.WrapKind("consensus.apply", errs.Unavailable, f.halted)
	}
	s := f.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	at := f.applied.Load()
	results := make([][]*metapb.Result, len(logs))
	b := s.db.NewBatch()
	var last *raft.Log
	var err error
	for i, l := range logs {
		if l.Index <= at {
			continue
		}
		if l.Type == raft.LogCommand {
			if results[i], err = applyOne(s.machine, b, l); err != nil {
				b.Close()
				return nil, err
			}
		}
		last = l
	}
	if last == nil {
		return results, b.Close()
	}
	if err := b.SetApplied(last.Index, last.Term); err != nil {
		b.Close()
		return nil, err
	}
	if err := b.Commit(); err != nil {
		return nil, err
	}
	f.applied.Store(last.Index)
	return results, nil
}

func applyOne(m *meta.Machine, b *kv.Batch, l *raft.Log) ([]*metapb.Result, error) {
	e, err := meta.DecodeEntry(l.Data)
	if err != nil {
		return nil, err
	}
	results, err := m.Apply(b, l.Index, e)
	if err == nil && len(results) != len(e.Commands) {
		err = errs.E("consensus.apply", errs.Other, "%d commands have %d results", len(e.Commands), len(results))
	}
	return results, err
}

// Snapshot makes no copy yet: the checkpoint that Persist makes may hold later entries too, which are then skipped.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.halted != nil {
		return nil, f.halted
	}
	return &fsmSnapshot{f.state}, nil
}

// Restore replaces the state by a leader's snapshot, which is in our own store already.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	err := f.state.restore(r, f.restoreIndex())
	if err == nil {
		var at uint64
		if at, err = f.state.covered(); err == nil {
			f.applied.Store(at)
		}
	}
	return err
}

type fsmSnapshot struct{ state *state }

// Persist fills our own sink with a checkpoint.
func (s *fsmSnapshot) Persist(k raft.SnapshotSink) error {
	own, ok := k.(*sink)
	if !ok {
		return errs.E("consensus.Persist", errs.Unsupported, "not a sink of ours: %T", k)
	}
	return own.checkpoint(func(dir string) error { return s.state.persist(dir, own.meta.Index) })
}

// Release has nothing to let go of.
func (s *fsmSnapshot) Release() {}

// Package volume is the role that keeps blobs on one data directory: package store behind the methods that gateways and the
// coordinator call, and the collector, which asks the leader about blobs whose fate this volume does not know.
//
// It can be used as a library, without the rest of minikv; see the example.
//
// Invariants:
//
//  1. A blob is dropped only on the leader's word: a Delete, or the answer "no such run" (or not one of its blobs) given at or
//     after the entry that moved the horizon above the blob's epoch. Before it is dropped, prepares of such epochs are refused.
//  2. Dying and alive blobs are left alone; alive ones that seemed undecided are committed here.
//  3. No answer, no deed: a leader that is not there delays the collector and nothing else.
//  4. What a move has left behind is forgotten (Evict) on the leader's word that this volume is no replica of its shard, once it is
//     older than the horizon of that answer, and only while the volume has not heard of a later epoch of that shard.
package volume

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"minikv/internal/object"
	"minikv/volume/store"
)

// Runs answers for the leader's metadata.
type Runs interface {
	// RunStates tells the state of each run, in order, and the fencing horizon, both of one moment at or after the entry that set
	// that horizon. No bases: the horizon alone.
	RunStates(ctx context.Context, bases []object.RunBase) (states []object.RunState, horizon uint64, err error)
}

// Config of a volume. Zero values mean the defaults in brackets.
type Config struct {
	Store        store.Options
	CollectEvery time.Duration // between rounds of the collector [30 s]
	// RelearnAfter is the age in epochs from which a blob that is not committed here is asked about: its hint was lost. [2]
	RelearnAfter uint64
}

// Server is an open volume. Its methods are those of the store, and may be called concurrently.
type Server struct {
	*store.Store
	cfg Config

	mu      sync.Mutex
	cancel  context.CancelFunc // of the collector, while it runs
	stopped chan struct{}

	totals totals
	doubt  atomic.Pointer[InDoubt] // nil: not counted yet
	fences fences

	sweeping sync.Mutex    // guards below
	swept    object.BlobID // committed blobs up to here were asked about in this sweep
}

// Open opens the volume in dir, or makes one; see store.Open. The collector rests until Start.
func Open(dir string, cfg Config) (*Server, error) {
	if cfg.CollectEvery == 0 {
		cfg.CollectEvery = 30 * time.Second
	}
	if cfg.RelearnAfter == 0 {
		cfg.RelearnAfter = 2
	}
	st, err := store.Open(dir, cfg.Store)
	if err != nil {
		return nil, err
	}
	return &Server{Store: st, cfg: cfg}, nil
}

// Shards tells the volume how many shards there are, so that it counts the prepares of each.
func (s *Server) Shards(n uint32) error {
	_, err := s.fences.size(n)
	return err
}

// Start lets the collector run, until Stop, and ask runs.
func (s *Server) Start(runs Runs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.stopped = cancel, make(chan struct{})
	go s.collect(ctx, runs, s.stopped)
}

// Stop ends the collector and waits for it. Without a Start it does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel == nil {
		return
	}
	s.cancel()
	<-s.stopped
	s.cancel = nil
}

// Close stops the collector and closes the store.
func (s *Server) Close() error {
	s.Stop()
	return s.Store.Close()
}

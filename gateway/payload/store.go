package payload

import (
	"context"
	"sync"
	"time"

	"minikv/internal/object"
)

// Bounds of one upload and of reads.
const (
	budgetBytesDefault   = 256 << 20
	reserveBytes         = 8<<20 + chunkSmall // the largest blob and the rounding of its last chunk
	budgetWaitDefault    = 30 * time.Second
	volumeTimeoutDefault = 30 * time.Second
	smallPart            = 16                     // of the budget more is kept for small bodies
	blobsInFlight        = 3                      // prepared while the next one fills
	lagBytesMax          = 8 << 20                // of one replica behind the quorum, per upload
	stragglerWait        = 250 * time.Millisecond // for the last replicas after the quorum; they become missing rows otherwise
	suspectFor           = 5 * time.Second        // nobody waits for a volume that was late, and reads ask it last
	hedgeAfter           = time.Second            // a read asks the next replica when one is this slow
)

// Store turns bodies into blobs and blobs into bodies. Safe for concurrent use.
type Store struct {
	place  Placement
	opt    Options
	writes *Budget
	small  *Budget // for bodies of at most chunkSmall that find the other one used up
	reads  *Budget
	brief  *Budget // for answers of at most chunkSmall that find the other one used up
	bases  bases
	hints  *hinter
	// stragglers is how long a write gives the last replicas after the quorum: stragglerWait, but in tests.
	stragglers time.Duration
	// follows holds a token for each write that brings blobs elsewhere.
	follows chan struct{}

	wg sync.WaitGroup // calls to volumes that may outlive the write or read that made them

	suspectsMu sync.Mutex
	suspects   map[uint32]time.Time // volume: until when
}

// NewStore makes a Store. Close it.
func NewStore(p Placement, opt Options) *Store {
	if opt.BudgetBytes <= 0 {
		opt.BudgetBytes = budgetBytesDefault
	}
	if opt.BudgetWait <= 0 {
		opt.BudgetWait = budgetWaitDefault
	}
	if opt.VolumeTimeout <= 0 {
		opt.VolumeTimeout = volumeTimeoutDefault
	}
	s := &Store{
		place:    p,
		opt:      opt,
		writes:   NewBudget(opt.BudgetBytes, reserveBytes, opt.BudgetWait),
		small:    NewBudget(opt.BudgetBytes/smallPart, 0, opt.BudgetWait),
		reads:    NewBudget(opt.BudgetBytes/2, 0, opt.BudgetWait),
		brief:    NewBudget(opt.BudgetBytes/smallPart, 0, opt.BudgetWait),
		suspects: map[uint32]time.Time{},

		stragglers: stragglerWait,

		follows: make(chan struct{}, followsMax),
	}
	s.reads.last = lastPartRead
	s.hints = newHinter(p.Volume, opt.VolumeTimeout)
	return s
}

// Close sends the hints that wait, and waits for every goroutine. Writes and reads must have ended, and the volumes must still be
// open.
func (s *Store) Close() {
	s.wg.Wait()
	s.hints.close()
}

// Memory is what bodies hold and what became of those that held it for nothing.
type Memory struct {
	Writes, Reads int64  // bytes, coming in and going out
	Stalled       uint64 // uploads that were ended because they stood still while others waited
	StalledReads  uint64 // answers of which the same is true
}

// Memory is the state of now.
func (s *Store) Memory() Memory {
	return Memory{
		Writes: s.writes.Used() + s.small.Used(), Reads: s.reads.Used() + s.brief.Used(),
		Stalled: s.writes.stalls.Load() + s.small.stalls.Load(), StalledReads: s.reads.stalls.Load() + s.brief.stalls.Load(),
	}
}

// acquire takes memory for a blob that is being filled. Small bodies do not wait behind large ones: they have a part of their own
// for when there is nothing else. They need one buffer each, so that none waits for another while it holds memory.
func (s *Store) acquire(ctx context.Context, b *holder, small bool, n int64) (grant, error) {
	return b.acquireOr(ctx, s.small, small, n)
}

// acquireOr takes memory of the holder's Budget; a small one that finds none there takes it of another from then on.
func (h *holder) acquireOr(ctx context.Context, other *Budget, small bool, n int64) (grant, error) {
	if !small {
		return h.memory.acquire(ctx, h, n)
	}
	if g, ok := h.memory.try(h, n); ok {
		return g, nil
	}
	h.memory = other
	return h.memory.acquire(ctx, h, n)
}

// suspect makes a volume the last choice for a while.
func (s *Store) suspect(volume uint32) {
	s.suspectsMu.Lock()
	s.suspects[volume] = time.Now().Add(suspectFor)
	s.suspectsMu.Unlock()
}

func (s *Store) suspected(volume uint32) bool {
	s.suspectsMu.Lock()
	defer s.suspectsMu.Unlock()
	until, ok := s.suspects[volume]
	if ok && time.Now().After(until) {
		delete(s.suspects, volume)
		ok = false
	}
	return ok
}

func (s *Store) report(volume uint32, id object.BlobID, err error) {
	if s.opt.OnBadReplica != nil {
		s.opt.OnBadReplica(volume, id, err)
	}
}

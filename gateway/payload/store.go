package payload

import (
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
	reads  *Budget
	bases  bases
	hints  *hinter

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
		reads:    NewBudget(opt.BudgetBytes/2, 0, opt.BudgetWait),
		suspects: map[uint32]time.Time{},
	}
	s.hints = newHinter(p.Volume, opt.VolumeTimeout)
	return s
}

// Close sends the hints that wait, and waits for every goroutine. Writes and reads must have ended, and the volumes must still be
// open.
func (s *Store) Close() {
	s.wg.Wait()
	s.hints.close()
}

// Memory is how many bytes of bodies are held: coming in and going out.
func (s *Store) Memory() (writes, reads int64) { return s.writes.Used(), s.reads.Used() }

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

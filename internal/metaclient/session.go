package metaclient

import (
	"context"
	"crypto/rand"
	"sync"

	"minikv/internal/errs"
)

// outstandingMax bounds the sequences between the lowest outstanding and the newest of a session; the state machine refuses more.
const outstandingMax = 4096

// session numbers commands. A client has one at a time; an ended one lives on until its last command is answered.
type session struct {
	id []byte // 16 random bytes

	mu      sync.Mutex // guards what follows
	next    uint64     // the next sequence
	lowest  uint64     // the lowest outstanding sequence; next when none is
	done    map[uint64]bool
	freed   chan struct{} // closed when lowest moves
	ended   bool          // unknown to the coordinator
	endedCh chan struct{}
}

func newSession() *session {
	s := &session{id: make([]byte, 16), next: 1, lowest: 1, done: map[uint64]bool{}, freed: make(chan struct{}), endedCh: make(chan struct{})}
	rand.Read(s.id)
	return s
}

// acquire takes the next sequence, waiting while too many are outstanding. ok is false when the session has ended.
func (s *session) acquire(ctx context.Context) (sequence uint64, ok bool, err error) {
	for {
		s.mu.Lock()
		if s.ended {
			s.mu.Unlock()
			return 0, false, nil
		}
		if s.next-s.lowest < outstandingMax {
			sequence = s.next
			s.next++
			s.mu.Unlock()
			return sequence, true, nil
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-s.endedCh:
		case <-ctx.Done():
			return 0, false, errs.WrapKind("metaclient.Do", errs.NotProposed, ctx.Err())
		}
	}
}

// release says that the outcome of a sequence is known, or that it will never be asked for.
func (s *session) release(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence != s.lowest {
		s.done[sequence] = true
		return
	}
	s.lowest++
	for s.done[s.lowest] {
		delete(s.done, s.lowest)
		s.lowest++
	}
	close(s.freed)
	s.freed = make(chan struct{})
}

// lowestOutstanding goes with every attempt: the coordinator forgets results below it.
func (s *session) lowestOutstanding() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lowest
}

// end marks the session as unknown to the coordinator.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.endedCh)
	}
}

func (s *session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

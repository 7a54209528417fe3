package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

type fakeView struct {
	mu    sync.Mutex
	state raft.RaftState
	term  uint64
	n     int // voters
}

func (v *fakeView) State() raft.RaftState { v.mu.Lock(); defer v.mu.Unlock(); return v.state }
func (v *fakeView) CurrentTerm() uint64   { v.mu.Lock(); defer v.mu.Unlock(); return v.term }
func (v *fakeView) voters() ([]raft.Server, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var s []raft.Server
	for i := range v.n {
		s = append(s, raft.Server{ID: raft.ServerID(fmt.Sprint(i))})
	}
	return s, nil
}

type confirmFunc func(ctx context.Context, s raft.Server, term uint64) error

func (f confirmFunc) Confirm(ctx context.Context, s raft.Server, term uint64) error {
	return f(ctx, s, term)
}

func TestReadsNeedTheBarrierOfTheTerm(t *testing.T) {
	v := &fakeView{state: raft.Leader, term: 5, n: 1}
	r := &reads{self: "0", raft: v}
	if err := r.confirm(t.Context()); !errs.Is(err, errs.NotLeader) {
		t.Fatalf("before the barrier: %v", err)
	}
	r.setReady(5)
	if err := r.confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.term = 6
	if err := r.confirm(t.Context()); !errs.Is(err, errs.NotLeader) {
		t.Fatalf("in a later term: %v", err)
	}
	v.term, v.state = 5, raft.Follower
	if err := r.confirm(t.Context()); !errs.Is(err, errs.NotLeader) {
		t.Fatalf("as a follower: %v", err)
	}
}

// TestOnlyVotersCount: a leader that is no voter (it removed itself) needs all the others' majority.
func TestOnlyVotersCount(t *testing.T) {
	v := &fakeView{state: raft.Leader, term: 1, n: 1}
	r := &reads{self: "gone", raft: v}
	r.setReady(1)
	if err := r.confirm(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("a leader without a vote confirmed itself: %v", err)
	}
}

// TestReadsThatComeDuringARoundGetTheNextOne, and share it.
func TestReadsThatComeDuringARoundGetTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeView{state: raft.Leader, term: 1, n: 3}
		var asked atomic.Int64
		gate := make(chan struct{})
		r := &reads{self: "0", raft: v, ask: confirmFunc(func(context.Context, raft.Server, uint64) error {
			asked.Add(1)
			<-gate
			return nil
		})}
		r.setReady(1)
		var wg sync.WaitGroup
		read := func() {
			wg.Go(func() {
				if err := r.confirm(t.Context()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for range 10 {
			read()
		}
		if n := asked.Load(); n != 2 { // the first round, of one read
			t.Fatalf("%d questions", n)
		}
		gate <- struct{}{} // one peer is a majority with ourselves
		synctest.Wait()
		if n := asked.Load(); n != 4 { // the second round, of nine
			t.Fatalf("%d questions", n)
		}
		close(gate)
		wg.Wait()
		synctest.Wait()
		if n := asked.Load(); n != 4 {
			t.Fatalf("%d questions", n)
		}
	})
}

func TestAMinorityDoesNotConfirm(t *testing.T) {
	for _, x := range []struct {
		voters, down int
		ok           bool
	}{{3, 1, true}, {3, 2, false}, {5, 2, true}, {5, 3, false}, {2, 1, false}, {4, 2, false}, {4, 1, true}} {
		v := &fakeView{state: raft.Leader, term: 1, n: x.voters}
		r := &reads{self: "0", raft: v, ask: confirmFunc(func(_ context.Context, s raft.Server, _ uint64) error {
			if s.ID > raft.ServerID(fmt.Sprint(x.voters-1-x.down)) {
				return errs.E("test", errs.Unavailable, "down")
			}
			return nil
		})}
		r.setReady(1)
		err := r.confirm(t.Context())
		if x.ok != (err == nil) || (err != nil && !errs.Is(err, errs.Unavailable)) {
			t.Errorf("%d of %d are down: %v", x.down, x.voters, err)
		}
	}
}

// TestATermThatEndsDuringTheRoundConfirmsNothing (C6).
func TestATermThatEndsDuringTheRoundConfirmsNothing(t *testing.T) {
	v := &fakeView{state: raft.Leader, term: 1, n: 3}
	r := &reads{self: "0", raft: v, ask: confirmFunc(func(context.Context, raft.Server, uint64) error {
		v.mu.Lock()
		v.term = 2
		v.mu.Unlock()
		return nil
	})}
	r.setReady(1)
	if err := r.confirm(t.Context()); !errs.Is(err, errs.NotLeader) {
		t.Fatalf("%v", err)
	}
}

// TestClosingEndsTheRound at once, with all of its questions, and refuses what comes later.
func TestClosingEndsTheRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeView{state: raft.Leader, term: 1, n: 3}
		var asking atomic.Int64
		r := &reads{self: "0", raft: v, ask: confirmFunc(func(ctx context.Context, _ raft.Server, _ uint64) error {
			asking.Add(1)
			defer asking.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		})}
		r.setReady(1)
		first, next := make(chan error, 1), make(chan error, 1)
		go func() { first <- r.confirm(t.Context()) }()
		synctest.Wait()
		go func() { next <- r.confirm(t.Context()) }() // it waits for the round after
		synctest.Wait()
		began := time.Now()
		r.close()
		if took := time.Since(began); took > 0 || asking.Load() != 0 {
			t.Errorf("closed after %v with %d questions on their way", took, asking.Load())
		}
		for _, err := range []error{<-first, <-next, r.confirm(t.Context())} {
			if err == nil {
				t.Error("a read was confirmed by nobody")
			}
		}
	})
}

// TestFuturesAreWaitedFor when a node closes, as long as its grace lasts.
func TestFuturesAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f futures
		gate := make(chan struct{})
		done := f.wait(func() raft.Future { return gatedFuture{gate: gate} })
		go func() {
			time.Sleep(time.Second) // of the bubble
			close(gate)
		}()
		began := time.Now()
		f.close(time.Minute)
		if took := time.Since(began); took != time.Second {
			t.Errorf("closed after %v", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-f.wait(func() raft.Future { panic("asked") }); !errors.Is(err, raft.ErrRaftShutdown) {
			t.Error(err)
		}
		var stuck futures
		never := make(chan struct{})
		stuck.wait(func() raft.Future { return gatedFuture{gate: never} })
		began = time.Now()
		stuck.close(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("closed after %v", took)
		}
		close(never)
	})
}

type gatedFuture struct {
	raft.Future
	gate chan struct{}
}

func (f gatedFuture) Error() error { <-f.gate; return nil }

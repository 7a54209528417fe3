package payload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

func fillerOf(account string) *holder { return &holder{account: account} }

// P6: one account never has it all, and those that wait are served in turn.
func TestBudgetIsFairBetweenAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, 0, time.Minute)
		ctx, cancel := context.WithCancel(context.Background())
		crowd := give(t, b, fillerOf("a"), 25, 25, 25)
		var order []string
		var mu sync.Mutex
		ask := func(account, name string) {
			go func() {
				if _, err := b.acquire(ctx, fillerOf(account), 25); err != nil {
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		for i := range 3 {
			ask("a", fmt.Sprint("a", i))
		}
		require.Empty(t, order, "the rest is for others")
		ask("b", "b0")
		require.Equal(t, []string{"b0"}, order, "nobody waits behind another account's crowd")
		ask("b", "b1")
		ask("c", "c0")
		for _, g := range crowd {
			g.release()
			synctest.Wait()
		}
		require.Equal(t, []string{"b0", "c0", "a0"}, order, "those with less come first")
		require.Len(t, b.shares["a"].waiting, 2)
		cancel()
		synctest.Wait()
		require.Empty(t, b.turn)
	})
}

// stallingBody gives some bytes and then nothing, until it is interrupted.
type stallingBody struct {
	n     int
	ended chan struct{}
	once  sync.Once
}

func newStallingBody(n int) *stallingBody { return &stallingBody{n: n, ended: make(chan struct{})} }

func (s *stallingBody) Read(p []byte) (int, error) {
	if s.n > 0 {
		n := min(s.n, len(p))
		s.n -= n
		return n, nil
	}
	<-s.ended
	return 0, errs.E("test", errs.Timeout, "interrupted")
}

func (s *stallingBody) interrupt() { s.once.Do(func() { close(s.ended) }) }

// P6: hundreds of uploads that stand still, and what becomes of those who come then.
func TestStalledUploadsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 1, 8, 4<<20)
		s := NewStore(c, Options{BudgetBytes: 64 << 20})
		var crowd sync.WaitGroup
		var bodies []*stallingBody
		failed := 0
		var mu sync.Mutex
		for i := range 400 {
			r := newStallingBody(1 << 20)
			bodies = append(bodies, r)
			crowd.Go(func() {
				_, err := s.Write(context.Background(), r, WriteOptions{Size: 100 << 20, Digests: md5Only, Account: fmt.Sprint("crowd", i%2), Interrupt: r.interrupt})
				require.Error(t, err)
				mu.Lock()
				failed++
				mu.Unlock()
			})
		}
		synctest.Wait()
		start := time.Now()
		small := body(64 << 10)
		_, err := s.Write(context.Background(), bytes.NewReader(small), WriteOptions{Size: int64(len(small)), Digests: md5Only, Account: "crowd1"})
		require.NoError(t, err)
		require.Zero(t, time.Since(start), "a small body does not wait")
		large := body(9 << 20)
		_, err = s.Write(context.Background(), bytes.NewReader(large), WriteOptions{Size: int64(len(large)), Digests: md5Only, Account: "other"})
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(start), stallAfter+2*sweepEvery)
		time.Sleep(time.Minute)    // fake time
		for _, r := range bodies { // the last have memory, and nobody waits
			r.interrupt()
		}
		crowd.Wait()
		require.Equal(t, 400, failed)
		s.Close()
		m := s.Memory().Writes
		require.Zero(t, m)
	})
}

// Slow uploads are legal while nobody waits for their memory, and also then if they bring enough.
func TestSlowUploadsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 1, 8, 1<<20)
		s := NewStore(c, Options{BudgetBytes: 4 << 20, BudgetWait: time.Hour})
		slow := func(pause time.Duration) error {
			r := &slowBody{n: 1 << 20, pause: pause, step: 32 << 10}
			_, err := s.Write(context.Background(), r, WriteOptions{Size: 1 << 20, Digests: md5Only, Interrupt: func() { r.stop.Store(true) }})
			return err
		}
		require.NoError(t, slow(20*time.Second), "nobody waits")
		var wg sync.WaitGroup
		for range 20 { // they wait for one another
			wg.Go(func() { require.NoError(t, slow(time.Second)) })
		}
		wg.Wait()
		s.Close()
	})
}

// slowBody pauses before each step.
type slowBody struct {
	n, step int
	pause   time.Duration
	stop    flag
}

// flag is a bool for two goroutines.
type flag struct {
	mu sync.Mutex
	on bool
}

func (f *flag) Store(on bool) { f.mu.Lock(); f.on = on; f.mu.Unlock() }
func (f *flag) Load() bool    { f.mu.Lock(); defer f.mu.Unlock(); return f.on }

func (s *slowBody) Read(p []byte) (int, error) {
	if s.stop.Load() {
		return 0, errs.E("test", errs.Timeout, "interrupted")
	}
	if s.n == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.pause) // fake time
	n := min(len(p), s.n, s.step)
	s.n -= n
	return n, nil
}

// A process that stood still itself does not blame the clients for it: they have their time from then on.
func TestAPauseOfOurOwnIsNoStall(t *testing.T) {
	b := NewBudget(100, 0, time.Minute)
	var ended int
	h := &holder{account: "a", interrupt: func() { ended++ }}
	give(t, b, h, 100)
	sh := b.shareOf(nil)
	sh.waiting = []*waiter{{n: 10, share: sh, ready: make(chan struct{})}}
	b.turn = append(b.turn, sh)
	now := time.Now()
	sweeps := func(n int) {
		for range n {
			b.sweep(now)
			now = now.Add(sweepEvery)
		}
	}
	sweeps(3)
	now = now.Add(10 * stallAfter)
	sweeps(5)
	require.Zero(t, ended)
	sweeps(1)
	require.Equal(t, 1, ended)
}

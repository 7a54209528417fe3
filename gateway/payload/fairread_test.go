package payload

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// taker is a client that takes n bytes and then nothing, until it is interrupted. The system holds what it was given: it seems to take
// rate bytes a second of that.
type taker struct {
	n, rate   int64
	given     atomic.Int64
	began     time.Time
	ended     chan struct{}
	once      sync.Once
	interrupt func()
}

func newTaker(n, rate int64) *taker {
	k := &taker{n: n, rate: rate, began: time.Now(), ended: make(chan struct{})}
	k.interrupt = func() { k.once.Do(func() { close(k.ended) }) }
	return k
}

func (k *taker) Write(p []byte) (int, error) {
	if k.given.Load()+int64(len(p)) <= k.n {
		k.given.Add(int64(len(p)))
		return len(p), nil
	}
	<-k.ended
	return 0, errs.E("test", errs.Timeout, "interrupted")
}

func (k *taker) unsent() int64 { return k.given.Load() - k.rate*int64(time.Since(k.began)/time.Second) }

func (k *taker) read(t *testing.T, s *Store, w *metapb.Written, n uint64, account string) error {
	r, err := s.NewReader(t.Context(), OneSlice(w.Run, 0, n), n, ReadOptions{Account: account, Interrupt: k.interrupt, Unsent: k.unsent})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.WriteTo(k)
	return err
}

// P6: hundreds of clients that take nothing more, and what becomes of those who come then; who takes slowly what the system holds is
// left alone.
func TestStalledReadersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 1, 8, 4<<20)
		s := NewStore(c, Options{BudgetBytes: 32 << 20})
		large, small := body(8<<20), body(64<<10)
		_, wl := mustWrite(t, s, large)
		_, ws := mustWrite(t, s, small)
		var crowd sync.WaitGroup
		slow := newTaker(2<<20, 20<<10)
		var alive atomic.Bool
		alive.Store(true)
		crowd.Go(func() { require.Error(t, slow.read(t, s, wl, 8<<20, "crowd")); alive.Store(false) })
		synctest.Wait()
		var takers []*taker
		told := map[errs.Kind]int{}
		var mu sync.Mutex
		for range 400 {
			k := newTaker(2<<20, 1)
			takers = append(takers, k)
			crowd.Go(func() {
				err := k.read(t, s, wl, 8<<20, "crowd")
				mu.Lock()
				told[errs.KindOf(err)]++
				mu.Unlock()
			})
		}
		synctest.Wait()
		start := time.Now()
		got := func(w *metapb.Written, n uint64, account string) []byte {
			r, err := s.NewReader(t.Context(), OneSlice(w.Run, 0, n), n, ReadOptions{Account: account})
			require.NoError(t, err)
			defer r.Close()
			b, err := io.ReadAll(r)
			require.NoError(t, err)
			return b
		}
		require.True(t, bytes.Equal(small, got(ws, 64<<10, "crowd")))
		require.True(t, bytes.Equal(large, got(wl, 8<<20, "other")))
		require.Zero(t, time.Since(start), "neither waits")
		require.True(t, bytes.Equal(large, got(wl, 8<<20, "crowd")))
		require.LessOrEqual(t, time.Since(start), 4*(stallAfter+2*sweepEvery))
		require.True(t, alive.Load())
		require.Positive(t, s.Memory().StalledReads)
		require.LessOrEqual(t, s.Memory().Reads, int64(16<<20))
		for _, k := range append(takers, slow) {
			k.interrupt()
		}
		crowd.Wait()
		require.Positive(t, told[errs.Timeout], "%v", told)
		s.Close()
		require.Zero(t, s.Memory().Reads)
	})
}

// TestReadersShrinkWhenMemoryIsShort, and grow again.
func TestReadersShrinkWhenMemoryIsShort(t *testing.T) {
	c := newCluster(1, 1, 8, 4<<20)
	s := newStore(t, c, Options{BudgetBytes: 32 << 20})
	want := body(32 << 20)
	_, w := mustWrite(t, s, want)
	r, err := s.NewReader(t.Context(), OneSlice(w.Run, 0, 32<<20), 32<<20, ReadOptions{Account: "a"})
	require.NoError(t, err)
	defer r.Close()
	var got []byte
	take := func(n int) {
		t.Helper()
		p := make([]byte, n)
		_, err := io.ReadFull(r, p)
		require.NoError(t, err)
		got = append(got, p...)
	}
	take(8 << 20)
	require.EqualValues(t, 2*chunkLarge, s.reads.Used())
	crowd := give(t, s.reads, &holder{account: "b"}, 12<<20)
	take(8 << 20)
	require.EqualValues(t, 12<<20+chunkSmall, s.reads.Used(), "one small buffer")
	crowd[0].release()
	take(8 << 20)
	require.EqualValues(t, 2*chunkLarge, s.reads.Used())
	take(8 << 20)
	require.True(t, bytes.Equal(want, got))
	require.NoError(t, r.Close())
	require.Zero(t, s.reads.Used())
}

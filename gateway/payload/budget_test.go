package payload

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

func TestBudgetIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, 0, time.Minute)
		ctx := context.Background()
		held := give(t, b, nil, 40, 10, 40)
		var order []int
		var mu sync.Mutex
		for i, n := range []int64{50, 10, 40} { // the second would fit, but has to wait
			go func() {
				_, err := b.acquire(ctx, nil, n)
				require.NoError(t, err)
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		require.False(t, tried(b, 1), "nobody overtakes the queue")
		require.Empty(t, order)
		for i, n := range []int64{40, 10, 40} {
			require.Equal(t, n, held[i].n)
			held[i].release()
			synctest.Wait()
			require.Equal(t, []int{0, 1, 2}[:i+1], order)
		}
		require.Equal(t, int64(100), b.Used())
	})
}

func TestBudgetWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10, 0, time.Second)
		held := give(t, b, nil, 10)
		start := time.Now()
		_, err := b.acquire(context.Background(), nil, 1)
		require.Equal(t, errs.SlowDown, errs.KindOf(err))
		require.Equal(t, time.Second, time.Since(start))
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err = b.acquire(ctx, nil, 1)
		require.Equal(t, errs.Timeout, errs.KindOf(err))
		held[0].release()
		require.True(t, tried(b, 10), "the waiters that gave up are out of the queue")
	})
}

// A large request at the head that gives up lets the small ones behind it pass.
func TestBudgetHeadThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10, 0, time.Minute)
		require.True(t, tried(b, 5))
		ctx, cancel := context.WithCancel(context.Background())
		got := make(chan error, 2)
		go func() { _, err := b.acquire(ctx, nil, 10); got <- err }()
		synctest.Wait()
		go func() { _, err := b.acquire(context.Background(), nil, 5); got <- err }()
		synctest.Wait()
		require.Empty(t, got)
		cancel()
		require.Error(t, <-got)
		require.NoError(t, <-got)
	})
}

// The reserve goes to one filler at a time, whole, and comes back whole.
func TestReserveHasOneOwner(t *testing.T) {
	b := NewBudget(100, 40, time.Millisecond)
	one, two := &holder{}, &holder{}
	require.False(t, give(t, b, one, 60)[0].reserved)
	first := give(t, b, one, 30)[0]
	require.True(t, first.reserved)
	refused(t, b, two, 10, "the rest of the reserve is the first one's")
	refused(t, b, nil, 10, "readers never use it")
	second := give(t, b, one, 10)[0]
	require.True(t, second.reserved)
	b.filled(one)
	refused(t, b, two, 10, "the first one's blob is not prepared yet")
	first.release()
	second.release()
	require.True(t, give(t, b, two, 10)[0].reserved)
}

func give(t *testing.T, b *Budget, who *holder, sizes ...int64) (held []grant) {
	t.Helper()
	for _, n := range sizes {
		g, err := b.acquire(context.Background(), who, n)
		require.NoError(t, err)
		held = append(held, g)
	}
	return held
}

func refused(t *testing.T, b *Budget, who *holder, n int64, why string) {
	t.Helper()
	_, err := b.acquire(context.Background(), who, n)
	require.Equal(t, errs.SlowDown, errs.KindOf(err), why)
}

func tried(b *Budget, n int64) bool {
	_, ok := b.try(nil, n)
	return ok
}

// The argument of the package comment: far more uploads than the budget has blobs, all of them partly filled, and all end.
func TestUploadsDoNotDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const uploads, size, blob = 100, 3 << 20, 1 << 20
		c := newCluster(1, 1, 8, blob)
		v := &patternVolume{delay: 5 * time.Millisecond}
		c.volumes[1] = v
		s := NewStore(c, Options{BudgetBytes: 24 << 20, BudgetWait: time.Hour})
		var wg sync.WaitGroup
		for i := range uploads {
			wg.Go(func() {
				// Each stops in the middle of its first blob until all have come that far.
				r := &pausing{n: size, pause: time.Duration(1000+i) * time.Millisecond, at: 300 << 10}
				_, err := s.Write(context.Background(), r, WriteOptions{Size: size, Digests: md5Only})
				require.NoError(t, err)
				m := s.Memory().Writes
				require.LessOrEqual(t, m, int64(24<<20))
			})
		}
		wg.Wait()
		require.Equal(t, int64(uploads*size), v.bytes.Load())
		s.Close()
		m := s.Memory().Writes
		require.Zero(t, m)
	})
}

// pausing gives n zero bytes and once, after at bytes, waits.
type pausing struct {
	n, got, at int
	pause      time.Duration
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.got == p.n {
		return 0, io.EOF
	}
	if p.got >= p.at && p.pause > 0 {
		time.Sleep(p.pause) // fake time
		p.pause = 0
	}
	n := min(len(b), p.n-p.got, 10000)
	p.got += n
	return n, nil
}

// A client that has sent little holds little; one that dribbles for ever makes others wait only so long.
func TestSlowClientsHoldWhatTheySent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 1, 8, 4<<20)
		s := NewStore(c, Options{BudgetWait: time.Second})
		pr, pw := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := s.Write(context.Background(), pr, WriteOptions{Size: 100 << 20, Digests: md5Only})
			done <- err
		}()
		for _, step := range []struct{ send, most int64 }{
			{1, chunkSmall}, {chunkSmall - 2, chunkSmall}, {100 << 10, chunkSmall + chunkMiddle}, {2 << 20, 4 << 20}, {7 << 20, 17 << 20},
		} {
			_, err := pw.Write(make([]byte, step.send))
			require.NoError(t, err)
			synctest.Wait()
			m := s.Memory().Writes
			require.LessOrEqual(t, m, step.most)
		}
		pw.CloseWithError(io.ErrUnexpectedEOF)
		require.ErrorIs(t, <-done, io.ErrUnexpectedEOF)
		s.Close()
		m := s.Memory().Writes
		require.Zero(t, m)
	})
}

func TestCrowdOfDribblersGetsSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 1, 8, 1<<20)
		s := NewStore(c, Options{BudgetBytes: 1 << 20, BudgetWait: time.Second})
		pr, pw := io.Pipe()
		go s.Write(context.Background(), pr, WriteOptions{Size: -1, Digests: md5Only})
		_, err := pw.Write(make([]byte, 900<<10)) // owns the reserve now, and stalls
		require.NoError(t, err)
		synctest.Wait()
		start := time.Now()
		_, err = s.Write(context.Background(), bytes.NewReader(body(1<<20)), WriteOptions{Size: 1 << 20, Digests: md5Only})
		require.Equal(t, errs.SlowDown, errs.KindOf(err))
		require.Equal(t, time.Second, time.Since(start))
		pw.CloseWithError(io.ErrUnexpectedEOF)
		synctest.Wait()
		mustWrite(t, s, body(1<<20))
		s.Close()
	})
}

// 64 large uploads at once, at full speed, within the default budget.
func TestSixtyFourLargeUploads(t *testing.T) {
	const uploads, size = 64, 12 << 20
	c := newCluster(1, 1, 64, 4<<20)
	v := &patternVolume{}
	c.volumes[1] = v
	s := newStore(t, c, Options{BudgetWait: time.Hour})
	var most int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range uploads {
		wg.Go(func() {
			p := &peak{r: &pausing{n: size}, s: s}
			_, err := s.Write(context.Background(), p, WriteOptions{Size: size})
			mu.Lock()
			defer mu.Unlock()
			require.NoError(t, err)
			most = max(most, p.most)
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most, int64(budgetBytesDefault))
	require.Equal(t, int64(uploads*size), v.bytes.Load())
}

func TestFillClasses(t *testing.T) {
	for _, c := range []struct {
		got  uint64
		rem  int
		want int
	}{
		{0, 1, chunkTiny}, {0, 4096, chunkTiny}, {0, 4097, chunkSmall}, {0, 4 << 20, chunkSmall},
		{64 << 10, 4 << 20, chunkMiddle}, {512 << 10, 4 << 20, chunkLarge}, {5 << 20, 1 << 20, chunkLarge},
		{5 << 20, 1<<20 - 1, chunkMiddle}, {5 << 20, 70 << 10, chunkSmall}, {5 << 20, 10, chunkTiny},
	} {
		require.Equal(t, c.want, chunkSizes[fillClass(c.got, c.rem)], "%+v", c)
	}
}

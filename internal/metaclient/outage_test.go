package metaclient

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func readLayout(c *Client, t *testing.T) error {
	_, err := c.Read(t.Context(), &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	return err
}

// reading is a fake whose reads can fail too.
type reading struct {
	*fake
	down func() error
}

func (r *reading) Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	if err := r.down(); err != nil {
		return nil, err
	}
	return r.fake.Propose(ctx, c)
}

func (r *reading) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if err := r.down(); err != nil {
		return nil, err
	}
	return r.fake.Read(ctx, q)
}

// TestAFailoverIsAPause: requests that arrive while no one leads wait, and none fails, for as long as a failover may take.
func TestAFailoverIsAPause(t *testing.T) {
	for _, kind := range []errs.Kind{errs.NotLeader, errs.NotProposed, errs.Unavailable} {
		synctest.Test(t, func(t *testing.T) {
			var back atomic.Int64
			f := &reading{newFake(), func() error {
				if time.Now().UnixNano() < back.Load() {
					return errs.E("test", kind, "no leader")
				}
				return nil
			}}
			c := connect(t, f, Config{})
			defer c.Close()
			for range 3 { // each outage is a new one
				back.Store(time.Now().Add(5 * time.Second).UnixNano())
				began := time.Now()
				if _, err := c.Do(t.Context(), tags("k")); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < 5*time.Second || took > 5500*time.Millisecond {
					t.Fatalf("answered after %v", took)
				}
				back.Store(time.Now().Add(5 * time.Second).UnixNano())
				must(t, readLayout(c, t))
			}
		})
	}
}

// TestWithoutALeaderForLong: the first requests give up when it is certain, later ones at once, and all is well again when someone
// leads, even if no request came meanwhile.
func TestWithoutALeaderForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		f := &reading{newFake(), func() error {
			if down.Load() {
				return errs.E("test", errs.NotLeader, "no leader")
			}
			return nil
		}}
		c := connect(t, f, Config{})
		defer c.Close()
		timed := func(do func() error) (time.Duration, error) {
			began := time.Now()
			err := do()
			return time.Since(began), err
		}
		write := func() error { _, err := c.Do(t.Context(), tags("k")); return err }
		read := func() error { return readLayout(c, t) }
		down.Store(true)
		took, err := timed(read)
		if !errs.Is(err, errs.Unavailable) || took < 5*time.Second || took > 6*time.Second {
			t.Fatalf("%v after %v", err, took)
		}
		for range 10 {
			time.Sleep(10 * time.Second) // of the bubble
			for _, do := range []func() error{read, write} {
				took, err := timed(do)
				if err == nil || took > 300*time.Millisecond {
					t.Fatalf("%v after %v", err, took)
				}
			}
		}
		down.Store(false)
		for _, do := range []func() error{write, read} {
			if took, err := timed(do); err != nil || took > 300*time.Millisecond {
				t.Fatalf("%v after %v", err, took)
			}
		}
		// The end of an outage is seen without requests: the next one is a pause again.
		down.Store(true)
		_, _ = timed(read)
		down.Store(false)
		time.Sleep(time.Second)
		down.Store(true)
		time.AfterFunc(4*time.Second, func() { down.Store(false) })
		must(t, write())
	})
}

// TestAnOutageIsNoOlderThanTheLastAnswer: an attempt that hung at a dead coordinator while others were answered says nothing of the time
// before those answers.
func TestAnOutageIsNoOlderThanTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down, hangs atomic.Bool
		f := &reading{newFake(), func() error {
			if hangs.CompareAndSwap(true, false) {
				time.Sleep(8 * time.Second) // of the bubble
				return errs.E("test", errs.Unavailable, "it does not answer")
			}
			if down.Load() {
				return errs.E("test", errs.NotLeader, "no leader")
			}
			return nil
		}}
		c := connect(t, f, Config{})
		defer c.Close()
		hangs.Store(true)
		slow := make(chan error, 1)
		go func() { slow <- readLayout(c, t) }()
		time.Sleep(8*time.Second - time.Millisecond)
		must(t, readLayout(c, t))
		down.Store(true)
		time.AfterFunc(4*time.Second, func() { down.Store(false) })
		time.Sleep(10 * time.Millisecond) // the slow one has failed
		_, err := c.Do(t.Context(), tags("k"))
		must(t, err) // a pause
		<-slow
	})
}

// TestWhoGivesUpEndsNoOutage: that a caller went away is no answer of a coordinator.
func TestWhoGivesUpEndsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		f := &reading{newFake(), func() error {
			if down.Load() {
				return errs.E("test", errs.NotLeader, "no leader")
			}
			return nil
		}}
		hang := &cancelled{reading: f}
		c := connect(t, hang, Config{})
		defer c.Close()
		down.Store(true)
		_ = readLayout(c, t)
		time.Sleep(10 * time.Second) // of the bubble
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		hang.next.Store(true)
		_, err := c.Read(ctx, &metapb.Query{})
		if !errs.Is(err, errs.Canceled) {
			t.Fatal(err)
		}
		began := time.Now()
		if err := readLayout(c, t); err == nil || time.Since(began) > 300*time.Millisecond {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
	})
}

// cancelled is a coordinator whose next read ends with its context.
type cancelled struct {
	*reading
	next atomic.Bool
}

func (f *cancelled) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if q.GetLayout() == nil && q.GetStats() == nil && f.next.Load() {
		<-ctx.Done()
		return nil, errs.Wrap("test", ctx.Err())
	}
	return f.reading.Read(ctx, q)
}

// TestOneAsksDuringOutages, however often they begin and end.
func TestOneAsksDuringOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes, most atomic.Int64
		o := outage{certain: time.Second, log: zap.NewNop(), life: t.Context(), base: time.Now()}
		o.probe = func(ctx context.Context) error {
			most.Store(max(most.Load(), probes.Add(1)))
			defer probes.Add(-1)
			<-ctx.Done()
			return errs.Wrap("test", ctx.Err())
		}
		for range 1000 {
			o.met(time.Now(), errs.E("test", errs.NotLeader, "no leader"))
			time.Sleep(5 * time.Millisecond) // of the bubble
			o.met(time.Now(), nil)
		}
		o.wg.Wait()
		if n := most.Load(); n != 1 {
			t.Errorf("%d asked at once", n)
		}
	})
}

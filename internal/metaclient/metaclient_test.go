package metaclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fake is a coordinator with sessions and nothing else: a command is applied by counting its key (a tag command's).
type fake struct {
	mu       sync.Mutex
	sessions map[string]*fakeSession
	applied  map[string]int
	opened   int
	index    uint64
	// before and after may fail an attempt that is not, or that is, in the log.
	before func(c *metapb.Command) error
	after  func(c *metapb.Command) error
}

type fakeSession struct {
	lowest  uint64
	results map[uint64]*metapb.Result
}

func newFake() *fake {
	return &fake{sessions: map[string]*fakeSession{}, applied: map[string]int{}}
}

func (f *fake) Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(c); err != nil {
			return nil, err
		}
	}
	r := f.apply(c)
	if after != nil {
		if err := after(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (f *fake) fail(before, after func(*metapb.Command) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *fake) apply(c *metapb.Command) *metapb.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	if o := c.GetOpenSession(); o != nil {
		if f.sessions[string(o.Id)] == nil {
			f.opened++
			f.sessions[string(o.Id)] = &fakeSession{results: map[uint64]*metapb.Result{}}
		}
		return &metapb.Result{}
	}
	s := f.sessions[string(c.Session)]
	gone := &metapb.Result{Failed: true, Kind: uint32(errs.UnknownSession), Message: "gone"}
	if s == nil || (c.GetRenewSession() == nil && c.Sequence < s.lowest) {
		return gone
	}
	if c.GetRenewSession() != nil {
		return &metapb.Result{}
	}
	if r := s.results[c.Sequence]; r != nil {
		return r
	}
	s.lowest = max(s.lowest, min(c.LowestOutstanding, c.Sequence))
	if c.Sequence-s.lowest >= outstandingMax {
		return gone
	}
	key := c.GetPutTags().GetKey()
	f.applied[key]++
	r := &metapb.Result{Index: f.index, Message: key}
	if c.GetPutTags().GetVersion() == "refuse" {
		r = &metapb.Result{Failed: true, Kind: uint32(errs.Precondition), Message: "no", FailedOp: 3}
	}
	s.results[c.Sequence] = r
	return r
}

func (f *fake) Read(context.Context, *metapb.Query) (*metapb.Answer, error) {
	return &metapb.Answer{A: &metapb.Answer_Layout{Layout: &metapb.Layout{Cluster: &metapb.ClusterRow{Id: []byte{1}}}}}, nil
}

func (f *fake) endAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions = map[string]*fakeSession{}
}

func (f *fake) count(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied[key]
}

func tags(key string) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_PutTags{PutTags: &metapb.PutTags{Key: key}}}
}

func connect(t testing.TB, f Coordinator, cfg Config) *Client {
	t.Helper()
	c, err := New(t.Context(), f, cfg)
	must(t, err)
	return c
}

func indeterminate() error { return errs.E("test", errs.IndeterminateResult, "who knows") }
func notProposed() error   { return errs.E("test", errs.NotProposed, "not now") }

// TestEveryCommandTakesEffectOnce, however attempts are lost, before or after they take effect (I3, S1).
func TestEveryCommandTakesEffectOnce(t *testing.T) {
	f := newFake()
	lossy := func(errors ...func() error) func(*metapb.Command) error {
		return func(c *metapb.Command) error {
			if c.GetPutTags() == nil || rand.IntN(3) > 0 {
				return nil
			}
			return errors[rand.IntN(len(errors))]()
		}
	}
	f.before, f.after = lossy(indeterminate, notProposed), lossy(indeterminate)
	c := connect(t, f, Config{})
	defer c.Close()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 50 {
				key := fmt.Sprintf("%d-%d", w, i)
				r, err := c.Do(t.Context(), tags(key))
				if err != nil || r.Message != key || f.count(key) != 1 {
					t.Errorf("%s: %v, %v, applied %d times", key, r, err, f.count(key))
				}
			}
		})
	}
	wg.Wait()
	if low, next := c.session.lowestOutstanding(), c.session.next; low != next {
		t.Errorf("sequence %d is still outstanding; %d is next", low, next)
	}
}

// TestRefusalsAreErrors with the recorded kind and message, and the result beside.
func TestRefusalsAreErrors(t *testing.T) {
	c := connect(t, newFake(), Config{})
	defer c.Close()
	cmd := tags("k")
	cmd.GetPutTags().Version = "refuse"
	r, err := c.Do(t.Context(), cmd)
	if !errs.Is(err, errs.Precondition) || errs.Message(err) != "no" || r.GetFailedOp() != 3 {
		t.Fatalf("%v, %v", r, err)
	}
}

// TestAnEndedSessionIsReplaced when the command surely was not applied, and not when it may have been (S2).
func TestAnEndedSessionIsReplaced(t *testing.T) {
	f := newFake()
	c := connect(t, f, Config{})
	defer c.Close()
	f.endAll()
	if _, err := c.Do(t.Context(), tags("first")); err != nil || f.count("first") != 1 || f.opened != 2 {
		t.Fatalf("%v, applied %d times, %d sessions", err, f.count("first"), f.opened)
	}
	f.after = func(cmd *metapb.Command) error {
		if cmd.GetPutTags() == nil {
			return nil
		}
		f.fail(nil, nil)
		f.endAll() // the answer is lost and the session ends
		return indeterminate()
	}
	_, err := c.Do(t.Context(), tags("second"))
	if !errs.Is(err, errs.IndeterminateResult) || f.count("second") != 1 {
		t.Fatalf("%v, applied %d times", err, f.count("second"))
	}
	if _, err := c.Do(t.Context(), tags("third")); err != nil || f.count("third") != 1 {
		t.Fatalf("after it: %v", err)
	}
}

// TestWhatSurelyWasNotProposedSaysSo (S3), and gives its sequence back.
func TestWhatSurelyWasNotProposedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := connect(t, f, Config{})
		defer c.Close()
		for kind, want := range map[errs.Kind]errs.Kind{
			errs.NotLeader: errs.NotProposed, errs.NotProposed: errs.NotProposed,
			errs.IndeterminateResult: errs.IndeterminateResult, errs.Unavailable: errs.IndeterminateResult, errs.Other: errs.IndeterminateResult,
			errs.StorageFull: errs.StorageFull, errs.LimitExceeded: errs.LimitExceeded, errs.Unsupported: errs.Unsupported,
		} {
			f.fail(func(c *metapb.Command) error {
				if c.GetPutTags() == nil {
					return nil
				}
				return errs.E("test", kind, "always")
			}, nil)
			start := time.Now()
			_, err := c.Do(t.Context(), tags("k"))
			if !errs.Is(err, want) {
				t.Errorf("%v became %v", kind, err)
			}
			if took := time.Since(start); took > retryForDefault {
				t.Errorf("%v took %v", kind, took)
			}
			f.fail(nil, nil)
			time.Sleep(resolveFor + time.Second) // fake time: what is unknown is given up
			synctest.Wait()
			if low, next := c.session.lowestOutstanding(), c.session.next; low != next {
				t.Errorf("%v: sequence %d is outstanding, %d is next", kind, low, next)
			}
		}
		if n := f.count("k"); n != 3 {
			t.Errorf("applied %d times: each of the 3 unknown ones is asked for until it is known", n)
		}
	})
}

// TestAClientThatGoesAwayKeepsItsSequence until the outcome is known (S1).
func TestAClientThatGoesAwayKeepsItsSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := connect(t, f, Config{})
		defer c.Close()
		hold := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		f.before = func(cmd *metapb.Command) error {
			switch cmd.GetPutTags().GetKey() {
			case "away":
				if ctx.Err() == nil {
					cancel()
					return errs.WrapKind("test", errs.IndeterminateResult, ctx.Err())
				}
				<-hold
			}
			return nil
		}
		if _, err := c.Do(ctx, tags("away")); !errs.Is(err, errs.IndeterminateResult) {
			t.Fatal(err)
		}
		_, err := c.Do(t.Context(), tags("next"))
		must(t, err)
		if low := c.session.lowestOutstanding(); low != 1 {
			t.Fatalf("the lowest outstanding sequence is %d", low)
		}
		close(hold)
		synctest.Wait()
		if low := c.session.lowestOutstanding(); low != 3 || f.count("away") != 1 {
			t.Fatalf("the lowest outstanding sequence is %d, applied %d times", low, f.count("away"))
		}
	})
}

// TestOutstandingCommandsAreBounded (S4): the one too many waits for the lowest.
func TestOutstandingCommandsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := connect(t, f, Config{})
		defer c.Close()
		first, rest := make(chan struct{}), make(chan struct{})
		f.before = func(cmd *metapb.Command) error {
			if cmd.Sequence == 1 {
				<-first
			} else {
				<-rest
			}
			return nil
		}
		var done atomic.Int64
		var wg sync.WaitGroup
		for i := range outstandingMax + 10 {
			wg.Go(func() {
				if _, err := c.Do(t.Context(), tags(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
				done.Add(1)
			})
		}
		synctest.Wait()
		close(rest)
		synctest.Wait()
		if n := done.Load(); n != outstandingMax-1 {
			t.Errorf("%d commands passed the lowest", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, tags("late")); !errs.Is(err, errs.NotProposed) {
			t.Errorf("waiting for too long: %v", err)
		}
		close(first)
		wg.Wait()
	})
}

// TestTheSessionAndTheLayoutAreKept.
func TestTheSessionAndTheLayoutAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var renewed, read atomic.Int64
		f.before = func(c *metapb.Command) error {
			if c.GetRenewSession() != nil {
				renewed.Add(1)
			}
			return nil
		}
		c := connect(t, readCounter{f, &read}, Config{RenewEvery: time.Minute, LayoutEvery: 10 * time.Second})
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if n := renewed.Load(); n != 10 {
			t.Errorf("renewed %d times", n)
		}
		if n := read.Load(); n != 61 {
			t.Errorf("the layout was read %d times", n)
		}
		f.endAll()
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.opened != 2 {
			t.Errorf("%d sessions were opened", f.opened)
		}
		must(t, c.Close())
		if _, err := c.Do(t.Context(), tags("k")); !errs.Is(err, errs.NotProposed) {
			t.Errorf("after closing: %v", err)
		}
	})
}

type readCounter struct {
	*fake
	n *atomic.Int64
}

func (r readCounter) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	r.n.Add(1)
	return r.fake.Read(ctx, q)
}

// TestReadsTryAgain while no one leads, and end as unavailable.
func TestReadsTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flakyReads{fake: newFake()}
		c := connect(t, f, Config{})
		defer c.Close()
		f.fail.Store(5)
		_, err := c.Read(t.Context(), new(metapb.Query))
		must(t, err)
		f.fail.Store(1 << 40)
		start := time.Now()
		if _, err := c.Read(t.Context(), new(metapb.Query)); !errs.Is(err, errs.Unavailable) || time.Since(start) > retryForDefault {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
	})
}

type flakyReads struct {
	*fake
	fail atomic.Int64
}

func (f *flakyReads) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if f.fail.Add(-1) >= 0 {
		return nil, errs.E("test", errs.NotLeader, "no")
	}
	return f.fake.Read(ctx, q)
}

// TestSequencesAreReleasedInAnyOrder against a naive oracle.
func TestSequencesAreReleasedInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSession()
		open := map[uint64]bool{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(open) == 0 || rapid.Bool().Draw(t, "acquire") {
				q, ok, err := s.acquire(context.Background())
				if !ok || err != nil || open[q] {
					t.Fatal(q, ok, err)
				}
				open[q] = true
			} else {
				var all []uint64
				for q := uint64(1); q < s.next; q++ {
					if open[q] {
						all = append(all, q)
					}
				}
				q := rapid.SampledFrom(all).Draw(t, "release")
				delete(open, q)
				s.release(q)
			}
			want := s.next
			for q := range open {
				want = min(want, q)
			}
			if s.lowestOutstanding() != want {
				t.Fatalf("%d, not %d", s.lowestOutstanding(), want)
			}
		}
	})
}

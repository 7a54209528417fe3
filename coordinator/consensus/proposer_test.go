package consensus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// sizedCommand is a command with a key and about so many bytes.
func sizedCommand(key string, bytes int) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_PutTags{PutTags: &metapb.PutTags{
		Key: key, Tags: []*metapb.Pair{{Name: "t", Value: strings.Repeat("x", bytes)}},
	}}}
}

// fakeFuture is an entry that ends when the test says so.
type fakeFuture struct {
	ready chan struct{}
	err   error
	res   any
}

func (f *fakeFuture) Error() error  { <-f.ready; return f.err }
func (f *fakeFuture) Response() any { return f.res }

// fakeRaft collects entries; each is answered with its commands' keys once released.
type fakeRaft struct {
	mu      sync.Mutex
	entries []*metapb.Entry
	bytes   []int
	futures []*fakeFuture
	err     error
	held    bool
}

func (r *fakeRaft) apply(b []byte) applyFuture {
	e, err := meta.DecodeEntry(b)
	if err == nil {
		err = meta.CheckEntry(e)
	}
	if err != nil {
		panic(err)
	}
	out := entryResult{}
	for _, c := range e.Commands {
		out.results = append(out.results, &metapb.Result{Message: c.GetPutTags().GetKey()})
	}
	f := &fakeFuture{ready: make(chan struct{}), res: out, err: r.err}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries, r.bytes, r.futures = append(r.entries, e), append(r.bytes, len(b)), append(r.futures, f)
	if !r.held {
		close(f.ready)
	}
	return f
}

func always() bool { return true }

// TestCommandsGatherWhileTwoEntriesAreOnTheirWay: the third waits, and takes along all that came meanwhile.
func TestCommandsGatherWhileTwoEntriesAreOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{held: true}
		p := newProposer(r.apply, always, time.Now, nil)
		var wg sync.WaitGroup
		propose := func(key string) {
			wg.Go(func() {
				got, err := p.propose(t.Context(), sizedCommand(key, 10))
				if err != nil || got.Message != key {
					t.Errorf("%s: %v, %v", key, got, err)
				}
			})
			synctest.Wait()
		}
		for i := range 10 {
			propose(fmt.Sprint("k", i))
		}
		if len(r.entries) != groupsInFlight {
			t.Fatalf("%d entries are on their way", len(r.entries))
		}
		r.mu.Lock()
		r.held = false
		r.mu.Unlock()
		close(r.futures[0].ready)
		synctest.Wait()
		if len(r.entries) != 3 || len(r.entries[2].Commands) != 8 {
			t.Fatalf("%d entries, the last of %d commands", len(r.entries), len(r.entries[len(r.entries)-1].Commands))
		}
		close(r.futures[1].ready)
		wg.Wait()
		p.close(time.Second)
	})
}

// TestAloneOneEntryIsOnItsWay, until others have to store entries too.
func TestAloneOneEntryIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{held: true}
		var together atomic.Bool
		p := newProposer(r.apply, always, time.Now, func() bool { return !together.Load() })
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if _, err := p.propose(t.Context(), sizedCommand(fmt.Sprint("k", i), 10)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if len(r.entries) != 1 {
			t.Fatalf("%d entries are on their way", len(r.entries))
		}
		together.Store(true) // the loop has asked already for the one that waits
		close(r.futures[0].ready)
		synctest.Wait()
		wg.Go(func() { _, _ = p.propose(t.Context(), sizedCommand("more", 10)) })
		synctest.Wait()
		if len(r.entries) != 2 || len(r.entries[1].Commands) != 9 {
			t.Fatalf("%d entries, the last of %d commands", len(r.entries), len(r.entries[len(r.entries)-1].Commands))
		}
		close(r.futures[1].ready)
		synctest.Wait()
		r.mu.Lock()
		r.held = false
		r.mu.Unlock()
		close(r.futures[2].ready)
		wg.Wait()
		p.close(time.Second)
	})
}

// TestGroupsAreBounded by commands and by bytes; one large command goes alone; a larger one is refused.
func TestGroupsAreBounded(t *testing.T) {
	for _, x := range []struct {
		name             string
		commands, bytes  int
		commandsMax, max int
	}{
		{"commands", 2000, 10, groupCommandsMax, groupBytesMax},
		{"bytes", 100, 20 << 10, 12, groupBytesMax},
		{"large", 5, 1 << 20, 1, 1<<20 + 1<<10},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &fakeRaft{held: true}
				p := newProposer(r.apply, always, time.Now, nil)
				var wg sync.WaitGroup
				for i := range x.commands {
					wg.Go(func() {
						if _, err := p.propose(t.Context(), sizedCommand(fmt.Sprint(i), x.bytes)); err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				for done := 0; done < len(r.futures); done++ {
					close(r.futures[done].ready)
					synctest.Wait()
				}
				wg.Wait()
				p.close(time.Second)
				largest, total := 0, 0
				for i, e := range r.entries {
					largest, total = max(largest, len(e.Commands)), total+len(e.Commands)
					if r.bytes[i] > x.max {
						t.Fatalf("an entry has %d bytes", r.bytes[i])
					}
				}
				if total != x.commands || largest != x.commandsMax {
					t.Fatalf("%d commands in all, at most %d in an entry, expected %d and %d", total, largest, x.commands, x.commandsMax)
				}
			})
		})
	}
	p := newProposer(new(fakeRaft).apply, always, time.Now, nil)
	defer p.close(time.Second)
	if _, err := p.propose(t.Context(), sizedCommand("k", commandBytesMax)); !errs.Is(err, errs.LimitExceeded) {
		t.Fatalf("a command above the limit: %v", err)
	}
}

// TestWhatWouldStopEveryReplicaIsNotProposed: a field or an operation of a newer program comes as an unknown field of the command itself, or
// of what it holds, and is refused before it is in the log, whether the command names its level or not.
func TestWhatWouldStopEveryReplicaIsNotProposed(t *testing.T) {
	r := &fakeRaft{}
	p := newProposer(r.apply, always, time.Now, nil)
	defer p.close(time.Second)
	unknown := []byte{0xF8, 0x7F, 1} // field 2047, varint 1
	field, operation, within := sizedCommand("k", 1), new(metapb.Command), sizedCommand("k", 1)
	field.ProtoReflect().SetUnknown(unknown)
	operation.ProtoReflect().SetUnknown(unknown)
	within.GetPutTags().ProtoReflect().SetUnknown(unknown)
	for name, c := range map[string]*metapb.Command{"field": field, "operation": operation, "field within": within} {
		for _, c.Level = range []uint32{0, 1, meta.Level} {
			if _, err := p.propose(t.Context(), c); !errs.Is(err, errs.Unsupported) {
				t.Errorf("unknown %s, level %d: %v", name, c.Level, err)
			}
		}
	}
	if len(r.entries) > 0 {
		t.Errorf("%d entries", len(r.entries))
	}
}

// TestStampsNeverRunBackwards, whatever the clock does; level and seed are filled in.
func TestStampsNeverRunBackwards(t *testing.T) {
	var now atomic.Int64
	r := new(fakeRaft)
	p := newProposer(r.apply, always, func() time.Time { return time.UnixMilli(now.Load()) }, nil)
	defer p.close(time.Second)
	for _, ms := range []int64{100, 50, 200, 150} {
		now.Store(ms)
		c := sizedCommand("k", 1)
		c.TimeMs = 7 // a client's stamp does not count
		if _, err := p.propose(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int64{100, 100, 200, 200} {
		c := r.entries[i].Commands[0]
		if c.TimeMs != want || c.Level != 1 || len(c.Seed) != seedBytes {
			t.Errorf("entry %d: time %d, level %d, seed of %d bytes", i, c.TimeMs, c.Level, len(c.Seed))
		}
	}
}

// TestFailuresAreClassified (C5).
func TestFailuresAreClassified(t *testing.T) {
	for err, want := range map[error]errs.Kind{
		raft.ErrNotLeader:                    errs.NotLeader,
		raft.ErrEnqueueTimeout:               errs.NotProposed,
		raft.ErrLeadershipTransferInProgress: errs.NotProposed,
		raft.ErrLeadershipLost:               errs.IndeterminateResult,
		raft.ErrRaftShutdown:                 errs.IndeterminateResult,
		raft.ErrAbortedByRestore:             errs.IndeterminateResult,
		errors.New("disk on fire"):           errs.IndeterminateResult,
	} {
		p := newProposer((&fakeRaft{err: err}).apply, always, time.Now, nil)
		if _, got := p.propose(t.Context(), sizedCommand("k", 1)); !errs.Is(got, want) {
			t.Errorf("%v is %v, expected %v", err, errs.KindOf(got), want)
		}
		p.close(time.Second)
	}
	p := newProposer(new(fakeRaft).apply, func() bool { return false }, time.Now, nil)
	defer p.close(time.Second)
	if _, err := p.propose(t.Context(), sizedCommand("k", 1)); !errs.Is(err, errs.NotLeader) {
		t.Errorf("not leading: %v", err)
	}
}

// TestWhoGivesUpEarlyWasNotProposed; who gives up later does not know.
func TestWhoGivesUpEarlyWasNotProposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{held: true}
		p := newProposer(r.apply, always, time.Now, nil)
		ctx, cancel := context.WithCancel(t.Context())
		errors := make(chan error, 10)
		for range 5 {
			go func() {
				_, err := p.propose(ctx, sizedCommand("k", 1))
				errors <- err
			}()
			synctest.Wait() // the first two fill the slots, the third is in hand, the rest wait
		}
		cancel()
		synctest.Wait()
		count := map[errs.Kind]int{}
		for range 5 {
			count[errs.KindOf(<-errors)]++
		}
		if count[errs.IndeterminateResult] != 2 || count[errs.NotProposed] != 3 {
			t.Errorf("%v", count)
		}
		for _, f := range r.futures {
			close(f.ready)
		}
		synctest.Wait()
		if len(r.entries) != 2 {
			t.Errorf("%d entries: what was withdrawn was proposed", len(r.entries))
		}
		p.close(time.Second)
	})
}

// TestCloseWaitsForNothingForever: entries that Raft never answers are given up after the grace.
func TestCloseWaitsForNothingForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{held: true}
		p := newProposer(r.apply, always, time.Now, nil)
		kinds := make(chan errs.Kind, 8)
		for range 6 {
			go func() {
				_, err := p.propose(t.Context(), sizedCommand("k", 1))
				kinds <- errs.KindOf(err)
			}()
			synctest.Wait()
		}
		start := time.Now()
		p.close(time.Second)
		if took := time.Since(start); took != time.Second {
			t.Errorf("close took %v", took)
		}
		count := map[errs.Kind]int{}
		for range 6 {
			count[<-kinds]++
		}
		if count[errs.IndeterminateResult] != 2 || count[errs.NotProposed] != 4 {
			t.Errorf("%v", count)
		}
		if _, err := p.propose(t.Context(), sizedCommand("k", 1)); !errs.Is(err, errs.NotProposed) {
			t.Errorf("after closing: %v", err)
		}
		for _, f := range r.futures { // so that the bubble ends
			close(f.ready)
		}
	})
}

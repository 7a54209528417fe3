package store

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

var crashRounds = flag.Int("crash.rounds", 4000, "reopenings in each of the random crash tests")

// oracle knows what was promised of every blob.
type oracle struct {
	mu    sync.Mutex
	blobs map[object.BlobID]*promise
}

type promise struct {
	n, length int
	acked     bool // prepare returned durable
	committed bool // commit was called
	dropping  bool // abort or delete was called
	deleted   bool // delete returned
}

func newOracle() *oracle { return &oracle{blobs: map[object.BlobID]*promise{}} }

// note changes what is known of a blob.
func (o *oracle) note(n int, change func(p *promise)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := testID(n)
	p := o.blobs[id]
	if p == nil {
		p = &promise{n: n}
		o.blobs[id] = p
	}
	change(p)
}

func (o *oracle) snapshot() map[object.BlobID]promise {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := make(map[object.BlobID]promise, len(o.blobs)+1)
	c[testID(later)] = promise{n: later, length: laterLength}
	for id, p := range o.blobs {
		c[id] = *p
	}
	return c
}

// verify holds I9: a reopened store has every acknowledged blob, otherwise only whole unacknowledged ones, and sees no damage.
func verify(st *Store, promises map[object.BlobID]promise) error {
	if d := st.Damage(); len(d) > 0 {
		return fmt.Errorf("a crash passes for damage: %+v", d)
	}
	listed := map[object.BlobID]object.BlobInfo{}
	all, err := st.List(object.BlobID{}, 1<<20)
	if err != nil {
		return err
	}
	for _, b := range all {
		listed[b.ID] = b
		if _, ok := promises[b.ID]; !ok {
			return fmt.Errorf("blob %s was never prepared", b.ID)
		}
	}
	buf := make([]byte, 64<<10+1)
	for id, p := range promises {
		info, ok := listed[id]
		switch {
		case ok && p.deleted:
			return fmt.Errorf("blob %d is back after its delete was acknowledged", p.n)
		case !ok && p.acked && !p.dropping:
			return fmt.Errorf("blob %d of %d bytes is lost", p.n, p.length)
		case ok && info.State == object.BlobCommitted && !p.committed:
			return fmt.Errorf("blob %d was never committed", p.n)
		}
		n, err := st.ReadAt(ctx, id, buf, 0)
		switch {
		case !ok && !errs.Is(err, errs.BlobMissing):
			return fmt.Errorf("reading blob %d, which is not listed: %v", p.n, err)
		case ok && (err != nil || !bytes.Equal(buf[:n], testData(p.n, p.length))):
			return fmt.Errorf("blob %d of %d bytes: %d bytes differ, %v", p.n, p.length, n, err)
		}
	}
	return nil
}

// crasher clones the disk after every operation that changes it, and reopens the clone.
type crasher struct {
	t      *testing.T
	mem    *vfs.Mem
	o      Options
	oracle *oracle
	every  int // reopen after one of so many operations
	limit  int // reopenings

	mu  sync.Mutex // one crash at a time
	ops int

	dice   sync.Mutex // guards below
	rng    *rand.Rand
	opened int
}

// roll is one of n.
func (c *crasher) roll(n int) int {
	c.dice.Lock()
	defer c.dice.Unlock()
	return c.rng.IntN(n)
}

// seeded is a way to survive, with a seed of its own.
func (c *crasher) seeded(s vfs.Survival) vfs.Survival {
	c.dice.Lock()
	defer c.dice.Unlock()
	s.Seed = c.rng.Uint64()
	return s
}

func newCrasher(t *testing.T, seed uint64, o Options, limit int) *crasher {
	mem := vfs.NewMem()
	o.FS = mem
	return &crasher{t: t, mem: mem, o: o, oracle: newOracle(), every: 1, limit: limit, rng: rand.New(rand.NewPCG(seed, 7))}
}

// fs is the file system for the store under test.
func (c *crasher) fs() vfs.FS {
	return vfs.NewInject(c.mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		if op.Kind.Changes() {
			c.crash(op)
		}
	}})
}

func (c *crasher) crash(op vfs.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ops++; c.roll(c.every) != 0 || c.t.Failed() {
		return
	}
	for _, s := range vfs.Survivals {
		s = c.seeded(s)
		promises := c.oracle.snapshot()
		clone := c.mem.CrashClone(s)
		if err := c.reopen(clone, promises, 2); err != nil {
			c.t.Errorf("after operation %d (%v of %s) with %+v: %v", c.ops, op.Kind, op.Path, s, err)
			return
		}
	}
}

// reopen opens a crashed disk and verifies it, sometimes cutting the power once more while it recovers or right after.
func (c *crasher) reopen(mem *vfs.Mem, promises map[object.BlobID]promise, depth int) error {
	c.dice.Lock()
	c.opened++
	c.dice.Unlock()
	o := c.o
	o.FS = mem
	var again sync.Mutex
	var nested error // guarded by again
	if depth > 0 && c.roll(8) == 0 {
		o.FS = vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
			again.Lock()
			defer again.Unlock()
			if op.Kind.Changes() && nested == nil && c.roll(4) == 0 {
				s := c.seeded(vfs.Survivals[c.roll(len(vfs.Survivals))])
				if err := c.reopen(mem.CrashClone(s), promises, depth-1); err != nil {
					nested = fmt.Errorf("crashed again after %v of %s with %+v: %w", op.Kind, op.Path, s, err)
				}
			}
		}})
	}
	st, err := Open("/v", o)
	if err != nil {
		return err
	}
	err = verify(st, promises)
	if err == nil && depth > 0 && c.roll(16) == 0 {
		err = c.goOn(st, mem, promises, depth)
	}
	if cerr := st.Close(); err == nil {
		err = cerr
	}
	again.Lock()
	defer again.Unlock()
	if nested != nil {
		err = nested
	}
	return err
}

// later is the blob that a recovered store is given.
const later, laterLength = 1 << 20, 3000

// goOn uses a recovered store: what it acknowledged before and what it acknowledges now survives the next crash.
func (c *crasher) goOn(st *Store, mem *vfs.Mem, promises map[object.BlobID]promise, depth int) error {
	more := map[object.BlobID]promise{}
	for id, p := range promises {
		// A repeated prepare of what was found is an acknowledgement like any other.
		if p.dropping {
			more[id] = p
			continue
		}
		durable, err := st.Prepare(ctx, id, object.Epochs{Cluster: 5}, [][]byte{testData(p.n, p.length)})
		if err != nil {
			return fmt.Errorf("preparing blob %d again: %w", p.n, err)
		}
		if !durable && st.o.Fsync == Always {
			return fmt.Errorf("preparing blob %d again: not durable", p.n)
		}
		p.acked = p.acked || durable
		more[id] = p
	}
	if err := st.Tidy(ctx); err != nil {
		return err
	}
	for _, s := range vfs.Survivals {
		s = c.seeded(s)
		if err := c.reopen(mem.CrashClone(s), more, depth-1); err != nil {
			return fmt.Errorf("after going on and %+v: %w", s, err)
		}
	}
	return nil
}

func (c *crasher) enough() bool {
	c.dice.Lock()
	defer c.dice.Unlock()
	return c.opened >= c.limit || c.t.Failed()
}

// worker does things to the store and tells the oracle, before and after.
type worker struct {
	o   *oracle
	st  *Store
	rng *rand.Rand
}

var crashLengths = []int{0, 1, 40, 500, 3000, 4096, 8191, 8192, 9000, 20000, 60000}

func (w *worker) prepare(n int) error {
	length, dropped := crashLengths[n%len(crashLengths)], false
	w.o.note(n, func(p *promise) { p.length, dropped = length, p.dropping })
	if dropped {
		return nil // ids are never reused
	}
	data := testData(n, length)
	durable, err := w.st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5, Shard: 1}, [][]byte{data})
	clear(data) // it is ours again
	if err == nil && durable {
		w.o.note(n, func(p *promise) { p.acked = true })
	}
	return err
}

func (w *worker) commit(n int) error {
	w.o.note(n, func(p *promise) { p.committed = true })
	return w.st.Commit(ctx, testID(n))
}

func (w *worker) abort(n int) error {
	w.o.note(n, func(p *promise) { p.dropping = true })
	return w.st.Abort(ctx, testID(n))
}

func (w *worker) delete(n int) error {
	w.o.note(n, func(p *promise) { p.dropping = true })
	err := w.st.Delete(ctx, testID(n))
	if err == nil { // of a blob that was never acknowledged it promises nothing: a crash may find it, and the collector drops it
		w.o.note(n, func(p *promise) { p.deleted = p.acked })
	}
	return err
}

// step does one random thing to a random blob of the worker's own range. Contradictions (commit after abort) are part of it.
func (w *worker) step(base, span int) error {
	n := base + w.rng.IntN(span)
	var err error
	switch r := w.rng.IntN(20); {
	case r < 11:
		err = w.prepare(n)
	case r < 14:
		err = w.commit(n)
	case r < 15:
		err = w.abort(n)
	case r < 19:
		err = w.delete(n)
	default:
		err = w.st.Tidy(ctx)
	}
	switch errs.KindOf(err) {
	case errs.Aborted, errs.BlobMissing, errs.Conflict:
		return nil
	}
	return err
}

// TestCrashScripted goes through the life of a few blobs, every operation of which is a crash.
func TestCrashScripted(t *testing.T) {
	c := newCrasher(t, 1, tiny(nil), 1<<30)
	o := c.o
	o.FS = c.fs()
	st, err := Open("/v", o)
	must(t, err)
	w := &worker{o: c.oracle, st: st}
	for n := range 24 { // several segments of both kinds
		must(t, w.prepare(n))
	}
	must(t, w.commit(1))
	must(t, w.abort(2))
	for n := 3; n < 20; n++ {
		must(t, w.delete(n))
	}
	must(t, st.Tidy(ctx))
	must(t, st.Close())
	c.crashNow(t)
	st, err = Open("/v", o)
	must(t, err)
	w.st = st
	for n := 24; n < 34; n++ {
		must(t, w.prepare(n))
	}
	for n := 20; n < 34; n++ {
		must(t, w.delete(n))
	}
	must(t, st.Tidy(ctx))
	must(t, st.Close())
	c.crashNow(t)
	t.Logf("%d operations, %d reopenings", c.ops, c.opened)
}

func (c *crasher) crashNow(t *testing.T) {
	t.Helper()
	for _, s := range vfs.Survivals {
		must(t, c.reopen(c.mem.CrashClone(s), c.oracle.snapshot(), 0))
	}
}

// TestCrashRandom runs random workloads of one and of several writers, with every policy, spares, zeros and timers, and restarts in between.
func TestCrashRandom(t *testing.T) {
	plain := tiny(nil)
	busy := tiny(nil)
	busy.noSpares, busy.noFill = false, false
	busy.Certify, busy.LazyFlush, busy.Tidy = time.Millisecond, time.Millisecond, time.Millisecond
	interval := busy
	interval.Fsync, interval.FsyncInterval = Interval, time.Millisecond
	never := tiny(nil)
	never.Fsync = Never
	for name, x := range map[string]struct {
		o       Options
		writers int
	}{
		"one writer": {plain, 1}, "four writers": {plain, 4}, "four writers and timers": {busy, 4}, "interval": {interval, 3}, "never": {never, 2},
	} {
		t.Run(name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			ops, opened := 0, 0
			for opened < *crashRounds/5 && !t.Failed() {
				c := newCrasher(t, seed+uint64(ops), x.o, min(600, *crashRounds/5-opened))
				c.every = 5 // so that stores grow old
				for base := 0; !c.enough(); {
					runCrash(t, c, x.o, x.writers, &base)
				}
				ops, opened = ops+c.ops, opened+c.opened
			}
			t.Logf("%d operations, %d reopenings", ops, opened)
		})
	}
}

// runCrash is one life of a store.
func runCrash(t *testing.T, c *crasher, o Options, writers int, base *int) {
	o.FS = c.fs()
	st, err := Open("/v", o)
	must(t, err)
	var wg sync.WaitGroup
	for i := range writers {
		w := &worker{o: c.oracle, st: st, rng: rand.New(rand.NewPCG(uint64(i), uint64(*base)))}
		from := *base + 100*i
		wg.Go(func() {
			for range 40 {
				if c.enough() {
					return
				}
				if err := w.step(from, 30); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	*base += 100 * writers
	must(t, st.Close())
	if o.Fsync != Always { // a clean close is a sync
		c.oracle.mu.Lock()
		for id, p := range c.oracle.blobs {
			if e, ok, _ := st.index.Get(id); ok && e.State() < 3 {
				p.acked = true
			}
		}
		c.oracle.mu.Unlock()
	}
}

package history

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Weights say how often each operation is chosen, against the sum of all. The zero value is a mix of all of them.
type Weights struct {
	Get, Head, Put, PutIf, Delete, DeleteIf, Copy, List, Batch int
}

// PerKey is a mix in which every operation touches one key, so that keys are checked apart.
var PerKey = Weights{Get: 30, Head: 8, Put: 22, PutIf: 22, Delete: 10, DeleteIf: 8}

var everything = Weights{Get: 24, Head: 6, Put: 18, PutIf: 16, Delete: 8, DeleteIf: 5, Copy: 5, List: 10, Batch: 8}

// Workload is a random load. What the clients do depends on the seed and on what they are told.
type Workload struct {
	Seed    uint64
	Weights Weights
	Prefix  string // of all keys: only they are listed
	// SizeMax bounds the bodies; most are small. 0: 4 KiB.
	SizeMax int
	// Ops bounds what one client does. 0: only the context does.
	Ops int
	// Pause is the longest a client rests between two operations; it bounds the length of a history. 0: not at all.
	Pause time.Duration
	// Timeout ends one operation, which is then unknown. 0: 5 s.
	Timeout time.Duration
	// UnknownMax is how many writes may be without an answer: then clients only read, but for what is on its way. The time of a check
	// doubles with each. 0: any number.
	UnknownMax int
}

// refusedPause is how long a client rests that could not reach its store.
const refusedPause = 5 * time.Millisecond

// Run lets one client per store work until ctx ends, and returns when the last operation has. Operations are not cut off by ctx.
func (w Workload) Run(ctx context.Context, r *Recorder, stores []Store) {
	if w.Weights == (Weights{}) {
		w.Weights = everything
	}
	if w.SizeMax == 0 {
		w.SizeMax = 4 << 10
	}
	if w.Timeout == 0 {
		w.Timeout = 5 * time.Second
	}
	var ids, unknown atomic.Int64
	var wg sync.WaitGroup
	for i, s := range stores {
		c := &client{w: w, r: r, s: s, rng: rand.New(rand.NewPCG(w.Seed, uint64(i))), known: make([]Value, len(r.keys)), unknown: &unknown}
		wg.Go(func() { c.run(ctx, &ids) })
	}
	wg.Wait()
}

// Settle reads every key and lists them all once, so that what happened last is seen.
func (w Workload) Settle(ctx context.Context, r *Recorder, s Store) {
	const client = 1 << 20
	for k := range r.keys {
		r.Do(ctx, client, s, Op{Kind: Get, Key: k})
	}
	if w.Weights.List > 0 || w.Weights == (Weights{}) {
		r.Do(ctx, client, s, Op{Kind: List, Prefix: w.Prefix, Limit: KeysMax})
	}
}

// client is one loop of operations.
type client struct {
	w     Workload
	r     *Recorder
	s     Store
	rng   *rand.Rand
	known []Value // the last value seen of each key

	unknown *atomic.Int64 // writes of all clients without an answer
}

func (c *client) run(ctx context.Context, ids *atomic.Int64) {
	id := int(ids.Add(1) - 1)
	for n := 0; ctx.Err() == nil && (c.w.Ops == 0 || n < c.w.Ops); n++ {
		op := c.choose()
		opCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.w.Timeout)
		res := c.r.Do(opCtx, id, c.s, op)
		cancel()
		c.learn(&op, &res)
		if res.Outcome == Unknown {
			if op.Kind.writes() {
				c.unknown.Add(1)
			}
			id = int(ids.Add(1) - 1) // the operation may go on: this is another client
		}
		c.rest(ctx, res.Outcome)
	}
}

func (c *client) rest(ctx context.Context, o Outcome) {
	d := time.Duration(0)
	switch {
	case o == Refused:
		d = refusedPause
	case c.w.Pause > 0:
		d = rand.N(c.w.Pause)
	}
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// learn remembers values for If-Match.
func (c *client) learn(op *Op, res *Result) {
	if res.Outcome != Done {
		return
	}
	switch op.Kind {
	case Get, Head:
		if res.Value != Foreign {
			c.known[op.Key] = res.Value
		}
	case Put:
		c.known[op.Key] = op.Value
	case List:
		for _, it := range res.Items {
			if it.Value != Foreign {
				c.known[it.Key] = it.Value
			}
		}
	}
}

func (c *client) choose() Op {
	w := c.w.Weights
	k := c.rng.IntN(len(c.r.keys))
	if most := c.w.UnknownMax; most > 0 && c.unknown.Load() >= int64(most) {
		return Op{Kind: Get, Key: k}
	}
	n := c.rng.IntN(w.Get + w.Head + w.Put + w.PutIf + w.Delete + w.DeleteIf + w.Copy + w.List + w.Batch)
	for _, x := range []struct {
		weight int
		make   func() Op
	}{
		{w.Get, func() Op { return Op{Kind: Get, Key: k} }},
		{w.Head, func() Op { return Op{Kind: Head, Key: k} }},
		{w.Put, func() Op { return c.put(k) }},
		{w.PutIf, func() Op { return c.conditional(c.put(k)) }},
		{w.Delete, func() Op { return Op{Kind: Delete, Key: k} }},
		{w.DeleteIf, func() Op { return c.matching(Op{Kind: Delete, Key: k}) }},
		{w.Copy, func() Op {
			return Op{Kind: Copy, From: k, Key: (k + 1 + c.rng.IntN(max(1, len(c.r.keys)-1))) % len(c.r.keys)}
		}},
		{w.List, c.list},
		{w.Batch, c.batch},
	} {
		if n -= x.weight; n < 0 {
			return x.make()
		}
	}
	return Op{Kind: Get, Key: k}
}

func (c *client) put(key int) Op {
	size := BodyMin + c.rng.IntN(512)
	if c.rng.IntN(16) == 0 {
		size = c.rng.IntN(c.w.SizeMax + 1)
	}
	return Op{Kind: Put, Key: key, Value: c.r.NewValue(size)}
}

// conditional makes half of the puts creations, and the others compare-and-swaps.
func (c *client) conditional(op Op) Op {
	if c.rng.IntN(2) == 0 {
		op.When = IfAbsent
		return op
	}
	return c.matching(op)
}

// matching adds If-Match with the last value seen, if there is one.
func (c *client) matching(op Op) Op {
	if v := c.known[op.Key]; v != 0 {
		op.When, op.Match = IfMatch, v
	}
	return op
}

func (c *client) list() Op {
	op := Op{Kind: List, Prefix: c.w.Prefix, Limit: 1 + c.rng.IntN(len(c.r.keys)+1)}
	if c.rng.IntN(2) == 0 {
		op.After = c.r.keys[c.rng.IntN(len(c.r.keys))]
	}
	return op
}

// batch changes or reads two to four keys, the most interesting being the same change to all.
func (c *client) batch() Op {
	op := Op{Kind: Batch}
	n := 2 + c.rng.IntN(3)
	same := c.rng.IntN(4)
	for i := range n {
		k := (c.rng.IntN(len(c.r.keys)) + i) % len(c.r.keys)
		what := same
		if same == 3 {
			what = c.rng.IntN(3)
		}
		switch what {
		case 0:
			op.Ops = append(op.Ops, Op{Kind: Get, Key: k})
		case 1:
			p := c.put(k)
			if c.rng.IntN(4) == 0 {
				p = c.conditional(p)
			}
			op.Ops = append(op.Ops, p)
		default:
			op.Ops = append(op.Ops, Op{Kind: Delete, Key: k})
		}
	}
	return op
}

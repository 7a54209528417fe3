package history

import (
	"math/rand/v2"
	"testing"
	"time"
)

// naively tries every order, and every unanswered write at every place and never: the oracle for the clever checker. Only for short
// histories.
func naively(h *History) bool {
	var es []*Entry
	for i := range h.Entries {
		if e := &h.Entries[i]; e.Result.Outcome != Refused && (e.Result.Outcome != Unknown || e.Op.Kind.writes()) {
			es = append(es, e)
		}
	}
	return naiveFrom(h.Keys, es, 0, bucket{}, map[naiveState]bool{})
}

type naiveState struct {
	used uint64
	b    bucket
}

func naiveFrom(keys []string, es []*Entry, used uint64, b bucket, failed map[naiveState]bool) bool {
	if failed[naiveState{used, b}] {
		return false
	}
	answeredLeft, deadline := false, int64(1<<62)
	for i, e := range es {
		if used>>i&1 == 0 && e.Result.Outcome != Unknown {
			answeredLeft, deadline = true, min(deadline, e.Return)
		}
	}
	if !answeredLeft {
		return true
	}
	for i, e := range es {
		if used>>i&1 != 0 || e.Call > deadline {
			continue
		}
		next := b
		if e.Result.Outcome == Unknown {
			_, next = e.Op.attempt(b)
		} else {
			var ok bool
			if ok, next = e.Op.answer(b, &e.Result, keys); !ok {
				continue
			}
		}
		if naiveFrom(keys, es, used|1<<i, next, failed) {
			return true
		}
	}
	failed[naiveState{used, b}] = true
	return false
}

// TestAgainstNaive compares verdicts over random short histories, most of them of a true store, some with an answer falsified.
func TestAgainstNaive(t *testing.T) {
	verdicts := [2]int{}
	for seed := range uint64(4000) {
		h := randomHistory(rand.New(rand.NewPCG(seed, 1)))
		want := naively(h)
		err := Check(h, time.Minute)
		removeDrawing(t, err)
		if got := err == nil; got != want {
			t.Fatalf("seed %d: %v, the naive checker says %v\n%s", seed, err, want, describe(h))
		}
		if want {
			verdicts[1]++
		} else {
			verdicts[0]++
		}
	}
	if verdicts[0] < 300 || verdicts[1] < 300 {
		t.Fatalf("%d bad and %d good histories: too one-sided to compare", verdicts[0], verdicts[1])
	}
}

func describe(h *History) string {
	s := ""
	for i := range h.Entries {
		e := &h.Entries[i]
		ev := event{keys: h.Keys, op: &e.Op, result: &e.Result}
		s += itoa(Value(e.Call)) + " to " + itoa(Value(e.Return)) + ": " + ev.describe() + "\n"
	}
	return s
}

// randomHistory lets operations overlap, take effect at a moment of their interval, and loses the answers of some. A lost write
// takes effect at a moment from its call on, or never.
func randomHistory(rng *rand.Rand) *History {
	h := &History{Keys: []string{"a", "b", "c"}}
	n := 5 + rng.IntN(7)
	c := &client{r: NewRecorder(h.Keys, nil), rng: rng, known: make([]Value, 3), w: Workload{
		Weights: Weights{Get: 6, Put: 4, PutIf: 5, Delete: 4, DeleteIf: 2, Copy: 2, List: 4, Batch: 3}}}
	moments := make([]int64, n)
	for i := range n {
		call := int64(rng.IntN(60))
		e := Entry{Client: i, Op: c.choose(), Call: call, Return: call + 1 + int64(rng.IntN(25))}
		if e.Op.Value != 0 {
			c.known[e.Op.Key] = e.Op.Value
		}
		moments[i] = e.Call + rng.Int64N(e.Return-e.Call+1)
		if rng.IntN(3) == 0 {
			e.Result.Outcome, moments[i] = Refused, e.Call+rng.Int64N(80) // lost: see below
		}
		h.Entries = append(h.Entries, e)
	}
	b := bucket{}
	for now := range int64(200) {
		for i := range h.Entries {
			if e := &h.Entries[i]; moments[i] == now {
				b = perform(rng, h.Keys, e, b)
			}
		}
	}
	if rng.IntN(2) == 0 {
		falsify(rng, h)
	}
	return h
}

// perform lets an entry take effect and notes its answer.
func perform(rng *rand.Rand, keys []string, e *Entry, b bucket) bucket {
	isLost := e.Result.Outcome == Refused
	out, next := e.Op.attempt(b)
	e.Result = Result{Outcome: out}
	switch e.Op.Kind {
	case Get:
		e.Result = readIn(b, e.Op.Key)
	case List:
		e.Result = pageIn(b, keys, &e.Op)
	case Batch:
		at := b
		for j := range e.Op.Ops {
			sub := &e.Op.Ops[j]
			r := Result{Outcome: Done, Found: No}
			if at[sub.Key] != 0 {
				r.Found = Yes
			}
			if sub.Kind == Get {
				f := r.Found
				r = readIn(at, sub.Key)
				r.Found = f
			} else {
				_, at = sub.attempt(at)
			}
			if out == Done {
				e.Result.Results = append(e.Result.Results, r)
			}
		}
	}
	if isLost {
		e.Result = Result{}
		if rng.IntN(3) == 0 {
			return b
		}
	}
	return next
}

func readIn(b bucket, k int) Result {
	if b[k] == 0 {
		return Result{Outcome: Absent}
	}
	return Result{Outcome: Done, Value: b[k]}
}

func pageIn(b bucket, keys []string, o *Op) Result {
	r := Result{Outcome: Done}
	for i, k := range keys {
		if b[i] == 0 || !o.lists(k) {
			continue
		}
		if len(r.Items) == o.Limit {
			r.More = true
			return r
		}
		r.Items = append(r.Items, Item{i, b[i]})
	}
	return r
}

// falsify changes one answer.
func falsify(rng *rand.Rand, h *History) {
	e := &h.Entries[rng.IntN(len(h.Entries))]
	r := &e.Result
	switch {
	case r.Outcome == Unknown:
	case e.Op.Kind == Get:
		*r = Result{Outcome: Done, Value: Value(1 + rng.IntN(6))}
		if rng.IntN(3) == 0 {
			*r = Result{Outcome: Absent}
		}
	case e.Op.Kind == List && len(r.Items) > 0:
		r.Items = r.Items[1:]
	case e.Op.Kind == Batch && r.Outcome == Done:
		*r = Result{Outcome: Precondition}
	case r.Outcome == Done && e.Op.Kind != List:
		r.Outcome = Precondition
	case r.Outcome == Precondition || r.Outcome == Absent:
		r.Outcome = Done
	}
}

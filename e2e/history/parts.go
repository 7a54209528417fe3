package history

import (
	"slices"

	"github.com/anishathalye/porcupine"
)

// model shows h's parts to porcupine.
func model(h *History) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, _ any) (bool, any) {
			ok, next := step(s.(state), in.(*event))
			return ok, next
		},
		Equal:             func(a, b any) bool { return a.(state) == b.(state) },
		Partition:         func([]porcupine.Operation) [][]porcupine.Operation { return h.parts() },
		DescribeOperation: func(in, _ any) string { return in.(*event).describe() },
		DescribeState:     func(s any) string { return s.(state).describe(h.Keys) },
	}
}

// parts splits the history into groups of operations that share keys, each ready for the checker.
func (h *History) parts() [][]porcupine.Operation {
	group := h.groups()
	seen := h.firstSeen()
	byGroup := map[int][]porcupine.Operation{}
	last := int64(0)
	for i := range h.Entries {
		last = max(last, h.Entries[i].Return, h.Entries[i].Call)
	}
	for i := range h.Entries {
		e := &h.Entries[i]
		if e.Result.Outcome == Refused || e.Result.Outcome == Unknown && !h.matters(e, seen) {
			continue
		}
		g := -1
		e.Op.touches(h.Keys, func(k int) { g = group[k] })
		if g < 0 && len(e.Result.Items) == 0 {
			continue // an empty page of no keys
		}
		g = max(g, 0)
		byGroup[g] = append(byGroup[g], h.operation(e, seen, last))
	}
	var parts [][]porcupine.Operation
	for g := range KeysMax {
		if ops := byGroup[g]; len(ops) > 0 {
			ops = append(ops, porcupine.Operation{Input: &event{keys: h.Keys, role: end}, Call: last + 1, Return: last + 2})
			parts = append(parts, ops)
		}
	}
	return parts
}

// matters says whether an unanswered operation can make a difference. A read cannot. A put whose value nobody saw can only by
// being there: something must have found its key present without saying what it held.
func (h *History) matters(e *Entry, seen map[Value]int64) bool {
	if e.Op.Kind != Put {
		return e.Op.Kind.writes()
	}
	if _, ok := seen[e.Op.Value]; ok {
		return true
	}
	for i := range h.Entries {
		o := &h.Entries[i]
		if o == e || o.Result.Outcome == Refused || o.Result.Outcome != Unknown && o.Return < e.Call {
			continue
		}
		vague := o.Result.Outcome == Precondition || o.Op.Kind == Batch || o.Op.Kind == Copy ||
			o.Result.Outcome == Unknown && o.Op.When != Always
		if vague && o.Op.has(e.Op.Key, h.Keys) {
			return true
		}
	}
	return false
}

func (o *Op) has(key int, keys []string) (yes bool) {
	o.touches(keys, func(k int) { yes = yes || k == key })
	return yes
}

// operation decides how an unanswered write is to be seen.
func (h *History) operation(e *Entry, seen map[Value]int64, last int64) porcupine.Operation {
	ev := &event{keys: h.Keys, op: &e.Op, result: &e.Result}
	op := porcupine.Operation{ClientId: e.Client, Input: ev, Call: e.Call, Return: e.Return}
	if e.Result.Outcome != Unknown {
		return op
	}
	ev.role, op.Return = open, last+3
	for _, v := range e.Op.wrote() {
		if at, ok := seen[v]; ok {
			ev.role, op.Return = happened, min(op.Return, max(at, e.Call))
		}
	}
	return op
}

// firstSeen is when the first observer of each value returned.
func (h *History) firstSeen() map[Value]int64 {
	seen := map[Value]int64{}
	for i := range h.Entries {
		e := &h.Entries[i]
		for _, v := range e.saw() {
			if at, ok := seen[v]; !ok || e.Return < at {
				seen[v] = e.Return
			}
		}
	}
	return seen
}

// groups gives each key a number that it shares with the keys it is connected to.
func (h *History) groups() []int {
	root := make([]int, len(h.Keys))
	for i := range root {
		root[i] = i
	}
	for i := range h.Entries {
		first := -1
		h.Entries[i].Op.touches(h.Keys, func(k int) {
			if first < 0 {
				first = root[k]
			}
			for old, j := root[k], 0; j < len(root); j++ {
				if root[j] == old {
					root[j] = first
				}
			}
		})
	}
	return root
}

func (e *event) describe() string {
	switch e.role {
	case end:
		return "the end"
	case open:
		return e.op.describe(e.keys) + " -> may have happened"
	case happened:
		return e.op.describe(e.keys) + " -> unanswered, and seen"
	}
	return e.op.describe(e.keys) + " -> " + e.result.describe(e.op.Kind, e.keys)
}

func (s state) describe(keys []string) string {
	var parts []string
	for i, k := range keys {
		if s.at[i] != 0 {
			parts = append(parts, k+"="+itoa(s.at[i]))
		}
	}
	slices.Sort(parts)
	return join(parts)
}

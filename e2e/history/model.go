package history

// bucket is what the keys hold; 0 is absence.
type bucket [KeysMax]Value

// state of the model. Comparable.
//
// marked are the keys on which open writes were just put in; the next operation must tell each of them from its absence. before
// holds what those keys held before the last such write, and 0 for all others.
type state struct {
	at, before bucket
	marked     uint16 // set of keys
	ended      bool   // only open writes remain, and nobody can tell whether they happened
}

// role of an event in a linearization.
type role uint8

const (
	answered role = iota // its result is known
	happened             // it surely took effect; its result is not known
	open                 // it may take effect, or never
	end                  // marks the end of the history
)

// event is a porcupine input.
type event struct {
	keys   []string
	op     *Op
	result *Result
	role   role
}

// step is the model's transition.
func step(s state, e *event) (bool, state) {
	switch {
	case s.ended:
		return e.role == open, s
	case e.role == end:
		return s.marked == 0, state{at: s.at, ended: true}
	}
	ok, next := e.apply(s.at)
	if !ok || e.role == open && next == s.at { // an open write without effect comes as well at the end
		return false, s
	}
	if e.role == open && e.op.single() {
		return s.mark(e, next)
	}
	for k := 0; s.marked>>k != 0; k++ {
		if s.marked>>k&1 != 0 && !e.tells(s.at, next, s.without(k)) {
			return false, s
		}
	}
	return true, state{at: next}
}

// mark puts an open single-key write in. Such writes commute across keys, so they come in the order of their keys; of two on one
// key, the second must tell the first.
func (s state) mark(e *event, next bucket) (bool, state) {
	k := e.op.Key
	if s.marked>>(k+1) != 0 || s.marked>>k&1 != 0 && !e.tells(s.at, next, s.without(k)) {
		return false, s
	}
	s.before[k] = s.at[k]
	s.at = next
	s.marked |= 1 << k
	return true, s
}

// without is the bucket as it were without the last open write to the marked key.
func (s state) without(key int) bucket {
	s.at[key] = s.before[key]
	return s.at
}

// tells says whether the event, which leads from at to next, would have gone otherwise from other: failed, or written something
// else.
func (e *event) tells(at, next, other bucket) bool {
	ok, then := e.apply(other)
	if !ok {
		return true
	}
	for i := range next {
		untouched := next[i] == at[i] && then[i] == other[i]
		if !untouched && next[i] != then[i] {
			return true
		}
	}
	return false
}

// apply says whether the event is possible in b, and what b is then.
func (e *event) apply(b bucket) (bool, bucket) {
	switch e.role {
	case open:
		_, b = e.op.attempt(b)
		return true, b
	case happened:
		o, next := e.op.attempt(b)
		return o == Done, next
	}
	return e.op.answer(b, e.result, e.keys)
}

// attempt carries a write out as the store must.
func (o *Op) attempt(b bucket) (Outcome, bucket) {
	if o.Kind == Batch {
		next := b
		for i := range o.Ops {
			var out Outcome
			if out, next = o.Ops[i].attempt(next); out != Done {
				return out, b
			}
		}
		return Done, next
	}
	if o.Kind == Copy && b[o.From] == 0 {
		return Absent, b
	}
	switch {
	case o.When == IfAbsent && b[o.Key] != 0:
		return Precondition, b
	case o.When == IfMatch && b[o.Key] == 0:
		return Absent, b
	case o.When == IfMatch && b[o.Key] != o.Match:
		return Precondition, b
	}
	switch o.Kind {
	case Put:
		b[o.Key] = o.Value
	case Delete:
		b[o.Key] = 0
	case Copy:
		b[o.Key] = b[o.From]
	}
	return Done, b
}

// answer says whether the store, holding b, may have answered so.
func (o *Op) answer(b bucket, r *Result, keys []string) (bool, bucket) {
	switch o.Kind {
	case Get, Head:
		if b[o.Key] == 0 {
			return r.Outcome == Absent, b
		}
		return r.Outcome == Done && r.Value == b[o.Key], b
	case List:
		return r.Outcome == Done && o.page(b, r, keys), b
	case Batch:
		return o.answerBatch(b, r, keys)
	}
	out, next := o.attempt(b)
	return out == r.Outcome, next
}

// answerBatch checks each operation's result in the state that those before it left.
func (o *Op) answerBatch(b bucket, r *Result, keys []string) (bool, bucket) {
	out, next := o.attempt(b)
	if r.Outcome != Done {
		return out != Done, b
	}
	if out != Done || len(r.Results) != len(o.Ops) {
		return false, b
	}
	at := b
	for i := range o.Ops {
		sub, res := &o.Ops[i], &r.Results[i]
		switch sub.Kind {
		case Get:
			if ok, _ := sub.answer(at, res, keys); !ok {
				return false, b
			}
		case Delete:
			if res.Found != NotTold && (res.Found == Yes) != (at[sub.Key] != 0) {
				return false, b
			}
		}
		if sub.Kind.writes() {
			_, at = sub.attempt(at)
		}
	}
	return true, next
}

// page says whether the items are exactly the first Limit keys after After.
func (o *Op) page(b bucket, r *Result, keys []string) bool {
	n := 0
	for i, k := range keys {
		if b[i] == 0 || !o.lists(k) {
			continue
		}
		if n == o.Limit {
			return r.More && len(r.Items) == n
		}
		if n >= len(r.Items) || r.Items[n] != (Item{i, b[i]}) {
			return false
		}
		n++
	}
	return n == len(r.Items) && !r.More
}

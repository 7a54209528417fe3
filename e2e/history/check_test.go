package history

import (
	"errors"
	"os"
	"regexp"
	"testing"
	"time"
)

// Operations of the stories below, on the keys 0 (a), 1 (b) and 2 (c).
func put(k int, v Value) Op    { return Op{Kind: Put, Key: k, Value: v} }
func create(k int, v Value) Op { return Op{Kind: Put, Key: k, Value: v, When: IfAbsent} }
func swap(k int, from, to Value) Op {
	return Op{Kind: Put, Key: k, Value: to, When: IfMatch, Match: from}
}
func get(k int) Op                        { return Op{Kind: Get, Key: k} }
func head(k int) Op                       { return Op{Kind: Head, Key: k} }
func del(k int) Op                        { return Op{Kind: Delete, Key: k} }
func delIf(k int, v Value) Op             { return Op{Kind: Delete, Key: k, When: IfMatch, Match: v} }
func cp(from, to int) Op                  { return Op{Kind: Copy, From: from, Key: to} }
func list(after string, limit int) Op     { return Op{Kind: List, After: after, Limit: limit} }
func batch(ops ...Op) Op                  { return Op{Kind: Batch, Ops: ops} }
func is(v Value) Result                   { return Result{Outcome: Done, Value: v} }
func items(more bool, its ...Item) Result { return Result{Outcome: Done, Items: its, More: more} }
func all(rs ...Result) Result             { return Result{Outcome: Done, Results: rs} }
func was(f Found) Result                  { return Result{Outcome: Done, Found: f} }

var (
	done    = Result{Outcome: Done}
	absent  = Result{Outcome: Absent}
	false_  = Result{Outcome: Precondition}
	lost    = Result{Outcome: Unknown}
	refused = Result{Outcome: Refused}
)

// at is an operation that ran from one moment to another.
func at(from, to int64, op Op, res Result) Entry {
	return Entry{Client: int(from), Op: op, Result: res, Call: from, Return: to}
}

// inTurn gives each operation a time of its own.
func inTurn(es ...Entry) []Entry {
	for i := range es {
		es[i].Call, es[i].Return = int64(10*i), int64(10*i+5)
	}
	return es
}

func e(op Op, res Result) Entry { return Entry{Op: op, Result: res} }

// TestStories are histories whose verdict is known.
func TestStories(t *testing.T) {
	for _, c := range []struct {
		name    string
		good    bool
		history []Entry
	}{
		{"read your write", true, inTurn(e(put(0, 1), done), e(get(0), is(1)), e(head(0), is(1)))},
		{"nothing is there at first", true, inTurn(e(get(0), absent), e(list("", 9), items(false)))},
		{"a value from nowhere", false, inTurn(e(put(0, 1), done), e(get(0), is(Foreign)))},
		{"stale read", false, inTurn(e(put(0, 1), done), e(put(0, 2), done), e(get(0), is(1)))},
		{"stale HEAD after delete", false, inTurn(e(put(0, 1), done), e(del(0), done), e(head(0), is(1)))},
		{"overlapping writes, either order", true, []Entry{at(0, 9, put(0, 1), done), at(1, 8, put(0, 2), done), at(10, 11, get(0), is(1))}},
		{"overlapping writes, both orders", false, []Entry{at(0, 9, put(0, 1), done), at(1, 8, put(0, 2), done),
			at(10, 11, get(0), is(1)), at(12, 13, get(0), is(2))}},
		{"a read may see an overlapping write", true, []Entry{at(0, 9, put(0, 1), done), at(1, 2, get(0), is(1))}},
		{"reads never go back", false, []Entry{at(0, 9, put(0, 1), done), at(1, 2, get(0), is(1)), at(3, 4, get(0), absent)}},
		{"one creator", true, []Entry{at(0, 9, create(0, 1), done), at(0, 9, create(0, 2), false_)}},
		{"two creators", false, []Entry{at(0, 9, create(0, 1), done), at(0, 9, create(0, 2), done)}},
		{"lost update", false, inTurn(e(put(0, 1), done), e(swap(0, 1, 2), done), e(swap(0, 1, 3), done))},
		{"a stale swap fails", true, inTurn(e(put(0, 1), done), e(swap(0, 1, 2), done), e(swap(0, 1, 3), false_), e(get(0), is(2)))},
		{"a swap fails for nothing", false, inTurn(e(put(0, 1), done), e(swap(0, 1, 2), false_))},
		{"a swap of nothing", true, inTurn(e(put(0, 1), done), e(del(0), done), e(swap(0, 1, 2), absent))},
		{"a swap of nothing says 412", false, inTurn(e(put(0, 1), done), e(del(0), done), e(swap(0, 1, 2), false_))},
		{"conditional delete", true, inTurn(e(put(0, 1), done), e(delIf(0, 1), done), e(get(0), absent))},
		{"conditional delete of another", false, inTurn(e(put(0, 1), done), e(put(0, 2), done), e(delIf(0, 1), done))},
		{"a copy", true, inTurn(e(put(0, 1), done), e(cp(0, 1), done), e(get(1), is(1)))},
		{"a copy of an old value", false, inTurn(e(put(0, 1), done), e(put(0, 2), done), e(cp(0, 1), done), e(get(1), is(1)))},
		{"a copy of nothing", false, inTurn(e(cp(0, 1), done))},

		{"a page", true, inTurn(e(put(0, 1), done), e(put(2, 2), done), e(list("", 9), items(false, Item{0, 1}, Item{2, 2})))},
		{"a page of one", true, inTurn(e(put(0, 1), done), e(put(2, 2), done), e(list("", 1), items(true, Item{0, 1})), e(list("a", 1), items(false, Item{2, 2})))},
		{"short listing", false, inTurn(e(put(0, 1), done), e(put(2, 2), done), e(list("", 9), items(false, Item{0, 1})))},
		{"short page that says more", false, inTurn(e(put(0, 1), done), e(put(2, 2), done), e(list("", 2), items(true, Item{0, 1})))},
		{"more of nothing", false, inTurn(e(put(0, 1), done), e(list("", 1), items(true, Item{0, 1})))},
		{"a listing out of order", false, inTurn(e(put(0, 1), done), e(put(2, 2), done), e(list("", 9), items(false, Item{2, 2}, Item{0, 1})))},
		{"a listing of an old version", false, inTurn(e(put(0, 1), done), e(put(0, 2), done), e(list("", 9), items(false, Item{0, 1})))},
		{"a listing of a stranger", false, inTurn(e(list("", 9), items(false, Item{0, Foreign})))},
		{"a page of two moments", false, []Entry{
			at(0, 1, put(0, 1), done), at(2, 3, put(2, 2), done), at(4, 20, list("", 9), items(false, Item{0, 1}, Item{2, 4})),
			at(5, 6, put(0, 3), done), at(7, 8, put(2, 4), done)}},

		{"a batch", true, inTurn(e(batch(put(0, 1), put(1, 2)), all(done, done)), e(get(0), is(1)), e(get(1), is(2)))},
		{"torn batch", false, inTurn(e(batch(put(0, 1), put(1, 2)), all(done, done)), e(get(0), is(1)), e(get(1), absent))},
		{"half a batch", false, []Entry{at(0, 9, batch(put(0, 1), put(1, 2)), all(done, done)), at(1, 2, get(0), is(1)), at(3, 4, get(1), absent)}},
		{"half a batch in a listing", false, []Entry{at(0, 9, batch(put(0, 1), put(1, 2)), all(done, done)), at(1, 2, list("", 9), items(false, Item{1, 2}))}},
		{"half a batch in a batch", false, inTurn(e(batch(put(0, 1), put(1, 2)), all(done, done)), e(batch(get(0), get(1)), all(is(1), absent)))},
		{"a batch sees its own writes", true, inTurn(e(put(0, 1), done), e(batch(get(0), put(0, 2), get(0), del(0), del(0)),
			all(is(1), done, is(2), was(Yes), was(No))), e(get(0), absent))},
		{"a batch that failed did nothing", true, inTurn(e(put(0, 1), done), e(batch(put(1, 2), create(0, 3)), false_), e(get(1), absent))},
		{"a batch that failed did half", false, inTurn(e(put(0, 1), done), e(batch(put(1, 2), create(0, 3)), false_), e(get(1), is(2)))},
		{"a batch fails for nothing", false, inTurn(e(batch(create(0, 1)), false_))},
		{"a batch deleted nothing", false, inTurn(e(batch(del(0)), all(was(Yes))))},

		{"a lost put happened", true, inTurn(e(put(0, 1), lost), e(get(0), is(1)))},
		{"a lost put never happened", true, inTurn(e(put(0, 1), lost), e(get(0), absent), e(get(0), absent))},
		{"a lost put happened later", true, inTurn(e(put(0, 1), lost), e(get(0), absent), e(put(0, 2), done), e(get(0), is(2)), e(get(0), is(1)))},
		{"a lost put happened twice", false, inTurn(e(put(0, 1), lost), e(get(0), is(1)), e(put(0, 2), done), e(get(0), is(1)))},
		{"a lost put happened before it was asked for", false, []Entry{at(0, 1, get(0), is(1)), at(2, 3, put(0, 1), lost)}},
		{"a lost put nobody saw made a creation fail", true, inTurn(e(put(0, 1), lost), e(create(0, 2), false_), e(put(0, 3), done), e(get(0), is(3)))},
		{"a creation failed before the lost put", false, []Entry{at(0, 1, create(0, 2), false_), at(2, 3, put(0, 1), lost)}},
		{"one lost put cannot fail two creations around a delete", false, inTurn(e(put(0, 1), lost), e(create(0, 2), false_), e(del(0), done), e(create(0, 3), false_))},
		{"a lost delete happened", true, inTurn(e(put(0, 1), done), e(del(0), lost), e(get(0), is(1)), e(get(0), absent))},
		{"a lost delete happened twice", false, inTurn(e(put(0, 1), done), e(del(0), lost), e(get(0), absent), e(put(0, 2), done), e(get(0), absent))},
		{"two lost deletes", true, inTurn(e(put(0, 1), done), e(put(1, 2), done), e(del(0), lost), e(del(1), lost), e(list("", 9), items(false)))},
		{"one lost delete of two", false, inTurn(e(put(0, 1), done), e(put(1, 2), done), e(del(0), lost), e(list("", 9), items(false)))},
		{"a lost swap that could not happen", false, inTurn(e(put(0, 1), done), e(put(0, 2), done), e(swap(0, 1, 3), lost), e(get(0), is(3)))},
		{"a lost delete opened the way for a lost creation", true, inTurn(e(put(0, 1), done), e(del(0), lost), e(create(0, 2), lost), e(get(0), is(1)), e(get(0), is(2)))},
		{"a lost batch happened", true, inTurn(e(batch(put(0, 1), put(1, 2)), lost), e(get(1), absent), e(get(0), is(1)), e(get(1), is(2)))},
		{"a lost batch tore", false, inTurn(e(batch(put(0, 1), put(1, 2)), lost), e(get(0), is(1)), e(get(1), absent))},
		{"a lost batch of deletes tore", false, inTurn(e(put(0, 1), done), e(put(1, 2), done), e(batch(del(0), del(1)), lost), e(get(0), absent), e(get(1), is(2)))},
		{"a lost batch, overwritten in part before it is seen", true, inTurn(e(put(0, 1), done), e(put(1, 2), done), e(batch(del(0), del(1)), lost),
			e(put(0, 3), done), e(get(1), absent), e(get(0), is(3)))},
		{"a lost copy", true, inTurn(e(put(0, 1), done), e(cp(0, 1), lost), e(put(0, 2), done), e(get(1), is(1)))},
		{"a lost copy of what was not there", false, inTurn(e(put(0, 1), done), e(put(0, 2), done), e(cp(0, 1), lost), e(get(1), is(1)))},
		{"a refused put", true, inTurn(e(put(0, 1), refused), e(get(0), absent))},
		{"a refused put happened", false, inTurn(e(put(0, 1), refused), e(get(0), is(1)))},
		{"a lost read says nothing", true, inTurn(e(put(0, 1), done), e(get(0), lost))},
		{"unrelated keys are checked apart", false, inTurn(e(put(0, 1), done), e(put(1, 2), done), e(put(1, 3), done), e(get(1), is(2)))},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &History{Keys: []string{"a", "b", "c"}, Entries: c.history}
			err := Check(h, time.Minute)
			removeDrawing(t, err)
			if c.good && err != nil || !c.good && !errors.Is(err, ErrIllegal) {
				t.Fatalf("good %v, verdict %v", c.good, err)
			}
			if naive := naively(h); naive != c.good {
				t.Fatalf("the naive checker says %v", naive)
			}
		})
	}
}

var drawingPath = regexp.MustCompile(`drawn in (\S+)\)`)

// removeDrawing finds the drawing that an error names, and removes it.
func removeDrawing(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	m := drawingPath.FindStringSubmatch(err.Error())
	if m == nil {
		t.Fatalf("no drawing is named: %v", err)
	}
	if info, serr := os.Stat(m[1]); serr != nil || info.Size() < 1000 {
		t.Fatalf("the drawing: %v", serr)
	}
	_ = os.Remove(m[1])
}

func TestMalformedHistories(t *testing.T) {
	for name, h := range map[string]*History{
		"a value written twice": {Keys: []string{"a"}, Entries: inTurn(e(put(0, 1), done), e(put(0, 1), done))},
		"keys out of order":     {Keys: []string{"b", "a"}},
		"too many keys":         {Keys: make([]string, KeysMax+1)},
		"time runs backwards":   {Keys: []string{"a"}, Entries: []Entry{at(5, 1, get(0), absent)}},
	} {
		if err := Check(h, 0); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUndecidedFails: a history too hard for the time is a failure (H1).
func TestUndecidedFails(t *testing.T) {
	h := &History{Keys: []string{"a"}}
	for i := range Value(40) {
		h.Entries = append(h.Entries, at(0, 100, put(0, i+1), done))
	}
	// 40 overlapping puts, then two readers that no order of them satisfies.
	h.Entries = append(h.Entries, at(101, 102, get(0), is(1)), at(103, 104, get(0), is(2)))
	err := Check(h, 50*time.Millisecond)
	removeDrawing(t, err)
	if !errors.Is(err, ErrUndecided) {
		t.Fatalf("verdict %v", err)
	}
}

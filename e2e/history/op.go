package history

import (
	"fmt"
	"slices"
	"strings"
)

// KeysMax is how many keys a bucket under test may have: states are compared and copied whole.
const KeysMax = 16

// Kind of an operation.
type Kind uint8

// The operations.
const (
	Get Kind = iota + 1
	Head
	Put
	Delete
	Copy
	List
	Batch
)

var kindNames = [...]string{Get: "GET", Head: "HEAD", Put: "PUT", Delete: "DELETE", Copy: "COPY", List: "LIST", Batch: "BATCH"}

func (k Kind) String() string { return kindNames[k] }

func (k Kind) writes() bool { return k == Put || k == Delete || k == Copy || k == Batch }

// Value names what a put writes; 0 is absence. Body turns it into bytes.
type Value uint32

// Foreign is bytes or an ETag that no put of this history wrote. No state holds it.
const Foreign Value = 1<<32 - 1

// When is a precondition of a put or delete.
type When uint8

// The preconditions.
const (
	Always   When = iota
	IfAbsent      // If-None-Match: *
	IfMatch       // If-Match: the ETag of Op.Match
)

// Op is what a client asked for. Keys are places in History.Keys.
type Op struct {
	Kind  Kind
	Key   int
	From  int   // Copy: the source's key
	Value Value // Put
	When  When  // Put, Delete
	Match Value // with IfMatch
	Ops   []Op  // Batch: of Get, Put, Delete

	Prefix, After string // List
	Limit         int    // List: keys of the page
}

// Outcome is what a client knows of an operation.
type Outcome uint8

// The outcomes.
const (
	Unknown      Outcome = iota // no answer, or one that leaves it open
	Done                        // as asked
	Absent                      // there is no such key: of a read, a copy's source, or If-Match
	Precondition                // a condition was false; nothing was done
	Refused                     // surely nothing was done, for a reason that says nothing of the state
)

var outcomeNames = [...]string{"unknown", "done", "absent", "precondition", "refused"}

func (o Outcome) String() string { return outcomeNames[o] }

// Result is what the client learned.
type Result struct {
	Outcome Outcome
	Value   Value  // Get, Head
	Items   []Item // List
	More    bool   // List: the page is not the last
	Results []Result
	// Found says, of a delete in a batch, whether the key was there.
	Found Found
}

// Found is a three-valued bool.
type Found uint8

// Whether a key was there.
const (
	NotTold Found = iota
	Yes
	No
)

// Item is a key of a page.
type Item struct {
	Key   int
	Value Value
}

// Entry is one operation of a history. Times are nanoseconds since its start.
type Entry struct {
	Client       int
	Op           Op
	Result       Result
	Call, Return int64
}

// History is what all clients saw, in no particular order, of a bucket that held none of the keys at first.
type History struct {
	Keys    []string // sorted
	Entries []Entry
}

// Stats counts the outcomes by kind.
func (h *History) Stats() map[Kind][5]int {
	stats := map[Kind][5]int{}
	for i := range h.Entries {
		e := &h.Entries[i]
		s := stats[e.Op.Kind]
		s[e.Result.Outcome]++
		stats[e.Op.Kind] = s
	}
	return stats
}

// Acknowledged is how many operations were answered with a result that says something of the state.
func (h *History) Acknowledged() int {
	n := 0
	for i := range h.Entries {
		if o := h.Entries[i].Result.Outcome; o != Unknown && o != Refused {
			n++
		}
	}
	return n
}

// touches calls visit with each key the operation reads or writes.
func (o *Op) touches(keys []string, visit func(key int)) {
	switch o.Kind {
	case List:
		for i, k := range keys {
			if o.lists(k) {
				visit(i)
			}
		}
	case Batch:
		for i := range o.Ops {
			visit(o.Ops[i].Key)
		}
	case Copy:
		visit(o.From)
		visit(o.Key)
	default:
		visit(o.Key)
	}
}

// lists says whether a key belongs on the page or after it.
func (o *Op) lists(key string) bool { return strings.HasPrefix(key, o.Prefix) && key > o.After }

func (o *Op) describe(keys []string) string {
	var b strings.Builder
	b.WriteString(o.Kind.String())
	switch o.Kind {
	case List:
		fmt.Fprintf(&b, " prefix=%q after=%q limit=%d", o.Prefix, o.After, o.Limit)
		return b.String()
	case Batch:
		parts := make([]string, len(o.Ops))
		for i := range o.Ops {
			parts[i] = o.Ops[i].describe(keys)
		}
		return "BATCH[" + strings.Join(parts, "; ") + "]"
	case Copy:
		fmt.Fprintf(&b, " %s ->", keys[o.From])
	}
	b.WriteString(" " + keys[o.Key])
	if o.Kind == Put {
		fmt.Fprintf(&b, "=%d", o.Value)
	}
	switch o.When {
	case IfAbsent:
		b.WriteString(" if absent")
	case IfMatch:
		fmt.Fprintf(&b, " if %d", o.Match)
	}
	return b.String()
}

func (r *Result) describe(kind Kind, keys []string) string {
	if r.Outcome != Done {
		return r.Outcome.String()
	}
	switch kind {
	case Get, Head:
		return fmt.Sprint(r.Value)
	case List:
		parts := make([]string, len(r.Items))
		for i, it := range r.Items {
			parts[i] = fmt.Sprintf("%s=%d", keys[it.Key], it.Value)
		}
		if r.More {
			parts = append(parts, "...")
		}
		return "[" + strings.Join(parts, " ") + "]"
	case Batch:
		parts := make([]string, len(r.Results))
		for i := range r.Results {
			parts[i] = fmt.Sprintf("%v:%d", r.Results[i].Outcome, r.Results[i].Value)
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	return "done"
}

// single says whether an operation writes at most one key and reads no other.
func (o *Op) single() bool { return o.Kind == Put || o.Kind == Delete }

// wrote are the values that an operation would write.
func (o *Op) wrote() []Value {
	switch o.Kind {
	case Put:
		return []Value{o.Value}
	case Batch:
		var vs []Value
		for i := range o.Ops {
			vs = append(vs, o.Ops[i].wrote()...)
		}
		return vs
	}
	return nil
}

// saw are the values that an answered operation proves to have been in the store.
func (e *Entry) saw() []Value {
	r, o := &e.Result, &e.Op
	if r.Outcome != Done {
		return nil
	}
	switch o.Kind {
	case Get, Head:
		return []Value{r.Value}
	case Put, Delete:
		if o.When == IfMatch {
			return []Value{o.Match}
		}
	case List:
		vs := make([]Value, len(r.Items))
		for i, it := range r.Items {
			vs[i] = it.Value
		}
		return vs
	case Batch:
		var vs []Value
		for i := range o.Ops {
			if i < len(r.Results) {
				vs = append(vs, (&Entry{Op: o.Ops[i], Result: r.Results[i]}).saw()...)
			}
		}
		own := o.wrote()
		return slices.DeleteFunc(vs, func(v Value) bool { return slices.Contains(own, v) })
	}
	return nil
}

package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"minikv/internal/errs"
)

// Bounds, in bytes.
const (
	RequestMax = 1 << 20
	AnswerMax  = 16 << 20
	EventMax   = 1 << 20
	ChunkMax   = 256 << 10 // one piece of Bytes
)

// TimeoutDefault is the deadline of operations that name none.
const TimeoutDefault = 30 * time.Second

// JobMax is a deadline for jobs that go through everything there is.
const JobMax = 7 * 24 * time.Hour

// Kind of an operation.
type Kind int

const (
	Ask   Kind = iota // changes nothing and answers one value
	Do                // changes something and answers one value
	Job               // goes on for long: tells of its progress, then answers one value
	Bytes             // answers bytes, and changes nothing
)

// Place is where an operation runs.
type Place int

const (
	Leader Place = iota // on the coordinator that leads
	Here                // on the node that was asked
)

// Spec says what is known of an operation without its types.
type Spec struct {
	Name    string // topic/verb; the path below /admin/v1/
	Kind    Kind
	Place   Place
	Timeout time.Duration // 0: TimeoutDefault
}

// Repeatable says that doing it twice is doing it once.
func (s Spec) Repeatable() bool { return s.Kind == Ask }

// specs are all operations; only declare writes, while packages are initialized.
var specs = map[string]Spec{}

// Find finds an operation by its name.
func Find(name string) (Spec, bool) {
	s, ok := specs[name]
	return s, ok
}

// All are the operations in the order of their names.
func All() []Spec {
	all := make([]Spec, 0, len(specs))
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		all = append(all, specs[name])
	}
	return all
}

// Op is an operation that takes a Q and answers an A, both JSON.
type Op[Q, A any] struct{ Spec }

// None is a request or an answer that says nothing.
type None struct{}

func declare[Q, A any](s Spec) Op[Q, A] {
	if _, twice := specs[s.Name]; twice || s.Name == "" {
		panic(fmt.Sprintf("ops: %q is declared twice, or has no name", s.Name))
	}
	if s.Timeout == 0 {
		s.Timeout = TimeoutDefault
	}
	specs[s.Name] = s
	return Op[Q, A]{s}
}

// Sink takes what an operation gives before its answer. Calls come one at a time, from one goroutine.
type Sink interface {
	Event(event []byte) error // of a Job: one line of JSON
	Chunk(data []byte) error  // of Bytes; not kept
}

// Progress tells of a job; v is marshaled as JSON. Its error ends the job: no one listens any more. It may be called by one goroutine
// at a time.
type Progress func(v any) error

// Handler does an operation.
type Handler struct {
	Spec Spec
	run  func(ctx context.Context, request []byte, sink Sink) ([]byte, error)
}

// checked requests can say what is wrong with them.
type checked interface{ Check() error }

// Handle makes a Handler of a function. A request whose *Q has Check() error is checked before f sees it.
func (o Op[Q, A]) Handle(f func(ctx context.Context, q *Q, progress Progress) (*A, error)) Handler {
	return Handler{Spec: o.Spec, run: func(ctx context.Context, request []byte, sink Sink) ([]byte, error) {
		q := new(Q)
		if err := decode(o.Name, request, q); err != nil {
			return nil, err
		}
		a, err := f(ctx, q, func(v any) error { return event(o.Name, sink, v) })
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(a)
		if err == nil && len(b) > AnswerMax {
			err = errs.E(o.Name, errs.LimitExceeded, "an answer of %d bytes; at most %d are allowed", len(b), AnswerMax)
		}
		return b, err
	}}
}

// HandleBytes makes a Handler of a function that writes.
func (o Op[Q, A]) HandleBytes(f func(ctx context.Context, q *Q, w io.Writer) error) Handler {
	return Handler{Spec: o.Spec, run: func(ctx context.Context, request []byte, sink Sink) ([]byte, error) {
		q := new(Q)
		if err := decode(o.Name, request, q); err != nil {
			return nil, err
		}
		return nil, f(ctx, q, chunks{sink})
	}}
}

func decode(op string, request []byte, q any) error {
	if len(request) > RequestMax {
		return errs.E(op, errs.LimitExceeded, "a request of %d bytes; at most %d are allowed", len(request), RequestMax)
	}
	if len(bytes.TrimSpace(request)) > 0 {
		d := json.NewDecoder(bytes.NewReader(request))
		d.DisallowUnknownFields()
		if err := d.Decode(q); err != nil {
			return errs.E(op, errs.Invalid, "the request can't be read: %v", err)
		}
		if _, err := d.Token(); err != io.EOF {
			return errs.E(op, errs.Invalid, "the request is more than one JSON value")
		}
	}
	if c, ok := q.(checked); ok {
		return c.Check()
	}
	return nil
}

func event(op string, sink Sink, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if len(b) > EventMax {
		return errs.E(op, errs.LimitExceeded, "an event of %d bytes; at most %d are allowed", len(b), EventMax)
	}
	return sink.Event(b)
}

// chunks cuts what is written.
type chunks struct{ sink Sink }

func (c chunks) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m := min(len(p)-n, ChunkMax)
		if err := c.sink.Chunk(p[n : n+m]); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// Table holds the handlers of a node.
type Table map[string]Handler

// NewTable puts handlers together.
func NewTable(handlers ...Handler) Table {
	t := Table{}
	for _, h := range handlers {
		t[h.Spec.Name] = h
	}
	return t
}

// Run does an operation in this process, with its deadline. errs.Unsupported: this node does not know it.
func (t Table) Run(ctx context.Context, name string, request []byte, sink Sink) ([]byte, error) {
	h, ok := t[name]
	if !ok {
		return nil, errs.E(name, errs.Unsupported, "this node does not know the operation %q", name)
	}
	ctx, cancel := context.WithTimeout(ctx, h.Spec.Timeout)
	defer cancel()
	return h.run(ctx, request, sink)
}

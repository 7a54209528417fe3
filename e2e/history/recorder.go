package history

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Recorder runs operations against stores and keeps what was asked and answered. For concurrent use.
type Recorder struct {
	keys  []string
	etag  func(body []byte) string
	start time.Time

	mu      sync.Mutex // guards what follows
	entries []Entry
	bodies  map[Value][]byte
	etags   map[string]Value
	next    Value
}

// NewRecorder is for a bucket with these keys, of which none is there yet; at most KeysMax. etag tells the ETag that a store gives
// a body; nil: MD5.
func NewRecorder(keys []string, etag func(body []byte) string) *Recorder {
	if etag == nil {
		etag = MD5
	}
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return &Recorder{
		keys: keys, etag: etag, start: time.Now(), next: 1, bodies: map[Value][]byte{}, etags: map[string]Value{},
	}
}

// History is what was recorded so far; operations on their way are not in it.
func (r *Recorder) History() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &History{Keys: r.keys, Entries: slices.Clone(r.entries)}
}

// NewValue makes a value whose body has about size bytes.
func (r *Recorder) NewValue(size int) Value {
	r.mu.Lock()
	v := r.next
	r.next++
	r.mu.Unlock()
	body := Body(v, size)
	etag := r.etag(body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies[v], r.etags[etag] = body, v
	return v
}

// Do runs one operation as a client. A client whose last operation was Unknown must not be used again: its operation may still run.
func (r *Recorder) Do(ctx context.Context, client int, s Store, op Op) Result {
	call := time.Since(r.start)
	res := r.run(ctx, s, &op)
	e := Entry{Client: client, Op: op, Result: res, Call: int64(call), Return: int64(time.Since(r.start))}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return res
}

func (r *Recorder) run(ctx context.Context, s Store, op *Op) Result {
	switch op.Kind {
	case Get:
		o, err := s.Get(ctx, r.keys[op.Key])
		return r.read(&o, true, err)
	case Head:
		o, err := s.Head(ctx, r.keys[op.Key])
		return r.read(&o, false, err)
	case Put:
		body, cond := r.body(op.Value), r.condition(op)
		return Result{Outcome: outcomeOf(s.Put(ctx, r.keys[op.Key], body, cond))}
	case Delete:
		return Result{Outcome: outcomeOf(s.Delete(ctx, r.keys[op.Key], r.condition(op)))}
	case Copy:
		return Result{Outcome: outcomeOf(s.Copy(ctx, r.keys[op.From], r.keys[op.Key]))}
	case List:
		return r.list(ctx, s, op)
	}
	return r.batch(ctx, s, op)
}

func (r *Recorder) body(v Value) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bodies[v]
}

func (r *Recorder) condition(op *Op) Condition {
	c := Condition{When: op.When}
	if op.When == IfMatch {
		c.ETag = r.etag(r.body(op.Match))
	}
	return c
}

// read names the value by its bytes, which must agree with the ETag, or by the ETag alone.
func (r *Recorder) read(o *Object, body bool, err error) Result {
	if err != nil {
		return Result{Outcome: outcomeOf(err)}
	}
	v := r.named(o.ETag)
	if body && ParseBody(o.Body) != v {
		v = Foreign
	}
	return Result{Outcome: Done, Value: v}
}

func (r *Recorder) named(etag string) Value {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.etags[etag]; ok {
		return v
	}
	return Foreign
}

// list turns keys that nobody wrote into a key of value Foreign, which no state holds.
func (r *Recorder) list(ctx context.Context, s Store, op *Op) Result {
	page, err := s.List(ctx, op.Prefix, op.After, op.Limit)
	res := Result{Outcome: outcomeOf(err), More: page.More}
	for _, o := range page.Objects {
		k, found := slices.BinarySearch(r.keys, o.Key)
		if !found {
			res.Items = append(res.Items, Item{0, Foreign})
			continue
		}
		res.Items = append(res.Items, Item{k, r.named(o.ETag)})
	}
	return res
}

func (r *Recorder) batch(ctx context.Context, s Store, op *Op) Result {
	ops := make([]BatchOp, len(op.Ops))
	for i := range op.Ops {
		o := &op.Ops[i]
		ops[i] = BatchOp{Kind: o.Kind, Key: r.keys[o.Key], Cond: r.condition(o)}
		if o.Kind == Put {
			ops[i].Body = r.body(o.Value)
		}
	}
	answers, err := s.Batch(ctx, ops)
	res := Result{Outcome: outcomeOf(err)}
	for i := range answers {
		sub := Result{Outcome: Done}
		if i < len(ops) && ops[i].Kind == Get {
			sub = Result{Outcome: Absent}
			if answers[i].Found == Yes {
				sub = r.read(&answers[i].Object, answers[i].Object.Body != nil, nil)
			}
		}
		sub.Found = answers[i].Found
		res.Results = append(res.Results, sub)
	}
	return res
}

package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fault is a lie of a memory store.
type fault string

const (
	honest       fault = ""
	staleRead    fault = "stale read"    // reads sometimes give the version before
	lostUpdate   fault = "lost update"   // conditions are checked at one moment, writes happen at another
	tornBatch    fault = "torn batch"    // a batch is written key by key
	shortListing fault = "short listing" // a page sometimes lacks its last key
	twoMoments   fault = "page of two moments"
	twice        fault = "effect twice" // a lost write happens again, later
	tornBody     fault = "torn body"    // a body is sometimes half another's
	lostAck      fault = "acknowledged and lost"
)

// memory is a store in a map.
type memory struct {
	fault fault
	lose  int // of a hundred writes, how many lose their answer

	mu      sync.Mutex // guards what follows
	objects map[string][]byte
	before  map[string][]byte
	rng     *rand.Rand
	late    []func() // lost writes that have not happened yet
}

func newMemory(f fault, lose int, seed uint64) *memory {
	return &memory{fault: f, lose: lose, objects: map[string][]byte{}, before: map[string][]byte{}, rng: rand.New(rand.NewPCG(seed, 2))}
}

var errLost = errors.New("the connection broke")

// lie is true now and then.
func (m *memory) lie(f fault) bool { return m.fault == f && m.rng.IntN(20) == 0 }

// settle lets late writes happen now and then. The caller holds mu.
func (m *memory) settle() {
	if len(m.late) > 0 && m.rng.IntN(8) == 0 {
		m.late[0]()
		m.late = m.late[1:]
	}
}

// breathe lets others in. The caller holds mu.
func (m *memory) breathe() {
	m.mu.Unlock()
	for range 1 + rand.IntN(100) {
		runtime.Gosched()
	}
	m.mu.Lock()
}

func (m *memory) set(key string, body []byte) {
	m.before[key] = m.objects[key]
	if body == nil {
		delete(m.objects, key)
		return
	}
	m.objects[key] = body
}

func (m *memory) check(key string, c Condition) error {
	body, there := m.objects[key]
	switch {
	case c.When == IfAbsent && there:
		return ErrPrecondition
	case c.When == IfMatch && !there:
		return ErrAbsent
	case c.When == IfMatch && MD5(body) != c.ETag:
		return ErrPrecondition
	}
	return nil
}

// write does f, or loses its answer: then f happened, or will, or never does.
func (m *memory) write(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	m.breathe()
	if m.rng.IntN(100) >= m.lose {
		return f()
	}
	switch m.rng.IntN(3) {
	case 0:
		_ = f()
		if m.fault == twice {
			m.late = append(m.late, func() { _ = f() })
		}
	case 1:
		m.late = append(m.late, func() { _ = f() })
	}
	return errLost
}

func (m *memory) Get(_ context.Context, key string) (Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	m.breathe()
	body, there := m.objects[key]
	if m.lie(staleRead) {
		body, there = m.before[key], m.before[key] != nil
	}
	if !there {
		return Object{}, ErrAbsent
	}
	o := Object{Key: key, ETag: MD5(body), Body: body}
	if m.lie(tornBody) {
		o.Body = slices.Concat(body[:len(body)/2], bytes.Repeat([]byte{0}, len(body)-len(body)/2))
	}
	return o, nil
}

func (m *memory) Head(ctx context.Context, key string) (Object, error) {
	o, err := m.Get(ctx, key)
	o.Body = nil
	return o, err
}

func (m *memory) Put(_ context.Context, key string, body []byte, cond Condition) error {
	return m.write(func() error {
		if err := m.check(key, cond); err != nil {
			return err
		}
		if m.fault == lostUpdate {
			m.breathe()
		}
		if !m.lie(lostAck) {
			m.set(key, body)
		}
		return nil
	})
}

func (m *memory) Delete(_ context.Context, key string, cond Condition) error {
	return m.write(func() error {
		if err := m.check(key, cond); err != nil {
			return err
		}
		m.set(key, nil)
		return nil
	})
}

func (m *memory) Copy(_ context.Context, from, to string) error {
	return m.write(func() error {
		body, there := m.objects[from]
		if !there {
			return ErrAbsent
		}
		m.set(to, body)
		return nil
	})
}

func (m *memory) List(_ context.Context, prefix, after string, limit int) (Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	m.breathe()
	var keys []string
	for k := range m.objects {
		if strings.HasPrefix(k, prefix) && k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	p := Page{More: len(keys) > limit}
	for _, k := range keys[:min(limit, len(keys))] {
		if m.fault == twoMoments {
			m.breathe()
		}
		if body := m.objects[k]; body != nil {
			p.Objects = append(p.Objects, Object{Key: k, ETag: MD5(body)})
		}
	}
	if n := len(p.Objects); n > 0 && m.lie(shortListing) {
		p.Objects = p.Objects[:n-1]
	}
	return p, nil
}

func (m *memory) Batch(_ context.Context, ops []BatchOp) ([]BatchResult, error) {
	var answer []BatchResult
	answered := false
	err := m.write(func() error {
		old := map[string][]byte{}
		for k, v := range m.objects {
			old[k] = v
		}
		res := make([]BatchResult, len(ops))
		for i, o := range ops {
			if m.check(o.Key, o.Cond) != nil {
				m.objects = old
				return ErrPrecondition
			}
			body, there := m.objects[o.Key]
			res[i].Found = No
			if there {
				res[i] = BatchResult{Found: Yes, Object: Object{Key: o.Key, ETag: MD5(body), Body: body}}
			}
			if m.fault == tornBatch && i > 0 {
				m.breathe()
			}
			switch o.Kind {
			case Put:
				m.set(o.Key, o.Body)
			case Delete:
				m.set(o.Key, nil)
			}
		}
		if !answered { // else it happens late
			answer = res
		}
		return nil
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	answered = true
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// record runs a workload of several clients against a store.
func record(f fault, w Workload, clients, lose int) *History {
	var keys []string
	for i := range 4 {
		keys = append(keys, fmt.Sprintf("k/%d", i))
	}
	r := NewRecorder(keys, nil)
	w.Prefix = "k/"
	m := newMemory(f, lose, w.Seed)
	w.Run(context.Background(), r, slices.Repeat([]Store{m}, clients))
	w.Settle(context.Background(), r, m)
	return r.History()
}

// TestWorkload: an honest store passes, however many answers are lost; each lie is found.
func TestWorkload(t *testing.T) {
	for _, c := range []struct {
		fault   fault
		weights Weights
		lose    int
	}{
		{honest, Weights{}, 0}, {honest, Weights{}, 3}, {honest, PerKey, 0}, {honest, PerKey, 10},
		{staleRead, PerKey, 0}, {staleRead, Weights{}, 2}, {lostUpdate, PerKey, 0}, {tornBatch, Weights{}, 0}, {shortListing, Weights{}, 2},
		{twoMoments, Weights{}, 0}, {tornBody, PerKey, 0}, {lostAck, PerKey, 0}, {twice, PerKey, 4},
	} {
		name := string(c.fault)
		if c.fault == honest {
			name = "honest"
		}
		t.Run(fmt.Sprintf("%s, %d%% lost", name, c.lose), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) {
				h := record(c.fault, Workload{Seed: seed, Weights: c.weights, Ops: 200, Pause: 300 * time.Microsecond}, 5, c.lose)
				if n := h.Acknowledged(); n < 800 {
					t.Fatalf("only %d operations: %v", n, h.Stats())
				}
				start := time.Now()
				err := Check(h, 2*time.Minute)
				removeDrawing(t, err)
				if seed == 0 {
					t.Logf("%d operations, checked in %v: %v", len(h.Entries), time.Since(start).Round(time.Millisecond), err)
				}
				switch {
				case errors.Is(err, ErrIllegal) && c.fault != honest:
					return
				case err != nil:
					t.Fatalf("seed %d: %v", seed, err)
				case c.fault == honest && seed == 1:
					return
				}
			}
			t.Fatal("twenty histories did not show it")
		})
	}
}

func TestBodies(t *testing.T) {
	for _, size := range []int{0, BodyMin, 100, 5000} {
		b := Body(7, size)
		if v := ParseBody(b); v != 7 || len(b) != max(size, BodyMin) {
			t.Errorf("%d bytes: value %d", len(b), v)
		}
		for _, i := range []int{0, 6, 9, 20, len(b) / 2, len(b) - 1} {
			b[i] ^= 1
			if v := ParseBody(b); v != Foreign {
				t.Errorf("byte %d of %d changed: value %d", i, len(b), v)
			}
			b[i] ^= 1
		}
		if v := ParseBody(b[:len(b)-1]); v != Foreign {
			t.Errorf("cut short: value %d", v)
		}
	}
	if v := ParseBody(nil); v != Foreign {
		t.Errorf("nothing: value %d", v)
	}
}

package history

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

// silent answers no write.
type silent struct {
	Store
	writes *atomic.Int64
}

var errSilent = errors.New("no answer")

func (s silent) say() error { s.writes.Add(1); return errSilent }

func (s silent) Put(context.Context, string, []byte, Condition) error { return s.say() }
func (s silent) Delete(context.Context, string, Condition) error      { return s.say() }
func (s silent) Copy(context.Context, string, string) error           { return s.say() }
func (s silent) Batch(context.Context, []BatchOp) ([]BatchResult, error) {
	return nil, s.say()
}
func (s silent) Get(context.Context, string) (Object, error)  { return Object{}, ErrAbsent }
func (s silent) Head(context.Context, string) (Object, error) { return Object{}, ErrAbsent }
func (s silent) List(context.Context, string, string, int) (Page, error) {
	return Page{}, nil
}

// TestUnansweredWritesAreBounded: beyond, clients only read, so that a history can be checked.
func TestUnansweredWritesAreBounded(t *testing.T) {
	for _, most := range []int{0, 3} {
		var writes atomic.Int64
		r := NewRecorder([]string{"a", "b"}, nil)
		stores := []Store{silent{writes: &writes}, silent{writes: &writes}}
		Workload{Seed: 1, Ops: 100, UnknownMax: most}.Run(t.Context(), r, stores)
		if n := int(writes.Load()); most > 0 && n >= most+len(stores) || most == 0 && n < 50 {
			t.Errorf("%d writes were not answered, %d at most", n, most)
		}
	}
}

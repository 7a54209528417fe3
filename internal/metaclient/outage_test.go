package metaclient

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func readLayout(c *Client, t *testing.T) error {
	_, err := c.Read(t.Context(), &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	return err
}

// reading is a fake whose reads can fail too.
type reading struct {
	*fake
	down func() error
}

func (r *reading) Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	if err := r.down(); err != nil {
		return nil, err
	}
	return r.fake.Propose(ctx, c)
}

func (r *reading) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if err := r.down(); err != nil {
		return nil, err
	}
	return r.fake.Read(ctx, q)
}

// TestAFailoverIsAPause: requests that arrive while no one leads wait, and none fails, for as long as a failover may take.
func TestAFailoverIsAPause(t *testing.T) {
	for _, kind := range []errs.Kind{errs.NotLeader, errs.NotProposed, errs.Unavailable} {
		synctest.Test(t, func(t *testing.T) {
			var back atomic.Int64
			f := &reading{newFake(), func() error {
				if time.Now().UnixNano() < back.Load() {
					return errs.E("test", kind, "no leader")
				}
				return nil
			}}
			c := connect(t, f, Config{})
			defer c.Close()
			for range 3 { // each outage is a new one
				back.Store(time.Now().Add(5 * time.Second).UnixNano())
				began := time.Now()
				if _, err := c.Do(t.Context(), tags("k")); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < 5*time.Second || took > 5500*time.Millisecond {
					t.Fatalf("answered after %v", took)
				}
				back.Store(time.Now().Add(5 * time.Second).UnixNano())
				must(t, readLayout(c, t))
			}
		})
	}
}

// TestWithoutALeaderForLong: the first requests give up when it is certain, later ones at once, and all is well again when someone
// leads, even if no request came meanwhile.
func TestWithoutALeaderForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		f := &reading{newFake(), func() error {
			if down.Load() {
				return errs.E("test", errs.NotLeader, "no leader")
			}
			return nil
		}}
		c := connect(t, f, Config{})
		defer c.Close()
		timed := func(do func() error) (time.Duration, error) {
			began := time.Now()
			err := do()
			return time.Since(began), err
		}
		write := func() error { _, err := c.Do(t.Context(), tags("k")); return err }
		read := func() error { return readLayout(c, t) }
		down.Store(true)
		took, err := timed(read)
		if !errs.Is(err, errs.Unavailable) || took < 5*time.Second || took > 6*time.Second {
			t.Fatalf("%v after %v", err, took)
		}
		for range 10 {
			time.Sleep(10 * time.Second) // of the bubble
			for _, do := range []func() error{read, write} {
				took, err := timed(do)
				if err == nil || took > 300*time.Millisecond {
					t.Fatalf("%v after %v", err, took)
				}
			}
		}
		down.Store(false)
		for _, do := range []func() error{write, read} {
			if took, err := timed(do); err != nil || took > 300*time.Millisecond {
				t.Fatalf("%v after %v", err, took)
			}
		}
		// The end of an outage is seen without requests: the next one is a pause again.
		down.Store(true)
		_, _ = timed(read)
		down.Store(false)
		time.Sleep(time.Second)
		down.Store(true)
		time.AfterFunc(4*time.Second, func() { down.Store(false) })
		must(t, write())
	})
}

package volume

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/store"
)

var ctx = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(n byte) object.RunBase { return object.NewRunBase(0, [12]byte{n}) }

// leader answers from a map.
type leader struct {
	runs    map[object.RunBase]object.RunState
	horizon uint64
	err     error
	asked   chan struct{} // if not nil: told of every question
}

func (l *leader) RunStates(_ context.Context, bases []object.RunBase) (states []object.RunState, horizon uint64, err error) {
	if l.asked != nil {
		l.asked <- struct{}{}
	}
	for _, b := range bases {
		states = append(states, l.runs[b])
	}
	return states, l.horizon, l.err
}

func open(t *testing.T, fs vfs.FS) *Server {
	t.Helper()
	s, err := Open("/v", Config{Store: store.Options{FS: fs, Reserve: -1, Ballast: -1, Tidy: -1, Certify: -1, ScrubRate: -1, SmallSegment: 8 << 20, LargeSegment: 16 << 20}})
	must(t, err)
	return s
}

func prepare(t *testing.T, s *Server, id object.BlobID, epoch uint64) {
	t.Helper()
	_, err := s.Prepare(ctx, id, object.Epochs{Cluster: epoch}, [][]byte{id[:]})
	must(t, err)
}

func state(t *testing.T, s *Server, id object.BlobID) object.BlobState {
	t.Helper()
	info, err := s.Stat(id)
	if errs.Is(err, errs.BlobMissing) {
		return 0
	}
	must(t, err)
	return info.State
}

func TestCollector(t *testing.T) {
	alive := func(ranges ...object.CounterRange) object.RunState {
		return object.RunState{Life: object.RunAlive, Ranges: ranges}
	}
	l := &leader{horizon: 50, runs: map[object.RunBase]object.RunState{
		run(1): alive(object.CounterRange{First: 0, Count: 2}, object.CounterRange{First: 5, Count: 1}),
		run(2): {Life: object.RunDying, Ranges: []object.CounterRange{{First: 0, Count: 1}}},
	}}
	cases := []struct {
		name  string
		id    object.BlobID
		epoch uint64
		want  object.BlobState
	}{
		{"alive, hint lost", run(1).Blob(1), 10, object.BlobCommitted},
		{"alive, second range", run(1).Blob(5), 49, object.BlobCommitted},
		{"alive, hint lost, above the horizon but old", run(1).Blob(0), 60, object.BlobCommitted},
		{"skipped by its run", run(1).Blob(2), 10, 0},
		{"skipped by its run, above the horizon", run(1).Blob(3), 60, object.BlobPrepared},
		{"dying", run(2).Blob(0), 10, object.BlobPrepared},
		{"none", run(3).Blob(0), 49, 0},
		{"none, at the horizon", run(3).Blob(1), 50, object.BlobPrepared},
		{"none, new", run(3).Blob(2), 98, object.BlobPrepared},
	}
	mem := vfs.NewMem()
	s := open(t, mem)
	for _, c := range cases {
		prepare(t, s, c.id, c.epoch)
	}
	// While the leader does not answer nothing happens.
	l.err = errors.New("no leader")
	if _, err := s.Collect(ctx, l); err == nil {
		t.Fatal("the round succeeded without a leader")
	}
	for _, c := range cases {
		if got := state(t, s, c.id); got != object.BlobPrepared {
			t.Fatalf("%s: %v without an answer", c.name, got)
		}
	}
	l.err = nil
	got, err := s.Collect(ctx, l)
	must(t, err)
	if want := (Collected{Asked: 8, Dropped: 2, Relearned: 3}); got != want || s.Collected() != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	for _, c := range cases {
		if got := state(t, s, c.id); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if d := s.InDoubt(); d.Blobs != 4 || d.Oldest != 10 || d.At.IsZero() {
		t.Errorf("in doubt: %+v; want the 4 that are left, the oldest of epoch 10", d)
	}
	if _, err := s.Prepare(ctx, run(9).Blob(0), object.Epochs{Cluster: 49}, nil); !errs.Is(err, errs.StaleEpoch) {
		t.Fatalf("a prepare below the horizon: %v", err)
	}
	// What was dropped stays dropped, whatever a crash leaves.
	for _, surv := range vfs.Survivals {
		c := open(t, mem.CrashClone(surv))
		for _, x := range cases {
			if got := state(t, c, x.id); (got == 0) != (x.want == 0) {
				t.Errorf("%s: %v after a crash, want %v", x.name, got, x.want)
			}
		}
		must(t, c.Close())
	}
	must(t, s.Close())
}

// TestCollectorPages goes through more blobs than fit one question.
func TestCollectorPages(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer s.Close()
	const n = 2*pageBlobs + 5
	for i := range uint32(n) {
		prepare(t, s, run(byte(i%7)).Blob(i), 1)
	}
	got, err := s.Collect(ctx, &leader{horizon: 2, runs: map[object.RunBase]object.RunState{run(0): {Life: object.RunAlive, Ranges: []object.CounterRange{{First: 0, Count: n}}}}})
	must(t, err)
	if d := s.InDoubt(); d.Blobs != 0 || d.Oldest != 0 {
		t.Errorf("in doubt: %+v; want none", d)
	}
	prepare(t, s, run(1).Blob(n), 7)
	prepare(t, s, run(1).Blob(n+1), 8)
	if _, err := s.Collect(ctx, &leader{horizon: 2}); err != nil || s.InDoubt().Blobs != 2 || s.InDoubt().Oldest != 7 {
		t.Errorf("in doubt: %+v, %v; want 2 since epoch 7", s.InDoubt(), err)
	}
	if got.Asked != n || got.Relearned != (n+6)/7 || got.Dropped != n-(n+6)/7 {
		t.Fatalf("%+v", got)
	}
}

func TestCollectorLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, vfs.NewMem())
		prepare(t, s, run(1).Blob(0), 1)
		l := &leader{horizon: 2, asked: make(chan struct{}, 100)}
		s.Start(l)
		s.Start(l) // once is enough
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if len(l.asked) != 0 {
			t.Fatal("it asked too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.Collected(); got.Dropped != 1 {
			t.Fatalf("%+v", got)
		}
		must(t, s.Close())
		n := len(l.asked)
		time.Sleep(time.Hour)
		if len(l.asked) != n {
			t.Fatal("it asked after Close")
		}
	})
}

// TestSweepDropsLateCommits: a blob whose prepare and hint came after its run was deleted goes; committed blobs of living and dying runs
// and of epochs at the horizon stay.
func TestSweepDropsLateCommits(t *testing.T) {
	all := []object.CounterRange{{First: 0, Count: 9}}
	l := &leader{horizon: 50, runs: map[object.RunBase]object.RunState{
		run(1): {Life: object.RunAlive, Ranges: all}, run(2): {Life: object.RunDying, Ranges: all},
	}}
	s := open(t, vfs.NewMem())
	defer s.Close()
	for n, epoch := range map[byte]uint64{1: 10, 2: 10, 3: 10, 4: 50} {
		prepare(t, s, run(n).Blob(0), epoch)
		must(t, s.Commit(ctx, run(n).Blob(0)))
	}
	for range 3 { // sweeps begin again
		_, err := s.Collect(ctx, l)
		must(t, err)
		for n, want := range map[byte]object.BlobState{1: object.BlobCommitted, 2: object.BlobCommitted, 3: 0, 4: object.BlobCommitted} {
			if got := state(t, s, run(n).Blob(0)); got != want {
				t.Fatalf("run %d: %v, want %v", n, got, want)
			}
		}
	}
}

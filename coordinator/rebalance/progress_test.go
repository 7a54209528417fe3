package rebalance

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/meta"
	"minikv/proto/metapb"
)

// TestNothingIsDoneBeforeItIs: work that is due shows from the moment that it is asked for, and 100 % only when none is left; work
// that was done before does not count.
func TestNothingIsDoneBeforeItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, 3, 5)
		putMany(w, 200)
		m := New(w, w, Config{Up: always}) // w.up would take the lock that fetch is called under
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()
		defer func() { cancel(); <-done }()
		synctest.Wait() // it has looked, and there was nothing to do
		require.EqualValues(t, 100, m.ProgressOf(w.layout()).Percent)

		var looks atomic.Int64
		look := func() error {
			if p := m.ProgressOf(w.layout()); p.Percent >= 100 || p.Moving == 0 {
				t.Errorf("while a shard is copied: %+v", p)
			}
			looks.Add(1)
			return nil
		}
		for _, v := range w.volumes {
			v.fetch = look
		}
		w.set(&metapb.SetRebalance{Running: proto.Bool(true)})
		p := m.ProgressOf(w.layout())
		require.True(t, p.Planning)
		require.Positive(t, p.Planned)
		require.Zero(t, p.Percent)
		time.Sleep(time.Minute)
		require.Positive(t, looks.Load())
		p = m.ProgressOf(w.layout())
		require.False(t, p.Planning)
		require.EqualValues(t, 100, p.Percent)
		moved := p.Moved

		w.set(&metapb.SetRebalance{Running: proto.Bool(true)}) // there is nothing to do, and nobody has looked yet
		p = m.ProgressOf(w.layout())
		require.True(t, p.Planning)
		require.Zero(t, p.Percent)
		time.Sleep(time.Minute)
		require.EqualValues(t, 100, m.ProgressOf(w.layout()).Percent)

		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		p = m.ProgressOf(w.layout())
		require.True(t, p.Planning)
		require.Zero(t, p.Percent, "what moved before is other work")
		time.Sleep(time.Minute)
		p = m.ProgressOf(w.layout())
		require.EqualValues(t, 100, p.Percent)
		require.Greater(t, p.Moved, moved)
	})
}

// TestBlockedMoves are work that is left.
func TestBlockedMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8, 3, 3)
		putMany(w, 20)
		w.volumes[3].down = true
		w.state(3, meta.VolumeIn, meta.VolumeOut)
		m := lead(w, 5*time.Second)
		for _, p := range []Progress{m.Progress(), m.ProgressOf(w.layout())} {
			require.Equal(t, 8, p.Blocked)
			require.Zero(t, p.Planned+p.Moving)
			require.Zero(t, p.Percent)
			require.False(t, p.Planning)
		}
	})
}

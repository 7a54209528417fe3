package rpc

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/object"
)

// smallPair is a volume whose prepares wait for the gate, its client, and how many calls of each method have ended.
type smallPair struct {
	t    *testing.T
	v    *memVolume
	c    *VolumeClient
	gate chan struct{}

	mu    sync.Mutex
	calls map[string]int
}

func newSmallPair(t *testing.T) *smallPair {
	p := &smallPair{t: t, v: newMemVolume(), gate: make(chan struct{}), calls: map[string]int{}}
	p.v.before = func(ctx context.Context) error {
		select {
		case <-p.gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	addr := serve(t, ServerConfig{Security: node(t, nil, "v1", volume)}, func(s *Server) { RegisterVolumes(s, p.v.local()) })
	pool := newPool(t, node(t, nil, "g1", certs.AllRoles))
	pool.Observe = func(_, method string, _ time.Duration, _ error) {
		p.mu.Lock()
		p.calls[method]++
		p.mu.Unlock()
	}
	var err error
	p.c, err = NewVolumeClient(pool, addr, "", VolumeRef{Number: 1, Incarnation: "aa"})
	require.NoError(t, err)
	return p
}

func (p *smallPair) waiting(n int) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		p.c.small.mu.Lock()
		defer p.c.small.mu.Unlock()
		return len(p.c.small.queue) == n
	}, time.Minute, time.Millisecond)
}

// start prepares blobs number from to to-1 beside each other; end waits for all.
func (p *smallPair) start(from, to int, each func(i int, durable bool, err error)) (end func()) {
	var wg sync.WaitGroup
	for i := from; i < to; i++ {
		wg.Go(func() {
			durable, err := p.c.Prepare(context.Background(), blobID(byte(i)), object.Epochs{Cluster: uint64(i)}, cut(randomBytes(i*100)))
			each(i, durable, err)
		})
	}
	return wg.Wait
}

// TestSmallBlobsShareCalls: while two calls are on their way the others gather, and go together.
func TestSmallBlobsShareCalls(t *testing.T) {
	p := newSmallPair(t)
	good := func(i int, durable bool, err error) {
		if !durable || err != nil {
			t.Errorf("blob %d: %v, %v", i, durable, err)
		}
	}
	first := p.start(0, turnsMax, good)
	require.Eventually(t, func() bool { return p.v.calls.Load() == turnsMax }, time.Minute, time.Millisecond)
	rest := p.start(turnsMax, 40, good)
	p.waiting(40 - turnsMax)
	close(p.gate)
	first()
	rest()
	for i := range 40 {
		require.True(t, bytes.Equal(randomBytes(i*100), p.v.blobs[blobID(byte(i))]), "blob %d", i)
		require.Equal(t, uint64(i), p.v.infos[blobID(byte(i))].Epochs.Cluster)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	require.LessOrEqual(t, p.calls[methodPrepare]+p.calls[methodSmall], 2*turnsMax, "40 blobs: one call each, and what gathered meanwhile")
	require.Positive(t, p.calls[methodSmall])
	require.Zero(t, p.c.small.calls)
}

// TestASharedCallThatFails says nothing of its blobs: each is prepared alone and gets its own answer.
func TestASharedCallThatFails(t *testing.T) {
	p := newSmallPair(t)
	var mu sync.Mutex
	got := map[int]error{}
	note := func(i int, _ bool, err error) {
		mu.Lock()
		defer mu.Unlock()
		got[i] = err
	}
	first := p.start(0, turnsMax, note)
	require.Eventually(t, func() bool { return p.v.calls.Load() == turnsMax }, time.Minute, time.Millisecond)
	rest := p.start(turnsMax, 20, note)
	p.waiting(20 - turnsMax)
	p.v.mu.Lock()
	p.v.refuse = map[object.BlobID]error{blobID(7): errs.E("mem", errs.StaleShardEpoch, "old")}
	p.v.mu.Unlock()
	close(p.gate)
	first()
	rest()
	for i, err := range got {
		if i == 7 {
			require.Equal(t, errs.StaleShardEpoch, errs.KindOf(err))
			continue
		}
		require.NoError(t, err, "blob %d", i)
	}
	require.Len(t, got, 20)
}

// TestWaitingForASharedCallEnds with the context, and the caller's memory is its own again (R6); the others go on.
func TestWaitingForASharedCallEnds(t *testing.T) {
	p := newSmallPair(t)
	good := func(i int, _ bool, err error) {
		if err != nil {
			t.Errorf("blob %d: %v", i, err)
		}
	}
	first := p.start(0, turnsMax, good)
	require.Eventually(t, func() bool { return p.v.calls.Load() == turnsMax }, time.Minute, time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := p.c.Prepare(ctx, blobID(100), object.Epochs{}, [][]byte{randomBytes(10)})
		done <- err
	}()
	p.waiting(1)
	rest := p.start(turnsMax, 10, good)
	p.waiting(1 + 10 - turnsMax)
	cancel()
	require.Equal(t, errs.Canceled, errs.KindOf(<-done))
	p.waiting(10 - turnsMax)
	close(p.gate)
	first()
	rest()
	require.NotContains(t, p.v.blobs, blobID(100))
	require.Zero(t, p.c.small.calls)
}

// TestSharedCallsUnderCancellation: whatever ends when, every place is given back.
func TestSharedCallsUnderCancellation(t *testing.T) {
	p := newSmallPair(t)
	close(p.gate)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			data := randomBytes(2000)
			for i := range 50 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration((w*50+i)%17)*100*time.Microsecond)
				_, _ = p.c.Prepare(ctx, blobID(byte(w)), object.Epochs{}, [][]byte{data})
				data[0]++ // ours again
				cancel()
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { // the last call may end after those who shared it
		p.c.small.mu.Lock()
		defer p.c.small.mu.Unlock()
		return p.c.small.calls == 0 && len(p.c.small.queue) == 0
	}, time.Minute, time.Millisecond)
}

func FuzzFrames(f *testing.F) {
	two := make([]byte, 2*frameHeaderLen+5)
	b := smallBlob{h: frameHeader{id: blobID(1), total: 3}, data: [][]byte{{1, 2, 3}}}
	n := b.putTo(two)
	b = smallBlob{h: frameHeader{id: blobID(2), total: 2}, data: [][]byte{{4}, {5}}}
	b.putTo(two[n:])
	f.Add(two, 7)
	f.Add(two[:n], 1000)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		var in inFrames
		if in.unmarshal(buffersOf(b, max(n, 1))) != nil {
			return
		}
		var again []byte
		for _, w := range in.frames {
			var h [frameHeaderLen]byte
			w.put(h[:])
			again = append(append(again, h[:]...), w.data...)
		}
		in.free()
		if !bytes.Equal(again, b) {
			t.Fatalf("%x was read as %x", b, again)
		}
	})
}

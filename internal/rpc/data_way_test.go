package rpc

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/object"
)

// badWay is a way to a server on which data connections, and they alone, lose or change bytes, after the handshake.
type badWay struct {
	to   string
	mu   sync.Mutex // guards r
	r    *rand.Rand
	hits atomic.Int64 // spoiled
	wg   sync.WaitGroup
}

const handshakeBytes = 16 + 32 + 2 + 32 // of a client without a target, whose name has two letters

func (w *badWay) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		w.wg.Go(func() { w.carry(conn) })
	}
}

func (w *badWay) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	hello := make([]byte, 16)
	if _, err := io.ReadFull(near, hello); err != nil {
		return
	}
	if _, err := far.Write(hello); err != nil {
		return
	}
	out, in := spoiler{dst: far, at: -1}, spoiler{dst: near, at: -1}
	if hello[9] == 4 {
		w.mu.Lock()
		s := &out
		if w.r.IntN(2) == 0 {
			s = &in
		}
		*s = spoiler{dst: s.dst, skip: handshakeBytes, at: w.r.IntN(3 << 20), cut: w.r.IntN(2) == 0, hits: &w.hits}
		if w.r.IntN(3) == 0 {
			s.at = w.r.IntN(400) // within the first request or answer
		}
		w.mu.Unlock()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&in, far)
		near.Close()
		far.Close()
	}()
	_, _ = io.Copy(&out, near)
	near.Close()
	far.Close()
	<-done
}

// spoiler changes a bit of the byte at a place, or ends there.
type spoiler struct {
	dst  net.Conn
	skip int // bytes that are let through before
	at   int // after them; negative: never
	cut  bool
	seen int
	hits *atomic.Int64
}

func (s *spoiler) Write(b []byte) (int, error) {
	place := s.skip + s.at - s.seen
	s.seen += len(b)
	if s.at < 0 || place < 0 || place >= len(b) {
		return s.dst.Write(b)
	}
	s.hits.Add(1)
	if s.cut {
		n, _ := s.dst.Write(b[:place])
		return n, io.ErrShortWrite
	}
	b = bytes.Clone(b)
	b[place] ^= 1 << (s.at % 8)
	s.at += 1 + s.at%(1<<20) // and again
	return s.dst.Write(b)
}

// TestNothingSpoiledIsTakenForWhole (I1, I10): connections that end or change a bit anywhere. What is stored is what was sent, what is read is
// what was stored, and most calls succeed, since gRPC carries on.
func TestNothingSpoiledIsTakenForWhole(t *testing.T) {
	v := newMemVolume()
	way := &badWay{r: rand.New(rand.NewPCG(1, 2))}
	way.to = serve(t, ServerConfig{Security: node(t, nil, "v1", volume)}, func(s *Server) { RegisterVolumes(s, v.local()) })
	l := listen(t)
	way.wg.Go(func() { way.serve(l) })
	t.Cleanup(way.wg.Wait)
	t.Cleanup(func() { l.Close() })
	c, err := NewVolumeClient(newPool(t, node(t, nil, "g1", gateway)), l.Addr().String(), "", VolumeRef{})
	require.NoError(t, err)
	reach(t, c)
	ctx, failed := context.Background(), 0
	const rounds = 60
	for i := range rounds {
		d := c.peer.data
		d.mu.Lock()
		d.not = d.now() // ask again at once
		d.mu.Unlock()
		id := blobID(byte(i))
		data := randomBytes(smallMax + 1 + i*7919%(FrameMax))
		if _, err := c.Prepare(ctx, id, object.Epochs{}, cut(data)); err != nil {
			failed++
			continue
		}
		v.mu.Lock()
		require.True(t, bytes.Equal(data, v.blobs[id]), "%d: stored", i)
		v.mu.Unlock()
		dst := make([]byte, BlobMax)
		n, err := c.ReadAt(ctx, id, dst, 0)
		if err != nil {
			failed++
			continue
		}
		require.True(t, bytes.Equal(data, dst[:n]), "%d: read", i)
	}
	require.Greater(t, way.hits.Load(), int64(rounds/10))
	require.Less(t, failed, rounds/2)
	t.Log("spoiled:", way.hits.Load(), "calls failed:", failed)
}

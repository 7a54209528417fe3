package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/certs"
	"minikv/internal/object"
)

// helloGRPC is the hello of a client of gRPC that does not know the secret.
func helloGRPC() []byte {
	return append(append([]byte("mkvhello\x01\x01\x07\x01\x00\x00\x00\x00"), make([]byte, 32)...), 'x')
}

// settle begins HTTP/2 on a connection without knowing the secret, as far as a server lets it, and answers all pings from then on. It gives
// what ended the connection.
func settle(t *testing.T, ca *testCA, addr string) error {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if cfg := clientTLS(t, ca); cfg != nil {
		conn = tls.Client(conn, cfg)
	}
	if _, err = conn.Write(helloGRPC()); err != nil {
		return err
	}
	if _, err = io.ReadFull(conn, make([]byte, 80)); err != nil {
		return err
	}
	if _, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return err
	}
	for {
		var h [9]byte
		if _, err := io.ReadFull(conn, h[:]); err != nil {
			return err
		}
		b := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
		if ping := h[3] == 6 && h[4] == 0; ping {
			_, _ = conn.Write(append([]byte{0, 0, 8, 6, 1, 0, 0, 0, 0}, b...))
		}
	}
}

// TestStrangersDoNotStay (S5): who has shaken hands for gRPC and proves nothing by a call is sent away, though it answers pings; a peer
// that has proved the secret once stays. On a machine that stalls a peer may be sent away, too, before it could prove anything.
func TestStrangersDoNotStay(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		var err error
		for _, patience := range []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second} {
			if err = strangersLeave(t, ca, patience); err == nil {
				return
			}
			t.Logf("with a patience of %v: %v", patience, err)
		}
		require.NoError(t, err)
	})
}

// strangersLeave is an error if a stranger was not sent away in good order, or a peer was.
func strangersLeave(t *testing.T, ca *testCA, patience time.Duration) error {
	addr := serve(t, ServerConfig{Security: node(t, ca, "n1", certs.AllRoles), strangersFor: patience}, func(s *Server) {
		RegisterVolumes(s, newMemVolume().local())
	})
	var dialed cutter
	p := newPool(t, node(t, ca, "x", certs.AllRoles))
	dialed.wrap(p)
	c, err := NewVolumeClient(p, addr, "", VolumeRef{})
	require.NoError(t, err)
	ctx := context.Background()
	ask := func() error { _, err := c.Stats(ctx); return err }
	store := func() error {
		_, err := c.Prepare(ctx, blobID(1), object.Epochs{}, [][]byte{randomBytes(FrameMax)})
		return err
	}
	read := func() error { _, err := c.ReadAt(ctx, blobID(1), make([]byte, FrameMax), 0); return err }
	stranger := func() error {
		if err := settle(t, ca, addr); err != io.EOF {
			return fmt.Errorf("a stranger: %w", err)
		}
		return nil
	}
	// When both strangers have gone the peer has been there for longer.
	for _, step := range []func() error{ask, store, stranger, stranger, ask, read} {
		if err := step(); err != nil {
			return err
		}
	}
	dialed.mu.Lock()
	defer dialed.mu.Unlock()
	if n := len(dialed.conns); n != 2 {
		return fmt.Errorf("%d connections, not one for calls and one for blobs", n)
	}
	return nil
}

// TestStopWaitsForNoStranger: a connection on which nothing is said does not delay the end of a node.
func TestStopWaitsForNoStranger(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		s, err := NewServer(ServerConfig{Security: node(t, ca, "n1", certs.AllRoles)})
		require.NoError(t, err)
		l := listen(t)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		for _, says := range [][]byte{nil, []byte("mkv"), helloGRPC()} {
			conn, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write(says)
			require.NoError(t, err)
		}
		// A peer that gets an answer came after them.
		c, err := NewVolumeClient(newPool(t, node(t, ca, "x", certs.AllRoles)), l.Addr().String(), "", VolumeRef{})
		require.NoError(t, err)
		_, err = c.Stats(context.Background())
		require.Error(t, err)
		began := time.Now()
		require.NoError(t, s.Stop(context.Background()))
		require.Less(t, time.Since(began), stopGrace/2)
		require.NoError(t, <-served)
	})
}

// TestACrowdKeepsNobodyOut (S5): however many say nothing, a peer gets in, and of them there are never more than the bound.
func TestACrowdKeepsNobodyOut(t *testing.T) {
	const over = 88
	g := newGuarded(t, nil)
	ended := make(chan struct{}, strangersMax+over)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range strangersMax + over {
		conn, err := net.Dial("tcp", g.addr)
		require.NoError(t, err)
		defer conn.Close()
		wg.Go(func() {
			_, _ = conn.Read(make([]byte, 1))
			ended <- struct{}{}
		})
	}
	began := time.Now()
	c, err := NewVolumeClient(newPool(t, node(t, nil, "x", certs.AllRoles)), g.addr, "", VolumeRef{})
	require.NoError(t, err)
	reach(t, c)
	for range over {
		<-ended
	}
	require.Less(t, time.Since(began), strangersFor/2, "they were turned out, not too late")
}

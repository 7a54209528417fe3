package rpc

import (
	"context"
	"crypto/tls"
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
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if cfg := clientTLS(t, ca); cfg != nil {
		conn = tls.Client(conn, cfg)
	}
	_, err = conn.Write(helloGRPC())
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 80))
	require.NoError(t, err)
	_, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	require.NoError(t, err)
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
// that has proved the secret once stays.
func TestStrangersDoNotStay(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		const patience = 200 * time.Millisecond
		v := newMemVolume()
		addr := serve(t, ServerConfig{Security: node(t, ca, "n1", certs.AllRoles), strangersFor: patience}, func(s *Server) {
			RegisterVolumes(s, v.local())
		})
		var dialed cutter
		p := newPool(t, node(t, ca, "x", certs.AllRoles))
		dialed.wrap(p)
		c, err := NewVolumeClient(p, addr, "", VolumeRef{})
		require.NoError(t, err)
		reach(t, c)
		_, err = c.Prepare(context.Background(), blobID(1), object.Epochs{}, [][]byte{randomBytes(FrameMax)})
		require.NoError(t, err)

		require.ErrorIs(t, settle(t, ca, addr), io.EOF)
		require.ErrorIs(t, settle(t, ca, addr), io.EOF) // and by now the peer has been there for longer
		reach(t, c)
		_, err = c.ReadAt(context.Background(), blobID(1), make([]byte, FrameMax), 0)
		require.NoError(t, err)
		require.Len(t, dialed.conns, 2, "one for calls, one for blobs")
	})
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

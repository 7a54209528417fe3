package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/rpc/secure"
)

// dataOf is how many data connections a client has, and how many of them are free.
func dataOf(c *VolumeClient) (all, free int) {
	d := c.peer.data
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all), len(d.free)
}

// reach has gRPC connect, without which there are no data connections.
func reach(t *testing.T, c *VolumeClient) {
	t.Helper()
	c.peer.data.dialMax = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.Stats(ctx)
	require.NoError(t, err)
}

// TestLargeBlobsGoOverOneConnection: one after the other, also after calls that failed by the volume's word.
func TestLargeBlobsGoOverOneConnection(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		v, c := volumePair(t, ca)
		ctx := context.Background()
		reach(t, c)
		data := randomBytes(3*FrameMax + 17)
		v.refuse = map[object.BlobID]error{blobID(2): errs.E("test", errs.StorageFull, "full")}
		_, err := c.Prepare(ctx, blobID(2), object.Epochs{}, cut(data))
		require.True(t, errs.Is(err, errs.StorageFull), "%v", err)
		other := &VolumeClient{peer: c.peer, ref: VolumeRef{Number: 2}}
		_, err = other.Prepare(ctx, blobID(1), object.Epochs{}, cut(data)) // refused before its bytes were read
		require.True(t, errs.Is(err, errs.Unavailable), "%v", err)
		_, err = c.Prepare(ctx, blobID(1), object.Epochs{}, cut(data))
		require.NoError(t, err)
		_, err = c.ReadAt(ctx, blobID(3), make([]byte, FrameMax), 0)
		require.True(t, errs.Is(err, errs.BlobMissing), "%v", err)
		for _, off := range []int{0, 1, pieceMax - 1, pieceMax, len(data) - smallMax, len(data), len(data) + 1} {
			dst := make([]byte, FrameMax)
			n, err := c.ReadAt(ctx, blobID(1), dst, int64(off))
			require.NoError(t, err)
			want := data[min(off, len(data)):]
			require.True(t, bytes.Equal(want[:min(len(want), len(dst))], dst[:n]), "from %d", off)
		}
		all, free := dataOf(c)
		require.Equal(t, []int{1, 1}, []int{all, free})
	})
}

// TestTheBudgetOfDataComesBack is TestTheBudgetComesBack for data connections.
func TestTheBudgetOfDataComesBack(t *testing.T) {
	v := newMemVolume()
	vs := &volumeServer{volumes: []LocalVolume{v.local()}, budget: semaphore.NewWeighted(BlobMax)}
	addr := serve(t, ServerConfig{Security: node(t, nil, "v1", volume)}, func(s *Server) {
		s.grpc.RegisterService(&volumeDesc, vs)
		s.data.serve(vs)
	})
	c, err := NewVolumeClient(newPool(t, node(t, nil, "g1", gateway)), addr, "", VolumeRef{})
	require.NoError(t, err)
	reach(t, c)
	for i, fail := range []func(context.Context) error{
		func(context.Context) error { return errs.E("test", errs.StorageFull, "full") },
		func(context.Context) error { panic("on purpose") },
		func(context.Context) error { return nil },
	} {
		v.mu.Lock() // the race detector does not see that what writev sends is read
		v.before = fail
		v.mu.Unlock()
		_, err := c.Prepare(context.Background(), blobID(1), object.Epochs{}, [][]byte{randomBytes(BlobMax)})
		require.Equal(t, i == 2, err == nil, "%v", err)
		require.True(t, vs.budget.TryAcquire(BlobMax))
		vs.budget.Release(BlobMax)
	}
	all, _ := dataOf(c)
	require.Equal(t, 1, all)
}

// TestAPeerThatWasStartedAnew: connections of before are no news of the peer of now.
func TestAPeerThatWasStartedAnew(t *testing.T) {
	v := newMemVolume()
	l := listen(t)
	addr := l.Addr().String()
	begin := func(l net.Listener) (stop func()) {
		s, err := NewServer(ServerConfig{Security: node(t, nil, "v1", volume)})
		require.NoError(t, err)
		RegisterVolumes(s, v.local())
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		return func() {
			require.NoError(t, s.Stop(context.Background()))
			require.NoError(t, <-served)
		}
	}
	stop := begin(l)
	c, err := NewVolumeClient(newPool(t, node(t, nil, "g1", gateway)), addr, "", VolumeRef{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	data := [][]byte{randomBytes(FrameMax)}
	reach(t, c)
	_, err = c.Prepare(ctx, blobID(1), object.Epochs{}, data)
	require.NoError(t, err)
	all, _ := dataOf(c)
	require.Equal(t, 1, all)
	stop()
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skip("somebody took the port meanwhile: ", err)
	}
	defer begin(l)()
	require.Eventually(t, func() bool { // gRPC connects again in its own time
		_, err = c.Stats(ctx)
		return err == nil
	}, time.Minute, 5*time.Millisecond)
	for i := range 3 {
		_, err = c.Prepare(ctx, blobID(byte(i)), object.Epochs{}, data)
		require.NoError(t, err)
	}
}

// rawData is a data connection as the pool of a node makes it.
func rawData(t *testing.T, cfg *secure.Config, addr string) (net.Conn, error) {
	t.Helper()
	c, err := newPool(t, cfg).connectData(context.Background(), addr, secure.Expect{})
	if err == nil {
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
	}
	return c, err
}

// TestDataConnectionsAreGuarded: as methods are (R1).
func TestDataConnectionsAreGuarded(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		g := newGuarded(t, ca)
		right := node(t, ca, "x", certs.AllRoles)
		wrong := map[string]*secure.Config{"another secret": {Self: right.Self, TLS: right.TLS, Secret: secretOf(t, "another secret, long enough")}}
		if ca != nil {
			wrong["another CA"] = &secure.Config{Self: right.Self, TLS: newTestCA(t).source(t, right.Self, ca), Secret: right.Secret}
			wrong["no TLS"] = &secure.Config{Self: right.Self, Secret: right.Secret}
		}
		for name, cfg := range wrong {
			_, err := rawData(t, cfg, g.addr)
			require.Error(t, err, name)
		}
		// One that goes on without a proof, whatever the answer is, with and without the protocol's name in TLS.
		conn, err := net.Dial("tcp", g.addr)
		require.NoError(t, err)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		var out net.Conn = conn
		if ca != nil {
			out, err = rawTLS(t, ca, conn)
			require.NoError(t, err)
		}
		hello := append([]byte("mkvhello\x01\x04\x07\x01\x00\x00\x00\x00"), make([]byte, 32)...)
		_, _ = out.Write(append(hello, 'x'))
		_, _ = out.Write(make([]byte, 32)) // no proof
		var b [dataRequestLen]byte
		q := dataRequest{what: dataRead, millis: 1000, length: 1, id: blobID(1)}
		q.put(b[:])
		_, _ = out.Write(b[:])
		answer, _ := io.ReadAll(out)
		require.LessOrEqual(t, len(answer), 81, "the hello and a verdict, no answer")
		require.Zero(t, g.ran())
	})
}

// rawTLS is TLS with a good certificate that asks for the protocol of data.
func rawTLS(t *testing.T, ca *testCA, conn net.Conn) (net.Conn, error) {
	t.Helper()
	cfg := clientTLS(t, ca)
	cfg.NextProtos = []string{"minikv-blobs"}
	c := tls.Client(conn, cfg)
	return c, c.HandshakeContext(context.Background())
}

// TestBrokenDataIsRefused: what was changed on the way, or makes no sense, is not stored.
func TestBrokenDataIsRefused(t *testing.T) {
	g := newGuarded(t, nil)
	data := randomBytes(1000)
	good := func() []byte {
		b := make([]byte, dataRequestLen+pieceHeaderLen)
		q := dataRequest{what: dataPrepare, millis: 60_000, length: 1000, id: blobID(1)}
		q.put(b)
		headerOf(q.id, 0, data).put(b[dataRequestLen:])
		return append(b, data...)
	}
	for name, breaks := range map[string]func([]byte){
		"a bit of the request": func(b []byte) { b[20] ^= 1 },
		"a newer version":      func(b []byte) { b[0] = 2 },
		"a bit of the data":    func(b []byte) { b[len(b)-1] ^= 1 },
		"a bit of the sum":     func(b []byte) { b[dataRequestLen+4] ^= 1 },
		"a longer piece":       func(b []byte) { b[dataRequestLen]++ },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := rawData(t, node(t, nil, "g1", gateway), g.addr)
			require.NoError(t, err)
			b := good()
			breaks(b)
			_, _ = c.Write(b)
			var scratch [dataAnswerLen]byte
			_, err = readAnswer(c, &scratch)
			require.Error(t, err)
			require.Zero(t, g.ran())
		})
	}
	c, err := rawData(t, node(t, nil, "g1", gateway), g.addr)
	require.NoError(t, err)
	_, err = c.Write(good())
	require.NoError(t, err)
	var scratch [dataAnswerLen]byte
	durable, err := readAnswer(c, &scratch)
	require.NoError(t, err)
	require.True(t, durable)
	require.Equal(t, data, g.vol.blobs[blobID(1)])
}

// TestAnswersTravel: a failure of any length arrives as a status.
func TestAnswersTravel(t *testing.T) {
	server, client := tcpPair(t)
	defer server.Close()
	defer client.Close()
	var scratch [dataAnswerLen]byte
	for _, message := range []string{"", "why", string(bytes.Repeat([]byte("long "), failureMax))} {
		_, err := server.Write(appendAnswer(nil, true, status.Error(codes.Aborted, message)))
		require.NoError(t, err)
		_, err = readAnswer(client, &scratch)
		require.Equal(t, codes.Aborted, status.Code(err))
	}
	_, err := server.Write(appendAnswer(nil, true, nil))
	require.NoError(t, err)
	durable, err := readAnswer(client, &scratch)
	require.NoError(t, err)
	require.True(t, durable)
}

func FuzzDataRequest(f *testing.F) {
	var b [dataRequestLen]byte
	q := dataRequest{what: dataPrepare, millis: 7, ref: VolumeRef{3, "0123456789abcdef0123456789abcdef"}, length: BlobMax, id: blobID(9), epochs: object.Epochs{Cluster: 1, Shard: 2}}
	q.put(b[:])
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseDataRequest(b)
		if err != nil {
			if len(b) == dataRequestLen { // once more with a good checksum
				b = bytes.Clone(b)
				le := checksum(b[:92])
				b[92], b[93], b[94], b[95] = byte(le), byte(le>>8), byte(le>>16), byte(le>>24)
				q, err = parseDataRequest(b)
			}
			if err != nil {
				return
			}
		}
		var again [dataRequestLen]byte
		q.put(again[:])
		if !bytes.Equal(b, again[:]) {
			t.Fatalf("%x\n%x", b, again)
		}
	})
}

// TestDataConnectionsEndWithGRPCs, whose pings tell that a silent peer is gone: what is free at once, what is in use after a while, and what
// was on its way is not used.
func TestDataConnectionsEndWithGRPCs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost chan struct{}
		up := true
		var dialing func()
		d := &dataConns{
			connect: func(context.Context) (net.Conn, error) {
				if dialing != nil {
					dialing()
				}
				near, far := net.Pipe()
				t.Cleanup(func() { _ = far.Close() })
				return near, nil
			},
			now: time.Now,
			ready: func() bool {
				lost = make(chan struct{})
				return up
			},
			await: func() { <-lost },
		}
		closed := func(c *dataConn) bool {
			_ = c.SetReadDeadline(time.Now())
			_, err := c.Read(make([]byte, 1))
			return errors.Is(err, io.ErrClosedPipe)
		}
		get := func() *dataConn {
			c, ok := d.get(t.Context())
			require.True(t, ok)
			return c
		}
		free, used, answered := get(), get(), get()
		d.put(free)
		close(lost)
		synctest.Wait()
		require.True(t, closed(free))
		require.False(t, closed(used))
		d.put(answered)
		require.True(t, closed(answered), "put back too late")
		up = false
		_, ok := d.get(t.Context())
		require.False(t, ok, "gRPC has no connection")
		up = true
		next := get()
		time.Sleep(dataDrain)
		synctest.Wait()
		require.True(t, closed(used))
		require.False(t, closed(next))

		dialing = func() {
			close(lost)
			synctest.Wait()
		}
		_, ok = d.get(t.Context())
		require.False(t, ok, "the peer was lost meanwhile")
		d.close()
		require.True(t, closed(next))
		require.Empty(t, d.all)
	})
}

// TestAnIdleDataConnectionIsClosed, though gRPC ends its deadline of the handshake after it has handed the connection over.
func TestAnIdleDataConnectionIsClosed(t *testing.T) {
	v := newMemVolume()
	vs := &volumeServer{volumes: []LocalVolume{v.local()}, budget: semaphore.NewWeighted(BlobMax)}
	addr := serve(t, ServerConfig{Security: node(t, nil, "v1", volume)}, func(s *Server) {
		s.data.idle = time.Millisecond
		s.data.serve(vs)
	})
	for range 50 {
		c, err := rawData(t, node(t, nil, "g1", gateway), addr)
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err)
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
	}
}

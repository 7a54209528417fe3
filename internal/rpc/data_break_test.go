package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/rpc/secure"
)

// TestAFrozenPeerHoldsNoLock: closing a connection to a peer that reads nothing takes no time, with TLS either, which would say goodbye.
func TestAFrozenPeerHoldsNoLock(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		synctest.Test(t, func(t *testing.T) {
			if ca != nil {
				ca = newTestCA(t) // of the time of the bubble
			}
			near, far := net.Pipe() // a buffer that is full
			defer near.Close()
			defer far.Close()
			frozen, p := node(t, ca, "v1", volume), newPool(t, node(t, ca, "g1", gateway))
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { _, _, _ = frozen.Server(context.Background(), far, secure.Data, secure.Accept{}) })
			p.dial = func(context.Context, string) (net.Conn, error) { return near, nil }
			gone := make(chan struct{})
			defer close(gone)
			d := &dataConns{
				connect: func(ctx context.Context) (net.Conn, error) { return p.connectData(ctx, "", secure.Expect{}) },
				ready:   func() bool { return true },
				await:   func() { <-gone },
				now:     time.Now,
			}
			c, ok := d.get(context.Background())
			require.True(t, ok)
			began := time.Now()
			d.lose(c, false)
			require.Zero(t, time.Since(began))
		})
	})
}

// counted counts the connections that a pool makes.
func counted(p *Pool) func() int {
	var mu sync.Mutex
	n, dial := 0, p.dial
	p.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		mu.Lock()
		n++
		mu.Unlock()
		return dial(ctx, addr)
	}
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// TestAPeerThatTakesNoMore data connections, since it has too many of them, is called by gRPC: no call fails, none tells that the peer is
// dead, and it is not asked again for each.
func TestAPeerThatTakesNoMore(t *testing.T) {
	v := newMemVolume()
	vs := &volumeServer{volumes: []LocalVolume{v.local()}, budget: semaphore.NewWeighted(receiveBudget)}
	addr := serve(t, ServerConfig{Security: node(t, nil, "v1", volume)}, func(s *Server) { s.grpc.RegisterService(&volumeDesc, vs) })
	p := newPool(t, node(t, nil, "g1", gateway))
	dials := counted(p)
	c, err := NewVolumeClient(p, addr, "", VolumeRef{})
	require.NoError(t, err)
	at := time.Now()
	c.peer.data.now = func() time.Time { return at }
	reach(t, c)
	for range 10 {
		_, err := c.Prepare(context.Background(), blobID(1), object.Epochs{}, [][]byte{randomBytes(FrameMax)})
		require.NoError(t, err)
		c.peer.circuit.mu.Lock()
		require.Zero(t, c.peer.circuit.failures)
		c.peer.circuit.mu.Unlock()
	}
	require.Equal(t, 2, dials(), "one for calls, one that was refused")
}

// TestAPeerOfBefore, which hangs up on hellos of data connections and logs each, is asked ever more rarely, until it is another one; of calls
// at the same time one asks.
func TestAPeerOfBefore(t *testing.T) {
	at := time.Now()
	var asked atomic.Int64
	up, lost := make(chan struct{}), make(chan struct{})
	d := &dataConns{
		connect: func(context.Context) (net.Conn, error) {
			if asked.Add(1) == 1 {
				<-up
			}
			return nil, errs.E("test", errs.Unavailable, "EOF")
		},
		ready: func() bool { return true },
		await: func() { <-lost },
		now:   func() time.Time { return at },
	}
	first := make(chan bool, 1)
	go func() {
		_, ok := d.get(context.Background())
		first <- ok
	}()
	require.Eventually(t, func() bool { return asked.Load() == 1 }, time.Minute, time.Millisecond)
	_, ok := d.get(context.Background())
	require.False(t, ok)
	require.EqualValues(t, 1, asked.Load(), "another call is asking")
	close(up)
	require.False(t, <-first)
	for range 3600 {
		at = at.Add(time.Second)
		_, ok := d.get(context.Background())
		require.False(t, ok)
	}
	require.InDelta(t, 15, asked.Load(), 2, "in an hour")

	before := asked.Load()
	close(lost)
	d.watches.Wait()
	lost = make(chan struct{})
	defer close(lost)
	_, ok = d.get(context.Background())
	require.False(t, ok)
	require.Equal(t, before+1, asked.Load(), "a peer that was started anew is asked at once")
}

// TestAFrozenSenderHoldsNoBudget for as long as its calls may take: the room is for those who send.
func TestAFrozenSenderHoldsNoBudget(t *testing.T) {
	v := newMemVolume()
	vs := &volumeServer{volumes: []LocalVolume{v.local()}, budget: semaphore.NewWeighted(BlobMax)}
	addr := serve(t, ServerConfig{Security: node(t, nil, "v1", volume)}, func(s *Server) {
		s.data.progress = 100 * time.Millisecond
		s.data.serve(vs)
		s.grpc.RegisterService(&volumeDesc, vs)
	})
	frozen, err := rawData(t, node(t, nil, "g1", gateway), addr)
	require.NoError(t, err)
	b := make([]byte, dataRequestLen+pieceHeaderLen+1000)
	q := dataRequest{what: dataPrepare, millis: 600_000, length: BlobMax, id: blobID(1)}
	q.put(b)
	pieceHeader{pieceMax, 0}.put(b[dataRequestLen:])
	_, err = frozen.Write(b)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		_, _ = frozen.Read(make([]byte, 1))
		close(ended)
	}()
	require.Eventually(t, func() bool {
		select {
		case <-ended: // on a busy machine it may have had the budget meanwhile
			return true
		default:
		}
		if vs.budget.TryAcquire(1) {
			vs.budget.Release(1)
			return false
		}
		return true
	}, time.Minute, time.Millisecond, "it has the budget")
	c, err := NewVolumeClient(newPool(t, node(t, nil, "g2", gateway)), addr, "", VolumeRef{})
	require.NoError(t, err)
	reach(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = c.Prepare(ctx, blobID(2), object.Epochs{}, [][]byte{randomBytes(BlobMax)})
	require.NoError(t, err)
	<-ended
	require.Zero(t, len(v.blobs[blobID(1)]))
}

// TestNoBitOfAnAnswerMayChange: not that what was refused is stored, nor that what is stored is durable.
func TestNoBitOfAnAnswerMayChange(t *testing.T) {
	for _, answer := range [][]byte{
		appendAnswer(nil, false, nil), appendAnswer(nil, true, nil),
		appendAnswer(nil, false, encode(errs.E("test", errs.StorageFull, "full"), "")),
	} {
		for i := range len(answer) * 8 {
			b := append([]byte(nil), answer...)
			b[i/8] ^= 1 << (i % 8)
			var scratch [dataAnswerLen]byte
			durable, err := readAnswer(heard{in: bytes.NewReader(b)}, &scratch)
			require.False(t, durable, "bit %d", i)
			require.Error(t, err, "bit %d", i)
			r, _ := decode(context.Background(), methodPrepare, "", err)
			require.False(t, r.ran, "bit %d", i)
		}
	}
}

// readsFrom is what a client takes of an answer to a read of n bytes of a blob from off on.
func readsFrom(b []byte, id object.BlobID, off uint64, n int) ([]byte, error) {
	k := &dataCall{call: &call{method: methodReadAt}, d: &dataConn{Conn: heard{in: bytes.NewReader(b)}}}
	dst := make([]byte, n)
	got, err := k.receive(id, off, dst)
	return dst[:got], err
}

// TestABodyIsOfItsBlob: pieces of another blob, from elsewhere in it, or an end too soon are no answer (I10), whatever led to them.
func TestABodyIsOfItsBlob(t *testing.T) {
	id, data := blobID(1), randomBytes(2*pieceMax)
	piece := func(id object.BlobID, off uint64, b []byte) []byte {
		out := make([]byte, pieceHeaderLen)
		headerOf(id, off, b).put(out)
		return append(out, b...)
	}
	answer := func(pieces ...[]byte) []byte {
		var out []byte
		for _, p := range pieces {
			out = append(out, p...)
		}
		return appendAnswer(out, false, nil)
	}
	first, second := data[:pieceMax], data[pieceMax:]
	end := piece(id, 2*pieceMax, nil)
	got, err := readsFrom(answer(piece(id, 0, first), piece(id, pieceMax, second), end), id, 0, len(data))
	require.NoError(t, err)
	require.Equal(t, data, got)
	for name, b := range map[string][]byte{
		"another blob":    answer(piece(blobID(2), 0, first), piece(blobID(2), pieceMax, second), piece(blobID(2), 2*pieceMax, nil)),
		"turned round":    answer(piece(id, pieceMax, second), piece(id, 0, first), end),
		"twice":           answer(piece(id, 0, first), piece(id, 0, first), end),
		"one is missing":  answer(piece(id, 0, first), end),
		"another's end":   answer(piece(id, 0, first), piece(blobID(2), pieceMax, nil)),
		"no end":          append(piece(id, 0, first), piece(id, pieceMax, second)...),
		"the end is cut":  answer(piece(id, 0, first), piece(id, pieceMax, second), end)[:2*(pieceMax+pieceHeaderLen)+pieceHeaderLen+3],
		"another request": answer(piece(id, pieceMax, second), end),
	} {
		_, err := readsFrom(b, id, 0, len(data))
		require.Error(t, err, name)
	}
	binary.LittleEndian.PutUint32(end, 1)
	_, err = readsFrom(answer(piece(id, 0, first), piece(id, pieceMax, second), end), id, 0, 3*pieceMax)
	require.Error(t, err)
}

// TestEveryDataRequestIsGuarded is TestEveryMethodIsGuarded for all that a data connection may ask: by whoever has not the role, nothing runs.
func TestEveryDataRequestIsGuarded(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		g := newGuarded(t, ca)
		ask := func(what byte, roles certs.Roles) (errs.Kind, int64) {
			before := g.ran()
			c, err := rawData(t, node(t, ca, "x", roles), g.addr)
			require.NoError(t, err)
			defer c.Close()
			b := make([]byte, dataRequestLen)
			q := dataRequest{what: what, millis: 60_000, length: 1, id: blobID(1)}
			q.put(b)
			if what == dataPrepare {
				b = append(b, make([]byte, pieceHeaderLen+1)...)
				headerOf(q.id, 0, []byte{0}).put(b[dataRequestLen:])
			}
			_, err = c.Write(b)
			require.NoError(t, err)
			k := &dataCall{call: &call{method: methodReadAt, ctx: context.Background()}, d: &dataConn{Conn: c}}
			if what == dataRead {
				_, err = k.receive(q.id, 0, make([]byte, 1))
			} else {
				var scratch [dataAnswerLen]byte
				_, err = readAnswer(c, &scratch)
			}
			_, err = decode(context.Background(), methodReadAt, "", err)
			return errs.KindOf(err), g.ran() - before
		}
		asked := 0
		for what := range 256 {
			method, known := dataMethods[byte(what)]
			if !known {
				if what < 8 || what > 250 {
					kind, ran := ask(byte(what), certs.AllRoles)
					require.Equal(t, errs.Unsupported, kind, what)
					require.Zero(t, ran)
				}
				continue
			}
			asked++
			_, ran := ask(byte(what), certs.AllRoles)
			require.EqualValues(t, 1, ran, method)
			was, ok := rules[method]
			require.True(t, ok, "%s has no rule", method)
			defer func() { rules[method] = was }()
			for _, role := range []certs.Role{certs.Gateway, certs.Coordinator, certs.Volume} {
				is := was
				is.roles &^= certs.RolesOf(role)
				rules[method] = is
				kind, ran := ask(byte(what), certs.RolesOf(role))
				require.Equal(t, errs.AccessDenied, kind, method)
				require.Zero(t, ran, method)
			}
			rules[method] = was
		}
		require.Equal(t, len(dataMethods), asked)
	})
}

// TestDataForAnIncarnationThatIsGone is refused, whatever the number says.
func TestDataForAnIncarnationThatIsGone(t *testing.T) {
	v, c := volumePair(t, nil)
	reach(t, c)
	old := &VolumeClient{peer: c.peer, ref: VolumeRef{Number: 1, Incarnation: "bb"}}
	_, err := old.Prepare(context.Background(), blobID(1), object.Epochs{}, [][]byte{randomBytes(FrameMax)})
	require.True(t, errs.Is(err, errs.Unavailable), "%v", err)
	_, err = old.ReadAt(context.Background(), blobID(1), make([]byte, FrameMax), 0)
	require.True(t, errs.Is(err, errs.Unavailable), "%v", err)
	all, _ := dataOf(c)
	require.Equal(t, 1, all, "they went over it")
	require.EqualValues(t, 1, v.calls.Load(), "the one that tells how it is")
}

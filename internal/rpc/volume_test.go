package rpc

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/object"
)

func bothWays(t *testing.T, run func(t *testing.T, ca *testCA)) {
	t.Run("plaintext", func(t *testing.T) { run(t, nil) })
	t.Run("tls", func(t *testing.T) { run(t, newTestCA(t)) })
}

// volumePair is a volume in memory and its client over a real socket.
func volumePair(t testing.TB, ca *testCA) (*memVolume, *VolumeClient) {
	t.Helper()
	v := newMemVolume()
	addr := serve(t, ServerConfig{Security: node(t, ca, "v1", volume)}, func(s *Server) { RegisterVolumes(s, v.local()) })
	p := newPool(t, node(t, ca, "g1", certs.AllRoles))
	c, err := NewVolumeClient(p, addr, "", VolumeRef{Number: 1, Incarnation: "aa"})
	require.NoError(t, err)
	return v, c
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

// cut splits b in pieces of odd lengths, empty ones among them.
func cut(b []byte) [][]byte {
	out := [][]byte{nil}
	for n := 1; len(b) > 0; n = n*3 + 1 {
		k := min(n, len(b))
		out = append(out, b[:k], nil)
		b = b[k:]
	}
	return out
}

func TestBlobsTravel(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		v, c := volumePair(t, ca)
		ctx := context.Background()
		for i, size := range []int{0, 1, 63, 64 << 10, FrameMax - 1, FrameMax, FrameMax + 1, 3*FrameMax + 17, BlobMax} {
			id, ep := blobID(byte(i)), object.Epochs{Cluster: uint64(i), Shard: 1 << 40}
			data := randomBytes(size)
			durable, err := c.Prepare(ctx, id, ep, cut(data))
			require.NoError(t, err)
			require.True(t, durable)
			require.True(t, bytes.Equal(data, v.blobs[id]), "size %d", size)
			in, err := c.Stat(ctx, id)
			require.NoError(t, err)
			require.Equal(t, object.BlobInfo{ID: id, Length: int64(size), State: object.BlobPrepared, Epochs: ep}, in)

			dst := make([]byte, size+10)
			n, err := c.ReadAt(ctx, id, dst, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, dst[:n]), "size %d", size)
			if size > 1000 {
				off := size/2 - 333
				n, err := c.ReadAt(ctx, id, dst[:777], int64(off))
				require.NoError(t, err)
				require.True(t, bytes.Equal(data[off:off+min(777, size-off)], dst[:n]))
			}
		}
		_, err := c.Prepare(ctx, blobID(99), object.Epochs{}, [][]byte{make([]byte, BlobMax+1)})
		require.True(t, errs.Is(err, errs.EntityTooLarge), "%v", err)
	})
}

func TestSmallCallsOfVolumes(t *testing.T) {
	v, c := volumePair(t, nil)
	ctx := context.Background()
	id := blobID(1)
	_, err := c.Prepare(ctx, id, object.Epochs{Cluster: 5}, [][]byte{{1, 2, 3}})
	require.NoError(t, err)

	infos, err := c.ListPrepared(ctx, object.BlobID{}, 10, 6)
	require.NoError(t, err)
	require.Len(t, infos, 1)
	infos, err = c.ListPrepared(ctx, object.BlobID{}, 10, 5)
	require.NoError(t, err)
	require.Empty(t, infos)

	require.NoError(t, c.Commit(ctx, id))
	for _, limit := range []int{0, -1, listMax + 1} { // a page cut short would be the end to who asks
		_, err = c.List(ctx, object.BlobID{}, limit)
		require.Equal(t, errs.Invalid, errs.KindOf(err), "a page of %d", limit)
	}
	infos, err = c.List(ctx, object.BlobID{}, 10)
	require.NoError(t, err)
	require.Equal(t, []object.BlobInfo{v.infos[id]}, infos)
	require.Equal(t, object.BlobCommitted, infos[0].State)

	s, err := c.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, []uint64{5, 1}, []uint64{s.Blobs, uint64(s.Number)})

	many := make([]object.BlobID, 3*idsMax+1) // several messages
	for i := range many {
		many[i] = object.NewRunBase(1, [12]byte{}).Blob(uint32(i))
	}
	require.NoError(t, c.Delete(ctx, append(many, id)...))
	_, err = c.Stat(ctx, id)
	require.True(t, errs.Is(err, errs.BlobMissing), "%v", err)
	require.True(t, errs.Is(c.Abort(ctx, id), errs.BlobMissing))
	_, err = c.ReadAt(ctx, id, nil, 0)
	require.True(t, errs.Is(err, errs.BlobMissing), "%v", err)
}

func TestAnotherVolumeAtTheAddressIsUnavailable(t *testing.T) {
	_, c := volumePair(t, nil)
	for _, ref := range []VolumeRef{{Number: 2, Incarnation: "aa"}, {Number: 1, Incarnation: "bb"}, {Incarnation: "bb"}} {
		other := &VolumeClient{peer: c.peer, ref: ref}
		_, err := other.ReadAt(context.Background(), blobID(1), make([]byte, 1), 0)
		require.True(t, errs.Is(err, errs.Unavailable), "%v: %v", ref, err)
		require.True(t, errs.Is(other.Delete(context.Background(), blobID(1)), errs.Unavailable))
	}
}

func TestBytesChangedOnTheWayAreNoticed(t *testing.T) {
	f := newOutFrame(100)
	copy(f.data(), randomBytes(100))
	f.seal(frameHeader{id: blobID(1), total: 100}, 100, checksum(f.data()))
	wire := *f.buf
	for i := range wire {
		bad := bytes.Clone(wire)
		bad[i] ^= 1
		var in inFrame
		err := in.unmarshal(buffersOf(bad, 30))
		if err == nil {
			_, err = in.appendTo(nil)
			require.Error(t, in.copyTo(make([]byte, 100)), "byte %d", i)
		}
		require.True(t, errs.Is(err, errs.Corrupt), "byte %d: %v", i, err)
	}
	var in inFrame
	require.NoError(t, in.unmarshal(buffersOf(wire, 30)))
	list, err := in.appendTo(nil)
	require.NoError(t, err)
	require.Equal(t, wire[frameHeaderLen:], bytes.Join(list, nil))
}

// TestDeadlineOfAHungVolume: the handler never returns by itself.
func TestDeadlineOfAHungVolume(t *testing.T) {
	v, c := volumePair(t, nil)
	v.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := c.Prepare(ctx, blobID(1), object.Epochs{}, [][]byte{randomBytes(BlobMax)})
	require.True(t, errs.Is(err, errs.Timeout), "%v", err)
	_, err = c.ReadAt(ctx, blobID(1), make([]byte, 10), 0)
	require.True(t, errs.Is(err, errs.Timeout), "%v", err)
}

// TestDeadlineOfAHungPeer: a frozen process still takes connections, as its kernel does.
func TestDeadlineOfAHungPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := NewVolumeClient(newPool(t, node(t, nil, "g1", gateway)), l.Addr().String(), "", VolumeRef{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Prepare(ctx, blobID(1), object.Epochs{}, [][]byte{{1}})
	require.True(t, errs.Is(err, errs.Timeout), "%v", err)
}

// TestCancelInMidStream: goleak finds what stays behind.
func TestCancelInMidStream(t *testing.T) {
	v, c := volumePair(t, nil)
	data := randomBytes(BlobMax)
	_, err := c.Prepare(context.Background(), blobID(1), object.Epochs{}, [][]byte{data})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	n, gone := 0, make(chan struct{})
	v.before = func(context.Context) error {
		if n++; n == 3 {
			cancel()
			<-gone
		}
		return nil
	}
	_, err = c.ReadAt(ctx, blobID(1), make([]byte, BlobMax), 0)
	close(gone)
	require.True(t, errs.Is(err, errs.Canceled), "%v", err)
}

// TestLentBytesMayChangeAfterPrepare: whoever lends bytes to a call that failed may overwrite them at once (R6); -race looks.
func TestLentBytesMayChangeAfterPrepare(t *testing.T) {
	v, c := volumePair(t, nil)
	v.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	data := randomBytes(BlobMax)
	for range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(20))*time.Millisecond)
		c.Prepare(ctx, blobID(1), object.Epochs{}, [][]byte{data})
		cancel()
		clear(data)
	}
}

func TestManyAtOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		_, c := volumePair(t, ca)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				data := randomBytes(1<<20 + w*1000)
				for i := range 8 {
					id := object.NewRunBase(2, [12]byte{byte(w)}).Blob(uint32(i))
					if _, err := c.Prepare(context.Background(), id, object.Epochs{}, cut(data)); err != nil {
						t.Error(err)
						return
					}
					dst := make([]byte, len(data))
					if n, err := c.ReadAt(context.Background(), id, dst, 0); err != nil || !bytes.Equal(dst[:n], data) {
						t.Error(n, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestTheBudgetComesBack: prepares that fail, at any point, give back what they took of the memory for blobs on their way.
func TestTheBudgetComesBack(t *testing.T) {
	vs := &volumeServer{volumes: []LocalVolume{newMemVolume().local()}, budget: semaphore.NewWeighted(BlobMax)}
	v := newMemVolume()
	vs.volumes[0].Volume = v
	addr := serve(t, ServerConfig{Security: node(t, nil, "v1", volume)}, func(s *Server) { s.grpc.RegisterService(&volumeDesc, vs) })
	c, err := NewVolumeClient(newPool(t, node(t, nil, "g1", gateway)), addr, "", VolumeRef{})
	require.NoError(t, err)
	data := [][]byte{randomBytes(BlobMax)}
	v.before = func(context.Context) error { return errs.E("test", errs.StorageFull, "full") }
	for range 3 {
		_, err := c.Prepare(context.Background(), blobID(1), object.Epochs{}, data)
		require.True(t, errs.Is(err, errs.StorageFull), "%v", err)
	}
	v.before = nil
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = c.Prepare(ctx, blobID(1), object.Epochs{}, data)
	require.NoError(t, err)

	// While it is spent, a prepare waits as long as its deadline allows, and others of the connection go on.
	require.True(t, vs.budget.TryAcquire(1))
	short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Prepare(short, blobID(2), object.Epochs{}, data)
	require.Error(t, err)
	_, err = c.Stats(ctx)
	require.NoError(t, err)
	vs.budget.Release(1)
	_, err = c.Prepare(ctx, blobID(2), object.Epochs{}, data)
	require.NoError(t, err)
}

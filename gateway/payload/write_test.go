package payload

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func TestBodiesOfAnySizeComeBack(t *testing.T) {
	const blob = 1 << 20
	for _, rf := range []int{1, 3} {
		for _, n := range []int{0, 1, 4095, 4096, 65536, 65537, blob - 1, blob, blob + 1, 5*blob + 12345} {
			c := newCluster(5, rf, 16, blob)
			s := newStore(t, c, Options{})
			want := body(n)
			for _, size := range []int64{int64(n), -1} {
				w, err := s.Write(context.Background(), &dribble{bytes.Clone(want), 30011}, WriteOptions{Size: size, Digests: md5Only})
				require.NoError(t, err)
				require.Equal(t, md5.Sum(want), w.Sums.MD5)
				require.Equal(t, uint64(n), w.Size())
				written, err := w.Written()
				require.NoError(t, err)
				if n == 0 {
					require.Nil(t, written)
					continue
				}
				require.Equal(t, uint64(7), written.LowestEpoch)
				checkRun(t, c.Layout(), written)
				got, err := readAll(s, written.Run, 0, uint64(n))
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got))
			}
		}
	}
}

// TestDigestsAreOfWhatCame: a buffer is not used again before it was hashed, though large ones are hashed beside the reading and the placing.
func TestDigestsAreOfWhatCame(t *testing.T) {
	s := newStore(t, newCluster(1, 1, 4, 1<<20), Options{})
	stop := make(chan struct{})
	var others sync.WaitGroup
	for class, size := range chunkSizes { // other bodies, which take every buffer that is let go
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := newChunk(class, grant{})
				clear(c.buf[:size])
				chunkPools[class].Put(c)
				runtime.Gosched()
			}
		})
	}
	for _, n := range append(slices.Repeat([]int{3<<20 + 12345, 1 << 20}, 12), 100<<10) {
		want := body(n)
		w, err := s.Write(context.Background(), bytes.NewReader(bytes.Clone(want)), WriteOptions{Size: int64(n), Digests: md5Only})
		require.NoError(t, err)
		require.Equal(t, md5.Sum(want), w.Sums.MD5, "%d bytes", n)
	}
	close(stop)
	others.Wait()
}

func TestRunBasesAreNew(t *testing.T) {
	s := newStore(t, newCluster(1, 1, 4, 1<<20), Options{})
	seen := map[object.RunBase]bool{}
	for range 600 { // more than one draw of random bits
		w, _ := mustWrite(t, s, body(10))
		require.False(t, seen[w.Base()])
		require.Equal(t, uint32(0), object.BlobID(w.Base()).Counter())
		seen[w.Base()] = true
	}
}

// P1 with three replicas.
func TestQuorum(t *testing.T) {
	for _, c := range []struct {
		name  string
		bad   int
		kind  errs.Kind // of the failing volumes
		want  errs.Kind
		unsyn bool
	}{
		{"all well", 0, 0, 0, false},
		{"one errs", 1, errs.Other, 0, false},
		{"two err", 2, errs.Other, errs.Unavailable, false},
		{"one full", 1, errs.StorageFull, 0, false},
		{"two full", 2, errs.StorageFull, errs.StorageFull, false},
		{"all full", 3, errs.StorageFull, errs.StorageFull, false},
		{"one unsynced", 1, 0, 0, true},
		{"two unsynced", 2, 0, errs.Unavailable, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newCluster(3, 3, 16, 1<<20)
			s := newStore(t, cl, Options{})
			for v := 1; v <= c.bad; v++ {
				cl.fakes[uint32(v)].unsynced = c.unsyn
				if !c.unsyn {
					cl.fakes[uint32(v)].prepare = failing(c.kind)
				}
			}
			b := body(3<<20 + 5)
			w, err := s.Write(context.Background(), bytes.NewReader(b), WriteOptions{Size: int64(len(b)), Digests: md5Only})
			if c.want != 0 {
				require.Equal(t, c.want, errs.KindOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			written, err := w.Written()
			require.NoError(t, err)
			checkRun(t, cl.Layout(), written)
			for _, sw := range written.Shards {
				require.Equal(t, uint64(1), sw.Epoch)
				for _, cf := range sw.Confirmations {
					require.Len(t, cf.Volumes, 3-c.bad)
					require.True(t, cf.Volumes[0] > uint32(c.bad))
				}
			}
		})
	}
}

func TestIntervalCountsUnsyncedVolumes(t *testing.T) {
	c := newCluster(3, 3, 4, 1<<20)
	c.Layout().Cluster.Fsync = "interval"
	c.everyone(func(_ uint32, v *fakeVolume) { v.unsynced = true })
	_, written := mustWrite(t, newStore(t, c, Options{}), body(100))
	require.Len(t, written.Shards[0].Confirmations[0].Volumes, 3)
}

func TestUnreachableVolumesAreNoQuorum(t *testing.T) {
	c := newCluster(3, 3, 4, 1<<20)
	s := newStore(t, c, Options{})
	delete(c.volumes, 1)
	mustWrite(t, s, body(100))
	delete(c.volumes, 2)
	_, err := s.Write(context.Background(), bytes.NewReader(body(100)), WriteOptions{Size: 100})
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
}

// A hanging replica delays a write by a moment once, and later ones not at all.
func TestStragglerIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3, 4, 1<<20)
		s := NewStore(c, Options{})
		c.fakes[2].prepare = hanging
		start := time.Now()
		_, written := mustWrite(t, s, body(100))
		require.Equal(t, stragglerWait, time.Since(start))
		require.Equal(t, []uint32{1, 3}, written.Shards[0].Confirmations[0].Volumes)
		start = time.Now()
		mustWrite(t, s, body(100))
		require.Zero(t, time.Since(start), "nobody waits for a suspect")
		s.Close()
		held := s.Memory().Writes
		require.Zero(t, held)
	})
}

// A replica more than 8 MiB behind is dropped: the upload goes on, and its memory does not grow.
func TestLaggingReplicaIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3, 4, 1<<20)
		var bad atomic.Int32
		s := NewStore(c, Options{OnBadReplica: func(v uint32, _ object.BlobID, err error) {
			if v == 3 && errs.Is(err, errs.Timeout) {
				bad.Add(1)
			}
		}})
		c.fakes[3].prepare = hanging
		r := &peak{r: bytes.NewReader(body(40 << 20)), s: s}
		w, err := s.Write(context.Background(), r, WriteOptions{Size: 40 << 20, Digests: md5Only})
		require.NoError(t, err)
		written, err := w.Written()
		require.NoError(t, err)
		checkRun(t, c.Layout(), written)
		require.Equal(t, int32(1), bad.Load())
		require.LessOrEqual(t, r.most, int64(lagBytesMax+(blobsInFlight+2)<<20))
		require.LessOrEqual(t, c.fakes[3].calls, lagBytesMax>>20+blobsInFlight+1)
		s.Close()
	})
}

// Many uploads beside a hanging replica: what it holds back fills the memory before any upload is 8 MiB behind, and then goes.
func TestHangingReplicaDoesNotStarveUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3, 4, 1<<20)
		s := NewStore(c, Options{BudgetBytes: 20 << 20})
		c.fakes[3].prepare = hanging
		start := time.Now()
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				_, err := s.Write(context.Background(), &pausing{n: 6 << 20}, WriteOptions{Size: 6 << 20, Digests: md5Only})
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Less(t, time.Since(start), 10*time.Second)
		s.Close()
	})
}

// peak watches the memory of writes while a body is read.
type peak struct {
	r    io.Reader
	s    *Store
	most int64
}

func (p *peak) Read(b []byte) (int, error) {
	if n := p.s.Memory().Writes; n > p.most {
		p.most = n
	}
	return p.r.Read(b)
}

// With one replica per shard and a dead volume, counters of its shards are skipped; bytes come back in order.
func TestCountersSkipDeadShards(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const blob = 4096
		c := newCluster(4, 1, 32, blob)
		s := NewStore(c, Options{})
		defer s.Close()
		dead := uint32(rapid.IntRange(1, 4).Draw(rt, "dead"))
		dieAt := rapid.IntRange(0, 6).Draw(rt, "dies after")
		var n atomic.Int64
		c.fakes[dead].prepare = func(context.Context, object.BlobID, object.Epochs) error {
			if n.Add(1) > int64(dieAt) {
				return errs.E("fake", errs.StorageFull, "full")
			}
			return nil
		}
		want := body(rapid.IntRange(1, 40*blob).Draw(rt, "bytes"))
		w, err := s.Write(context.Background(), bytes.NewReader(want), WriteOptions{Size: int64(len(want)), Digests: md5Only})
		if err != nil {
			rt.Fatal(err)
		}
		written, err := w.Written()
		if err != nil {
			rt.Fatal(err)
		}
		checkRun(t, c.Layout(), written)
		got, err := readAll(s, written.Run, 0, uint64(len(want)))
		if err != nil || !bytes.Equal(want, got) {
			rt.Fatalf("bytes differ: %v", err)
		}
	})
}

// Any mix of failing prepares gives either a run the coordinator accepts, whose bytes come back, or an error and only aborts.
func TestRandomFailures(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const blob = 4096
		c := newCluster(5, 3, 16, blob)
		s := patientStore(c, Options{})
		rate := rapid.IntRange(0, 12).Draw(rt, "one in")
		kind := rapid.SampledFrom([]errs.Kind{errs.Other, errs.StorageFull, errs.StaleShardEpoch}).Draw(rt, "kind")
		var calls atomic.Int32
		for n := range uint32(3) { // volumes 4 and 5 are well
			c.fakes[n+1].prepare = func(context.Context, object.BlobID, object.Epochs) error {
				if rate > 0 && int(calls.Add(1))%(rate+1) == 0 {
					return errs.E("fake", kind, "injected")
				}
				return nil
			}
		}
		want := body(rapid.IntRange(1, 30*blob).Draw(rt, "bytes"))
		w, err := s.Write(context.Background(), bytes.NewReader(want), WriteOptions{Size: -1, Digests: md5Only})
		if err == nil {
			written, err := w.Written()
			if err != nil {
				rt.Fatal(err)
			}
			checkRun(t, c.Layout(), written)
			got, err := readAll(s, written.Run, 0, uint64(len(want)))
			if err != nil || !bytes.Equal(want, got) {
				rt.Fatalf("bytes differ: %v", err)
			}
			w.Commit()
		}
		s.Close()
		c.everyone(func(n uint32, v *fakeVolume) {
			for id := range v.blobs {
				if w == nil || !v.committed[id] {
					rt.Fatalf("volume %d keeps %v, which nobody references", n, id)
				}
			}
		})
		if m := s.Memory().Writes; m != 0 {
			rt.Fatalf("%d bytes are still held", m)
		}
	})
}

func TestStaleShardEpochRetriesTheSameBlob(t *testing.T) {
	c := newCluster(3, 3, 1, 1<<20)
	var ids []object.BlobID
	c.fakes[1].prepare = func(_ context.Context, id object.BlobID, ep object.Epochs) error {
		ids = append(ids, id)
		if ep.Shard < 2 {
			return errs.E("fake", errs.StaleShardEpoch, "old")
		}
		return nil
	}
	c.fakes[2].prepare = failing(errs.Other) // so that volume 1 is needed
	c.onRefresh = func() {
		l := proto.Clone(c.Layout()).(*metapb.Layout)
		l.Shards[0].Epoch = 2
		c.layout.Store(l)
	}
	_, written := mustWrite(t, newStore(t, c, Options{}), body(100))
	require.Equal(t, int32(1), c.refreshes.Load())
	require.Equal(t, uint64(2), written.Shards[0].Epoch)
	require.Len(t, ids, 2)
	require.Equal(t, ids[0], ids[1])
}

func TestStaleShardEpochForEverIsUnavailable(t *testing.T) {
	c := newCluster(1, 1, 1, 1<<20)
	c.fakes[1].prepare = failing(errs.StaleShardEpoch)
	_, err := newStore(t, c, Options{}).Write(context.Background(), bytes.NewReader(body(1)), WriteOptions{Size: 1})
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	require.Equal(t, int32(staleTriesMax), c.refreshes.Load())
}

// A layout older than the horizon is refreshed: a write of which nothing is stored begins anew in the newer epoch.
func TestStaleEpoch(t *testing.T) {
	horizon := func(c *cluster) {
		c.everyone(func(_ uint32, v *fakeVolume) {
			v.prepare = func(_ context.Context, _ object.BlobID, ep object.Epochs) error {
				if ep.Cluster < 9 {
					return errs.E("fake", errs.StaleEpoch, "below the horizon")
				}
				return nil
			}
		})
	}
	for _, rf := range []int{1, 3} {
		c := newCluster(3, rf, 4, 4096)
		c.onRefresh = func() {
			l := proto.Clone(c.Layout()).(*metapb.Layout)
			l.Cluster.Epoch = 10
			c.layout.Store(l)
		}
		s := newStore(t, c, Options{})
		horizon(c)
		_, written := mustWrite(t, s, body(100))
		require.Equal(t, uint64(10), written.LowestEpoch)
	}
	// Not once something is stored under the first epoch.
	c := newCluster(1, 1, 4, 4096)
	s := newStore(t, c, Options{})
	_, err := s.Write(context.Background(), &afterBytes{r: bytes.NewReader(body(10 * 4096)), n: 6 * 4096, f: func() { horizon(c) }}, WriteOptions{Size: -1})
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	// And when the refresh brings nothing newer, it ends.
	_, err = s.Write(context.Background(), bytes.NewReader(body(1)), WriteOptions{Size: 1})
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
}

// afterBytes calls f once, when n bytes have been read.
type afterBytes struct {
	r io.Reader
	n int
	f func()
}

func (a *afterBytes) Read(p []byte) (int, error) {
	if a.n <= 0 && a.f != nil {
		a.f()
		a.f = nil
	}
	n, err := a.r.Read(p[:min(len(p), 1000)])
	a.n -= n
	return n, err
}

// During a move both the old and the new members must have a quorum.
func TestMoveNeedsBothQuorums(t *testing.T) {
	c := newCluster(4, 3, 1, 1<<20)
	c.Layout().Shards[0] = &metapb.ShardRow{Shard: 0, Epoch: 3, Members: []uint32{1, 2, 3}, Joining: []uint32{4}, Leaving: []uint32{1}}
	s := newStore(t, c, Options{})
	c.fakes[3].prepare, c.fakes[4].prepare = failing(errs.Other), failing(errs.Other)
	_, err := s.Write(context.Background(), bytes.NewReader(body(1)), WriteOptions{Size: 1})
	require.Equal(t, errs.Unavailable, errs.KindOf(err), "1 and 2 are a quorum of the members, not of those to come")
	c.fakes[4].prepare = nil
	_, written := mustWrite(t, s, body(1))
	require.Equal(t, []uint32{1, 2, 4}, written.Shards[0].Confirmations[0].Volumes)
}

// After a move the confirmations are restated under the new epoch if they still are a quorum.
func TestWrittenFollowsTheTable(t *testing.T) {
	c := newCluster(4, 3, 1, 1<<20)
	w, _ := mustWrite(t, newStore(t, c, Options{}), body(1))
	l := proto.Clone(c.Layout()).(*metapb.Layout)
	l.Shards[0].Members, l.Shards[0].Epoch = []uint32{2, 3, 4}, 9
	c.layout.Store(l)
	written, err := w.Written()
	require.NoError(t, err)
	require.Equal(t, uint64(9), written.Shards[0].Epoch)
	require.Equal(t, []uint32{2, 3}, written.Shards[0].Confirmations[0].Volumes)
	l = proto.Clone(l).(*metapb.Layout)
	l.Shards[0].Members = []uint32{3, 4, 5}
	c.layout.Store(l)
	_, err = w.Written()
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
}

// P3: a body that fails leaves nothing behind, and its own error comes back.
func TestBadBodiesAreAborted(t *testing.T) {
	broken := errors.New("signature of a chunk is wrong")
	for _, c := range []struct {
		name string
		r    io.Reader
		size int64
		max  uint64
		is   error
		kind errs.Kind
	}{
		{"reader fails", io.MultiReader(bytes.NewReader(body(100000)), iotest.ErrReader(broken)), -1, 0, broken, errs.Other},
		{"reader fails at its end", io.MultiReader(bytes.NewReader(body(100000)), iotest.ErrReader(broken)), 100000, 0, broken, errs.Other},
		{"short", bytes.NewReader(body(99999)), 100000, 0, nil, errs.Invalid},
		{"long", bytes.NewReader(body(100001)), 100000, 0, nil, errs.Invalid},
		{"empty, not declared so", bytes.NewReader(nil), 1, 0, nil, errs.Invalid},
		{"stuck", stuck{}, -1, 0, io.ErrNoProgress, errs.Other},
		{"declared too large", bytes.NewReader(nil), 100001, 100000, nil, errs.EntityTooLarge},
		{"too large by one", bytes.NewReader(body(10001)), -1, 10000, nil, errs.EntityTooLarge},
		{"grows too large", bytes.NewReader(body(300000)), -1, 100000, nil, errs.EntityTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newCluster(3, 3, 8, 16<<10)
			s := NewStore(cl, Options{})
			w, err := s.Write(context.Background(), c.r, WriteOptions{Size: c.size, SizeMax: c.max, Digests: md5Only})
			require.Nil(t, w)
			require.Equal(t, c.kind, errs.KindOf(err), "%v", err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			s.Close()
			m := s.Memory().Writes
			require.Zero(t, m)
			cl.everyone(func(n uint32, v *fakeVolume) { require.Empty(t, v.blobs, "volume %d", n) })
		})
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestCanceledWriteEnds(t *testing.T) {
	c := newCluster(3, 3, 8, 16<<10)
	s := newStore(t, c, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	c.everyone(func(_ uint32, v *fakeVolume) {
		v.prepare = func(vctx context.Context, id object.BlobID, ep object.Epochs) error {
			cancel()
			return hanging(vctx, id, ep)
		}
	})
	_, err := s.Write(ctx, bytes.NewReader(body(1<<20)), WriteOptions{Size: 1 << 20})
	require.Equal(t, errs.Canceled, errs.KindOf(err))
}

func TestHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3, 8, 4096)
		s := NewStore(c, Options{})
		w1, _ := mustWrite(t, s, body(20000))
		w2, _ := mustWrite(t, s, body(20000))
		w3, _ := mustWrite(t, s, body(20000))
		w1.Commit()
		w1.Abort() // too late
		w2.Abort()
		time.Sleep(2 * hintsLinger) // fake time: the hinter runs in the bubble
		synctest.Wait()
		for _, v := range c.fakes {
			require.Len(t, v.committed, 5)
			require.Len(t, v.aborted, 5)
			require.Len(t, v.blobs, 10)
			for id := range v.committed {
				require.Equal(t, w1.Base(), id.Run())
			}
			for id := range v.aborted {
				require.Equal(t, w2.Base(), id.Run())
			}
		}
		w3.Commit()
		s.Close() // sends what waits
		require.Len(t, c.fakes[1].committed, 10)
	})
}

func TestHintsAreBounded(t *testing.T) {
	block := make(chan struct{})
	h := newHinter(func(uint32) (Volume, bool) { <-block; return nil, false }, time.Second)
	for i := range 2*hintsMax + 10 {
		h.add(1, object.RunBase{}.Blob(uint32(i)), false)
	}
	h.mu.Lock()
	require.LessOrEqual(t, h.waiting, hintsMax)
	h.mu.Unlock()
	close(block)
	h.close()
}

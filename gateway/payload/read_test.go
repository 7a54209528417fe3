package payload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// patternVolume keeps no bytes: it counts what it is given, and reads give a function of blob id and offset.
type patternVolume struct {
	delay time.Duration
	bytes atomic.Int64
	blobs atomic.Int64
}

func (v *patternVolume) Prepare(_ context.Context, _ object.BlobID, _ object.Epochs, data [][]byte) (bool, error) {
	if v.delay > 0 {
		time.Sleep(v.delay) // fake time
	}
	for _, d := range data {
		v.bytes.Add(int64(len(d)))
	}
	v.blobs.Add(1)
	return true, nil
}
func (v *patternVolume) Commit(context.Context, ...object.BlobID) error { return nil }
func (v *patternVolume) Abort(context.Context, ...object.BlobID) error  { return nil }
func (v *patternVolume) ReadAt(_ context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	for i := range dst {
		dst[i] = patternAt(id, off+int64(i))
	}
	return len(dst), nil
}

func patternAt(id object.BlobID, off int64) byte {
	return byte(uint64(id.Counter())*31 + uint64(off)*7 + uint64(off>>8) + uint64(id[1]))
}

// Any range of any body is exactly its bytes.
func TestRanges(t *testing.T) {
	const blob = 200_000 // not a multiple of anything
	c := newCluster(4, 3, 16, blob)
	s := newStore(t, c, Options{})
	want := body(7*blob + 777)
	_, w := mustWrite(t, s, want)
	rapid.Check(t, func(rt *rapid.T) {
		off := rapid.IntRange(0, len(want)).Draw(rt, "off")
		n := rapid.IntRange(0, len(want)-off).Draw(rt, "n")
		got, err := readAll(s, w.Run, uint64(off), uint64(n))
		if err != nil || !bytes.Equal(want[off:off+n], got) {
			rt.Fatalf("range differs: %v", err)
		}
	})
}

func TestReaderIsAReader(t *testing.T) {
	c := newCluster(1, 1, 16, 3<<20)
	s := newStore(t, c, Options{})
	want := body(7<<20 + 3)
	_, w := mustWrite(t, s, want)
	r, err := s.NewReader(context.Background(), OneSlice(w.Run, 0, uint64(len(want))), uint64(len(want)), ReadOptions{})
	require.NoError(t, err)
	require.NoError(t, iotest.TestReader(r, want))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = s.NewReader(context.Background(), OneSlice(w.Run, 0, uint64(len(want))), 0, ReadOptions{})
	require.NoError(t, err)
}

// Reads are positional, at most 1 MiB, aligned so that no 64 KiB block is read twice.
func TestPiecesAreAligned(t *testing.T) {
	run := &metapb.Run{Base: make([]byte, 16), BlobSize: 4 << 20, Length: 10 << 20, Ranges: []*metapb.CounterRange{{First: 2, Count: 3}}}
	p := plan{next: OneSlice(run, 100, 9<<20), left: 9 << 20}
	var got []piece
	for p.left > 0 {
		x, err := p.piece(context.Background(), chunkLarge)
		require.NoError(t, err)
		got = append(got, x)
	}
	end := int64(100)
	for i, x := range got {
		require.Equal(t, end%(4<<20), x.off, "piece %d", i)
		require.Equal(t, uint32(2+end>>22), x.id.Counter())
		end += int64(x.n)
		if i < len(got)-1 {
			require.Zero(t, end%(1<<20))
		}
	}
	require.Equal(t, int64(100+9<<20), end)
}

// A bad replica is replaced, whatever is wrong with it, and its badness is told.
func TestBadReplicaIsReplaced(t *testing.T) {
	for name, bad := range map[string]func(context.Context, object.BlobID, []byte) (bool, int, error){
		"errs": func(context.Context, object.BlobID, []byte) (bool, int, error) { return true, 0, errors.New("disk") },
		"corrupt": func(context.Context, object.BlobID, []byte) (bool, int, error) {
			return true, 0, errs.E("", errs.Corrupt, "")
		},
		"short": func(_ context.Context, _ object.BlobID, dst []byte) (bool, int, error) {
			return true, len(dst) - 1, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(3, 3, 8, 64<<10) // many blobs, so that each replica is asked first for some
			var told atomic.Int32
			s := newStore(t, c, Options{OnBadReplica: func(v uint32, _ object.BlobID, err error) {
				if v != 3 && err != nil {
					told.Add(1)
				}
			}})
			want := body(5 << 20)
			_, w := mustWrite(t, s, want)
			c.fakes[1].read, c.fakes[2].read = bad, bad
			got, err := readAll(s, w.Run, 0, uint64(len(want)))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
			require.Positive(t, told.Load())
			require.Zero(t, c.refreshes.Load())
		})
	}
}

func TestHangingReplicaIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3, 1, 4<<20)
		s := NewStore(c, Options{})
		want := body(9 << 20)
		_, w := mustWrite(t, s, want)
		c.fakes[1].read = func(ctx context.Context, _ object.BlobID, _ []byte) (bool, int, error) {
			<-ctx.Done()
			return true, 0, ctx.Err()
		}
		start := time.Now()
		got, err := readAll(s, w.Run, 0, uint64(len(want)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
		require.Less(t, time.Since(start), 2*hedgeAfter, "a read is slow once, then the volume is suspect")
		start = time.Now()
		_, err = readAll(s, w.Run, 0, uint64(len(want)))
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		s.Close()
		held := s.Memory().Reads
		require.Zero(t, held)
	})
}

// What a reader says when no replica can serve.
func TestNoReplica(t *testing.T) {
	corrupt := func(context.Context, object.BlobID, []byte) (bool, int, error) {
		return true, 0, errs.E("", errs.Corrupt, "")
	}
	down := func(context.Context, object.BlobID, []byte) (bool, int, error) {
		return true, 0, errs.E("", errs.Unavailable, "")
	}
	gone := func(context.Context, object.BlobID, []byte) (bool, int, error) {
		return true, 0, errs.E("", errs.BlobMissing, "")
	}
	type hooks [3]func(context.Context, object.BlobID, []byte) (bool, int, error)
	for _, c := range []struct {
		name  string
		hooks hooks
		want  errs.Kind
	}{
		{"all missing", hooks{gone, gone, gone}, errs.BlobMissing},
		{"all corrupt", hooks{corrupt, corrupt, corrupt}, errs.Corrupt},
		{"corrupt and missing", hooks{corrupt, gone, gone}, errs.Corrupt},
		{"one is down", hooks{gone, gone, down}, errs.Unavailable},
		{"corrupt, and one down", hooks{corrupt, gone, down}, errs.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newCluster(3, 3, 8, 1<<20)
			s := newStore(t, cl, Options{})
			_, w := mustWrite(t, s, body(100))
			for i, h := range c.hooks {
				cl.fakes[uint32(i+1)].read = h
			}
			_, err := readAll(s, w.Run, 0, 100)
			require.Equal(t, c.want, errs.KindOf(err), "%v", err)
			require.Equal(t, int32(1), cl.refreshes.Load())
		})
	}
}

// A blob that moved is found after a refresh of the table, on a leaving replica too.
func TestMovedBlobIsFound(t *testing.T) {
	c := newCluster(4, 1, 1, 1<<20)
	s := newStore(t, c, Options{})
	want := body(100)
	_, w := mustWrite(t, s, want) // on volume 1
	old := c.Layout()
	moved := &metapb.Layout{Cluster: old.Cluster, Pools: old.Pools, Shards: []*metapb.ShardRow{{Members: []uint32{2}, Epoch: 2}}}
	c.layout.Store(moved)
	c.onRefresh = func() {
		c.layout.Store(&metapb.Layout{Cluster: old.Cluster, Pools: old.Pools, Shards: []*metapb.ShardRow{{
			Members: []uint32{1, 2}, Leaving: []uint32{1}, Joining: []uint32{3}, Epoch: 3,
		}}})
	}
	got, err := readAll(s, w.Run, 0, 100)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, int32(1), c.refreshes.Load())
}

// P4: a failure in the middle is an error, and what was written before is a prefix.
func TestFailureInTheMiddle(t *testing.T) {
	c := newCluster(1, 1, 8, 1<<20)
	s := newStore(t, c, Options{})
	want := body(6 << 20)
	_, w := mustWrite(t, s, want)
	c.fakes[1].read = func(_ context.Context, id object.BlobID, _ []byte) (bool, int, error) {
		return id.Counter() == 3, 0, errs.E("", errs.BlobMissing, "")
	}
	got, err := readAll(s, w.Run, 0, uint64(len(want)))
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	require.True(t, bytes.Equal(want[:3<<20], got))
}

func TestWriterThatFails(t *testing.T) {
	c := newCluster(1, 1, 8, 1<<20)
	s := newStore(t, c, Options{})
	_, w := mustWrite(t, s, body(6<<20))
	for _, bad := range []io.Writer{writerFunc(func(p []byte) (int, error) { return 10, io.ErrClosedPipe }),
		writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil }), writerFunc(func(p []byte) (int, error) { return len(p) + 1, nil })} {
		r, err := s.NewReader(context.Background(), OneSlice(w.Run, 0, 6<<20), 6<<20, ReadOptions{})
		require.NoError(t, err)
		_, err = r.WriteTo(bad)
		require.Error(t, err)
		r.Close()
		_, err = r.WriteTo(io.Discard)
		require.Error(t, err, "closed")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Rows that do not fit together are refused, not read.
func TestDamagedRows(t *testing.T) {
	s := newStore(t, newCluster(1, 1, 8, 1<<20), Options{})
	good := func() *metapb.Run {
		return &metapb.Run{Base: make([]byte, 16), BlobSize: 10, Length: 100, Ranges: []*metapb.CounterRange{{Count: 10}}}
	}
	short, noSize, noBase := good(), good(), good()
	short.Ranges[0].Count = 0
	noSize.BlobSize = 0
	noBase.Base = noBase.Base[:15]
	for name, x := range map[string]*metapb.Slice{
		"no run": {Length: 5}, "too few blobs": {Run: short, Length: 5}, "no blob size": {Run: noSize, Length: 5}, "no base": {Run: noBase, Length: 5},
		"past the end": {Run: good(), Offset: 96, Length: 5}, "overflow": {Run: good(), Offset: 1<<64 - 4, Length: 5},
		"ends early": nil,
	} {
		_, err := s.NewReader(context.Background(), func(context.Context) (*metapb.Slice, error) { return x, nil }, 5, ReadOptions{})
		require.Equal(t, errs.Corrupt, errs.KindOf(err), name)
	}
}

// Many readers share the memory: pieces shrink instead of all waiting.
func TestManySlowReaders(t *testing.T) {
	c := newCluster(1, 1, 8, 4<<20)
	s := newStore(t, c, Options{BudgetBytes: 64 << 20})
	_, w := mustWrite(t, s, body(4<<20))
	var rs []*Reader
	defer func() {
		for _, r := range rs {
			r.Close()
		}
	}()
	for range 120 {
		r, err := s.NewReader(context.Background(), OneSlice(w.Run, 0, 4<<20), 4<<20, ReadOptions{})
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 1))
		require.NoError(t, err)
		rs = append(rs, r)
		held := s.Memory().Reads
		require.LessOrEqual(t, held, int64(32<<20))
	}
}

// The arithmetic of the largest object, 10,000 parts of 5 GiB in blobs of 4 MiB, read at offsets up to 2^46 from a volume that
// makes its bytes up.
func TestLargestObject(t *testing.T) {
	const parts, partBytes, blob = object.PartsMax, object.PartBytesMax, 4 << 20
	c := newCluster(1, 1, 256, blob)
	c.volumes[1] = &patternVolume{}
	s := newStore(t, c, Options{})
	runOf := func(part uint64) *metapb.Run {
		r := &metapb.Run{Base: make([]byte, 16), BlobSize: blob, Length: partBytes}
		r.Base[1], r.Base[2] = byte(part), byte(part>>8)
		// A counter is skipped after the first 1,000 blobs.
		r.Ranges = []*metapb.CounterRange{{First: 0, Count: 1000}, {First: 1001, Count: partBytes/blob - 1000}}
		return r
	}
	slicesFrom := func(off uint64) Slices {
		return func(context.Context) (*metapb.Slice, error) {
			part, within := off/partBytes, off%partBytes
			if part == parts {
				return nil, nil
			}
			off = (part + 1) * partBytes
			return &metapb.Slice{Run: runOf(part), Offset: within, Length: partBytes - within}, nil
		}
	}
	at := func(off uint64) byte {
		part, within := off/partBytes, off%partBytes
		counter := uint32(within / blob)
		if counter >= 1000 {
			counter++
		}
		return patternAt(object.RunBase(runOf(part).Base).Blob(counter), int64(within%blob))
	}
	const size = uint64(parts) * partBytes
	require.Equal(t, uint64(object.ObjectBytesMax), size)
	offsets := []uint64{0, 1<<32 - 5, 1 << 32, partBytes - 1, partBytes, 1<<45 - 3, 1<<45 + 1, size - 9, 1000*blob - 4, 7*partBytes + 1000*blob - 4}
	for range 20 {
		offsets = append(offsets, rand.Uint64N(size-4096))
	}
	for _, off := range offsets {
		n := min(uint64(4096), size-off)
		r, err := s.NewReader(context.Background(), slicesFrom(off), n, ReadOptions{})
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Len(t, got, int(n))
		for i := range got {
			require.Equal(t, at(off+uint64(i)), got[i], "offset %d", off+uint64(i))
		}
		r.Close()
	}
	_, err := s.NewReader(context.Background(), slicesFrom(size), 1, ReadOptions{})
	require.Equal(t, errs.Corrupt, errs.KindOf(err), "past the end")
}

// A part of 5 GiB is planned as whole blobs, with all of its bytes.
func TestFiveGiBPlan(t *testing.T) {
	const blob = 4 << 20
	run := &metapb.Run{Base: make([]byte, 16), BlobSize: blob, Length: object.PartBytesMax, Ranges: []*metapb.CounterRange{{Count: object.PartBytesMax / blob}}}
	p := plan{next: OneSlice(run, 0, object.PartBytesMax), left: object.PartBytesMax}
	var n uint64
	pieces := 0
	for p.left > 0 {
		x, err := p.piece(context.Background(), chunkLarge)
		require.NoError(t, err)
		require.Equal(t, n, uint64(x.id.Counter())*blob+uint64(x.off))
		n += uint64(x.n)
		pieces++
	}
	require.Equal(t, uint64(object.PartBytesMax), n)
	require.Equal(t, 5<<10, pieces)
}

// TestVolumesReadAtTheSameTime: while a client is given a piece of a large body, the next three are on their way from different volumes; only
// the very first piece is not worth so much. A reader that is closed in between leaves nothing behind.
func TestVolumesReadAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3, 1, 8<<20)
		for v := range uint32(3) {
			c.Layout().Volumes = append(c.Layout().Volumes, &metapb.VolumeRow{Number: v + 1})
		}
		s := NewStore(c, Options{})
		want := body(8 << 20) // one blob: of several, a volume that is behind is left out, and read from last
		_, w := mustWrite(t, s, want)
		var mu sync.Mutex
		var held chan struct{} // nil: reads go on
		var reading []uint32
		c.everyone(func(number uint32, v *fakeVolume) {
			v.read = func(context.Context, object.BlobID, []byte) (bool, int, error) {
				mu.Lock()
				reading = append(reading, number)
				wait := held
				mu.Unlock()
				if wait != nil {
					<-wait
				}
				return false, 0, nil
			}
		})
		for _, closed := range []bool{false, true} {
			r, err := s.NewReader(t.Context(), OneSlice(w.Run, 0, uint64(len(want))), uint64(len(want)), ReadOptions{})
			require.NoError(t, err)
			got := make([]byte, len(want))
			_, err = io.ReadFull(r, got[:1<<20])
			require.NoError(t, err)
			synctest.Wait()
			mu.Lock()
			require.Len(t, reading, 2, "one piece was asked for beside the first")
			held, reading = make(chan struct{}), nil
			mu.Unlock()
			_, err = io.ReadFull(r, got[1<<20:1<<20+1])
			require.NoError(t, err)
			synctest.Wait()
			mu.Lock()
			slices.Sort(reading)
			require.Equal(t, []uint32{1, 2, 3}, reading)
			close(held)
			held, reading = nil, nil
			mu.Unlock()
			if !closed {
				_, err = io.ReadFull(r, got[1<<20+1:])
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got))
			}
			require.NoError(t, r.Close())
			synctest.Wait()
			mu.Lock()
			reading = nil
			mu.Unlock()
		}
		s.Close()
		require.Zero(t, s.Memory().Reads)
	})
}

package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/segment"
)

var ctx = context.Background()

// tiny are options with which a few blobs fill several segments and nothing happens by the clock.
func tiny(fs vfs.FS) Options {
	return Options{
		FS: fs, SmallSegment: 128 << 10, FirstSegment: 128 << 10, LargeSegment: 128 << 10, LargeBlob: 8 << 10, BlobMax: 64 << 10, GroupBytes: 16 << 10,
		Reserve: -1, Ballast: -1, Certify: -1, Tidy: -1, OverlayMax: 5, CompactDead: 0.3, CompactRate: -1, ScrubRate: -1, LazyFlush: time.Hour, lendMin: vfs.DirectAlign, earlyMin: 2, noSpares: true, noFill: true,
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// page gives what a list returns.
func page(t interface {
	Helper()
	Fatal(...any)
}) func([]object.BlobInfo, error) []object.BlobInfo {
	return func(l []object.BlobInfo, err error) []object.BlobInfo {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

func wantKind(t testing.TB, err error, kind errs.Kind) {
	t.Helper()
	if errs.KindOf(err) != kind || err == nil {
		t.Fatalf("error %v, want %v", err, kind)
	}
}

func testID(n int) object.BlobID {
	var r [12]byte
	binary.BigEndian.PutUint64(r[4:], uint64(n))
	return object.NewRunBase(0, r).Blob(uint32(n) % 5)
}

// testData are bytes that only this id and length have.
func testData(n, length int) []byte {
	noise.Do(func() {
		r := rand.New(rand.NewPCG(3, 4))
		for i := range noiseBytes {
			noiseBytes[i] = byte(r.Uint32())
		}
	})
	b := bytes.Clone(noiseBytes[n%4096:][:length])
	if length >= 8 {
		binary.LittleEndian.PutUint64(b[length-8:], uint64(n)<<32|uint64(length))
	}
	return b
}

var (
	noise      sync.Once
	noiseBytes [1<<20 + 4096]byte
)

func put(t testing.TB, st *Store, n, length int) {
	t.Helper()
	b := testData(n, length)
	durable, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5, Shard: 1}, [][]byte{b[:length/3], b[length/3:]})
	must(t, err)
	if durable != (st.o.Fsync == Always) {
		t.Fatalf("durable %v with fsync %v", durable, st.o.Fsync)
	}
}

func check(t testing.TB, st *Store, n, length int) {
	t.Helper()
	got := make([]byte, length+10)
	k, err := st.ReadAt(ctx, testID(n), got, 0)
	must(t, err)
	if k != length || !bytes.Equal(got[:k], testData(n, length)) {
		t.Fatalf("blob %d: %d bytes, want %d", n, k, length)
	}
}

func reopen(t testing.TB, st *Store) *Store {
	t.Helper()
	must(t, st.Close())
	again, err := Open(st.dir, st.o)
	must(t, err)
	return again
}

func bodies(t *testing.T, test func(t *testing.T, o Options, dir string)) {
	t.Run("mem", func(t *testing.T) { test(t, tiny(vfs.NewMem()), "/v") })
	t.Run("os", func(t *testing.T) { test(t, tiny(vfs.OS()), t.TempDir()) })
	t.Run("os with defaults", func(t *testing.T) { test(t, Options{Ballast: mib, Reserve: mib}, t.TempDir()) })
}

var lengths = []int{0, 1, 100, 4096, 8191, 8192, 10000, 40000, 64 << 10}

func TestStoreRoundTrip(t *testing.T) {
	bodies(t, func(t *testing.T, o Options, dir string) {
		st, err := Open(dir, o)
		must(t, err)
		for i, l := range lengths {
			put(t, st, i, l)
		}
		put(t, st, 2, lengths[2]) // again
		must(t, st.Commit(ctx, testID(1), testID(2)))
		must(t, st.Abort(ctx, testID(3)))
		must(t, st.Delete(ctx, testID(4)))
		verify := func() {
			t.Helper()
			for i, l := range lengths {
				if i != 3 && i != 4 {
					check(t, st, i, l)
				}
			}
			for _, i := range []int{3, 4} {
				_, err := st.ReadAt(ctx, testID(i), make([]byte, 1), 0)
				wantKind(t, err, errs.BlobMissing)
				_, err = st.Prepare(ctx, testID(i), object.Epochs{Cluster: 5}, nil)
				wantKind(t, err, errs.Aborted)
			}
			info, err := st.Stat(testID(2))
			must(t, err)
			want := object.BlobInfo{ID: testID(2), Length: 100, State: object.BlobCommitted, Epochs: object.Epochs{Cluster: 5, Shard: 1}}
			if info != want {
				t.Fatalf("stat %+v", info)
			}
			if l := page(t)(st.List(object.BlobID{}, 100)); len(l) != len(lengths)-2 {
				t.Fatalf("list: %v", l)
			}
			if l := page(t)(st.ListPrepared(object.BlobID{}, 100, 6)); len(l) != len(lengths)-4 {
				t.Fatalf("prepared: %v", l)
			}
			if s := st.Stats(); s.Blobs != int64(len(lengths)-2) || s.Damaged != 0 {
				t.Fatalf("%+v", s)
			}
		}
		verify()
		for range 2 {
			st = reopen(t, st)
			verify()
		}
		// Without the checkpoint the segments say the same.
		must(t, st.Close())
		must(t, o.withDefaults().FS.Remove(dir+"/"+indexName))
		st, err = Open(dir, o)
		must(t, err)
		verify()
		must(t, st.Close())
	})
}

func TestErrors(t *testing.T) {
	st, err := Open("/v", tiny(vfs.NewMem()))
	must(t, err)
	defer st.Close()
	put(t, st, 1, 100)
	_, err = st.Prepare(ctx, testID(1), object.Epochs{Cluster: 5}, [][]byte{testData(2, 100)})
	wantKind(t, err, errs.Conflict)
	_, err = st.Prepare(ctx, testID(1), object.Epochs{Cluster: 5}, [][]byte{testData(1, 99)})
	wantKind(t, err, errs.Conflict)
	_, err = st.Prepare(ctx, testID(2), object.Epochs{Cluster: 5}, [][]byte{make([]byte, 64<<10+1)})
	wantKind(t, err, errs.EntityTooLarge)
	wantKind(t, st.Commit(ctx, testID(9), testID(1)), errs.BlobMissing)
	wantKind(t, st.Abort(ctx, testID(1)), errs.Conflict)
	must(t, st.Abort(ctx, testID(77)))
	must(t, st.Delete(ctx, testID(77)))
	st.SetHorizon(6)
	_, err = st.Prepare(ctx, testID(3), object.Epochs{Cluster: 5}, nil)
	wantKind(t, err, errs.StaleEpoch)
	_, err = st.ReadAt(ctx, testID(1), make([]byte, 1), -1)
	wantKind(t, err, errs.Invalid)
	if n, err := st.ReadAt(ctx, testID(1), make([]byte, 1), 100); n != 0 || err != nil {
		t.Fatalf("reading at the end: %d, %v", n, err)
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	_, err = st.ReadAt(dead, testID(1), make([]byte, 1), 0)
	wantKind(t, err, errs.Canceled)
}

func TestSecondOpenIsRefused(t *testing.T) {
	bodies(t, func(t *testing.T, o Options, dir string) {
		st, err := Open(dir, o)
		must(t, err)
		defer st.Close()
		_, err = Open(dir, o)
		wantKind(t, err, errs.Conflict)
	})
}

func TestRanges(t *testing.T) {
	bodies(t, func(t *testing.T, o Options, dir string) {
		o.BlobMax, o.LargeSegment = 1<<20, 4<<20
		for _, largeBlob := range []int{8 << 10, 2 << 20} {
			o.LargeBlob, o.GroupBytes, o.SmallSegment, o.FirstSegment = largeBlob, 2<<20, 4<<20, 4<<20
			st, err := Open(dir+fmt.Sprint(largeBlob), o)
			must(t, err)
			r := rand.New(rand.NewPCG(1, 1))
			for i, l := range []int{1, 65535, 65536, 65537, 131072, 300000, 1 << 20} {
				put(t, st, i, l)
				want := testData(i, l)
				for range 50 {
					off := r.IntN(l)
					n := r.IntN(l + 10)
					if r.IntN(2) == 0 {
						off &^= 65535
					}
					got := make([]byte, n)
					k, err := st.ReadAt(ctx, testID(i), got, int64(off))
					must(t, err)
					if w := want[off:min(l, off+n)]; !bytes.Equal(got[:k], w) {
						t.Fatalf("blob of %d: %d bytes from %d differ", l, n, off)
					}
				}
			}
			must(t, st.Close())
		}
	})
}

func TestClosedStoreKnowsNothing(t *testing.T) {
	st, err := Open("/v", tiny(vfs.NewMem()))
	must(t, err)
	put(t, st, 1, 100)
	must(t, st.Close())
	must(t, st.Close())
	_, err = st.ReadAt(ctx, testID(1), make([]byte, 1), 0)
	wantKind(t, err, errs.Unavailable)
	_, err = st.Stat(testID(1))
	wantKind(t, err, errs.Unavailable)
	_, err = st.Prepare(ctx, testID(2), object.Epochs{}, nil)
	wantKind(t, err, errs.Unavailable)
	wantKind(t, st.Delete(ctx, testID(1)), errs.Unavailable)
	wantKind(t, st.Commit(ctx, testID(1)), errs.Unavailable)
}

func TestManyWriters(t *testing.T) {
	bodies(t, func(t *testing.T, o Options, dir string) {
		st, err := Open(dir, o)
		must(t, err)
		const writers, each = 16, 40
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					n := w*each + i
					b := testData(n, 50*i+w)
					for range 2 {
						if _, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5}, [][]byte{b}); err != nil {
							t.Error(err)
						}
					}
					if i%3 == 0 {
						if err := st.Commit(ctx, testID(n)); err != nil {
							t.Error(err)
						}
					}
					if i%7 == 0 {
						if err := st.Delete(ctx, testID(n)); err != nil {
							t.Error(err)
						}
					}
				}
			})
			wg.Go(func() { // the same ids at the same time
				for i := range each {
					n := w*each + i
					if _, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5}, [][]byte{testData(n, 50*i+w)}); err != nil && !errs.Is(err, errs.Aborted) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for range 2 {
			for n := range writers * each {
				if n%each%7 != 0 {
					check(t, st, n, 50*(n%each)+n/each)
				}
			}
			st = reopen(t, st)
		}
		must(t, st.Close())
	})
}

func TestListPages(t *testing.T) {
	st, err := Open("/v", tiny(vfs.NewMem()))
	must(t, err)
	defer st.Close()
	for i := range 100 {
		put(t, st, i, 10)
	}
	seen := map[object.BlobID]bool{}
	var after object.BlobID
	for {
		page := page(t)(st.List(after, 7))
		for _, b := range page {
			seen[b.ID] = true
			after = b.ID
		}
		if len(page) < 7 {
			break
		}
	}
	if len(seen) != 100 {
		t.Fatalf("%d of 100 listed", len(seen))
	}
}

// segments lists the segment files in order.
func segments(t testing.TB, fs vfs.FS, dir string) (names []string) {
	t.Helper()
	all, err := fs.List(dir)
	must(t, err)
	for _, n := range all {
		if _, _, ok := segment.ParseName(n); ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func TestDeadSegmentsGo(t *testing.T) {
	mem := vfs.NewMem()
	st, err := Open("/v", tiny(mem))
	must(t, err)
	const n = 60
	for i := range n {
		put(t, st, i, 30000)
		put(t, st, n+i, 4000)
	}
	before := len(segments(t, mem, "/v"))
	for i := range n - 1 {
		must(t, st.Delete(ctx, testID(i), testID(n+i)))
	}
	must(t, st.Tidy(ctx))
	after := len(segments(t, mem, "/v"))
	if before < 15 || after > 5 {
		t.Fatalf("%d segments before, %d after", before, after)
	}
	must(t, mem.Remove("/v/LOCK.held")) // the first is left as after a kill
	c := mem.CrashClone(vfs.Survival{Percent: 100})
	again, err := Open("/v", tiny(c))
	must(t, err)
	if l := page(t)(again.List(object.BlobID{}, 1000)); len(l) != 2 {
		t.Fatalf("%d blobs after the crash", len(l))
	}
	check(t, again, n-1, 30000)
	check(t, again, 2*n-1, 4000)
	must(t, again.Close())
	must(t, st.Close())
}

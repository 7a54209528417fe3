//go:build linux

package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minikv/internal/object"
	"minikv/volume/segment"
)

// BenchmarkGet reads whole blobs, verified, by random ids: hot ones from the page cache, cold ones that were dropped from it. limit/s is that of
// reading as many bytes at random places of the same files, in turns with it, by as many goroutines; x how many times as long it took;
// cpu-ns/get the time of all cores.
func BenchmarkGet(b *testing.B) {
	for _, cold := range []bool{false, true} {
		for _, size := range []struct {
			name string
			n    int
		}{{"100B", 100}, {"4KiB", 4 << 10}, {"1MiB", 1 << 20}} {
			b.Run(fmt.Sprintf("%s/%s", map[bool]string{false: "hot", true: "cold"}[cold], size.name), func(b *testing.B) { benchGet(b, size.n, cold) })
		}
	}
}

func benchGet(b *testing.B, size int, cold bool) {
	dir := benchDir(b)
	st, err := Open(dir, Options{Reserve: -1, Ballast: -1, ScrubRate: -1, Fsync: Never})
	must(b, err)
	defer st.Close()
	blobs := uint64(min(100_000, (128<<20)/size))
	data := [][]byte{make([]byte, size)}
	for n := range blobs {
		_, err := st.Prepare(ctx, benchID(n), object.Epochs{Cluster: 1}, data)
		must(b, err)
	}
	must(b, st.Checkpoint())
	get := func(r *rand.Rand, dst []byte) error {
		_, err := st.ReadAt(ctx, benchID(r.Uint64N(blobs)), dst, 0)
		return err
	}
	files := segmentFiles(b, dir)
	ends := map[string]int64{}
	for _, s := range *st.segments.Load() {
		ends[s.Path()] = s.Pos()
	}
	raw := func(r *rand.Rand, dst []byte) error {
		f := files[r.IntN(len(files))]
		_, err := f.ReadAt(dst, segment.HeaderLen+r.Int64N(max(1, ends[f.Name()]-segment.HeaderLen-int64(size))))
		return err
	}
	turn := max(64, min(20_000, (64<<20)/size))
	if cold {
		turn = min(turn, 256)
	}
	var engine, limit turns
	for b.Loop() {
		for range 4 {
			engine.add(readers(b, files, cold, turn, size, get))
			b.StopTimer()
			limit.add(readers(b, files, cold, turn, size, raw))
			b.StartTimer()
		}
	}
	each := func(s slicesOf) float64 { return float64(s.quiet()) / float64(turn) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1e9/each(engine.wall), "gets/s")
	b.ReportMetric(1e9/each(limit.wall), "limit/s")
	b.ReportMetric(each(engine.wall)/each(limit.wall), "x")
	b.ReportMetric(each(engine.cpu), "cpu-ns/get")
	b.ReportMetric(each(limit.cpu), "limit-cpu-ns/get")
}

// readers lets two goroutines read so many times.
func readers(b *testing.B, files []*os.File, cold bool, n, size int, read func(r *rand.Rand, dst []byte) error) (wall, cpu time.Duration) {
	if cold {
		for _, f := range files {
			must(b, f.Sync())
			must(b, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		}
	}
	var wg sync.WaitGroup
	used, begin := cpuTime(), time.Now()
	for range 2 {
		wg.Go(func() {
			r, dst := rand.New(rand.NewPCG(rand.Uint64(), 1)), make([]byte, size)
			for range n / 2 {
				if err := read(r, dst); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin), cpuTime() - used
}

func segmentFiles(b *testing.B, dir string) (files []*os.File) {
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	must(b, err)
	for _, name := range names {
		f, err := os.Open(name)
		must(b, err)
		b.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

// BenchmarkCompactionUnderLoad measures how long puts of 4 KiB by 4 writers take, with the policy always, while half-dead segments are
// compacted at the default rate, and while nothing else goes on.
func BenchmarkCompactionUnderLoad(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(map[bool]string{false: "idle", true: "compacting"}[with], func(b *testing.B) {
			o := Options{Reserve: -1, Ballast: -1, ScrubRate: -1, CompactDead: -1, Fsync: Never}
			dir := benchDir(b)
			halfDead(b, dir, o)
			o.Fsync = Always
			st, err := Open(dir, o)
			must(b, err)
			b.ResetTimer()
			copied := int64(0)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if with {
					r, err := st.CompactNow(ctx, 0.3, nil)
					must(b, err)
					copied = r.Copied
				}
			}()
			took := latencies(b, st, max(b.N, 4000), 4)
			<-done
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
			b.ReportMetric(float64(copied)/float64(mib), "copied-MiB")
			must(b, st.Close())
		})
	}
}

// halfDead makes a store of some 200 MiB, half of it deleted.
func halfDead(b *testing.B, dir string, o Options) {
	st, err := Open(dir, o)
	must(b, err)
	data := [][]byte{make([]byte, 64<<10)}
	for n := range uint64(3200) {
		_, err := st.Prepare(ctx, benchID(n), object.Epochs{Cluster: 1}, data)
		must(b, err)
	}
	var dead []object.BlobID
	for n := range uint64(3200) {
		if n%2 == 0 {
			dead = append(dead, benchID(n))
		}
	}
	must(b, st.Delete(ctx, dead...))
	must(b, st.Close())
}

func latencies(b *testing.B, st *Store, n, writers int) []time.Duration {
	took := make([]time.Duration, n/writers*writers)
	data := [][]byte{make([]byte, 4<<10)}
	var wg sync.WaitGroup
	for w := range writers {
		mine := took[w*(n/writers) : (w+1)*(n/writers)]
		wg.Go(func() {
			for i := range mine {
				begin := time.Now()
				if _, err := st.Prepare(ctx, benchID(uint64(1<<40|w<<32|i)), object.Epochs{Cluster: 1}, data); err != nil {
					panic(err)
				}
				mine[i] = time.Since(begin)
			}
		})
	}
	wg.Wait()
	return took
}

package store

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"minikv/internal/object"
	"minikv/internal/vfs"
)

// benchDir is on the disk to measure: -bench under /tmp in memory would measure memory.
func benchDir(b *testing.B) string {
	if d := os.Getenv("MINIKV_BENCH_DIR"); d != "" {
		d, err := os.MkdirTemp(d, "bench")
		must(b, err)
		b.Cleanup(func() { os.RemoveAll(d) })
		return d
	}
	return b.TempDir()
}

var benchSizes = []struct {
	name string
	n    int
}{{"100B", 100}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}, {"4MiB", 4 << 20}}

func benchID(n uint64) object.BlobID {
	var r [12]byte
	binary.BigEndian.PutUint64(r[:], n*0x9E3779B97F4A7C15)
	binary.BigEndian.PutUint32(r[8:], uint32(n))
	return object.NewRunBase(0, r).Blob(0)
}

// parallel runs b.N operations on so many goroutines.
func parallel(b *testing.B, writers int, op func(n uint64)) {
	var next atomic.Uint64
	done := make(chan struct{})
	b.ResetTimer()
	for range writers {
		go func() {
			for {
				n := next.Add(1)
				if n > uint64(b.N) {
					break
				}
				op(n)
			}
			done <- struct{}{}
		}()
	}
	for range writers {
		<-done
	}
	b.StopTimer()
}

// BenchmarkBlobPut prepares blobs with the policy always.
func BenchmarkBlobPut(b *testing.B) {
	for _, size := range benchSizes {
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", size.name, writers), func(b *testing.B) {
				st, err := Open(benchDir(b), Options{Reserve: -1, Ballast: -1})
				must(b, err)
				defer st.Close()
				data := [][]byte{make([]byte, size.n)}
				for n := range uint64(8) { // the first segments are made
					_, err := st.Prepare(ctx, benchID(1<<40+n), object.Epochs{Cluster: 1}, data)
					must(b, err)
				}
				b.SetBytes(int64(size.n))
				groups := st.Stats().Groups
				parallel(b, writers, func(n uint64) {
					if _, err := st.Prepare(ctx, benchID(n), object.Epochs{Cluster: 1}, data); err != nil {
						panic(err)
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
				b.ReportMetric(float64(b.N)/float64(st.Stats().Groups-groups), "puts/group")
			})
		}
	}
}

// BenchmarkLogAppend is the limit of BlobPut on the same disk: one write and one fdatasync of so many records at once, into a file of
// zeros, and for large ones past the page cache.
func BenchmarkLogAppend(b *testing.B) {
	for _, size := range benchSizes {
		for _, group := range []int{1, 16, 64} {
			if size.n*group > 8<<20 {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", size.name, group), func(b *testing.B) {
				name := filepath.Join(benchDir(b), "raw")
				const capacity = 256 << 20
				f, err := vfs.OpenFile(vfs.OS(), name, os.O_RDWR|os.O_CREATE, 0o600)
				must(b, err)
				defer func() { f.Close() }()
				must(b, vfs.Preallocate(f, capacity))
				if size.n < 256<<10 {
					must(b, vfs.ZeroFill(f, 0, capacity, nil))
				} else {
					must(b, f.Close())
					f, _, err = vfs.OpenDirect(vfs.OS(), name, os.O_RDWR, 0)
					must(b, err)
				}
				rec := size.n
				if size.n >= 4096 {
					rec = size.n + 4096
				}
				buf := vfs.AlignedBuffer((rec*group + 4095) &^ 4095)
				b.SetBytes(int64(size.n))
				off := int64(0)
				b.ResetTimer()
				for done := 0; done < b.N; done += group {
					if off+int64(len(buf)) > capacity {
						off = 0
					}
					_, err := f.WriteAt(buf, off)
					must(b, err)
					must(b, f.SyncData())
					off += int64(len(buf))
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			})
		}
	}
}

// BenchmarkLogRead reads whole blobs that are in the page cache, verified.
func BenchmarkLogRead(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			st, err := Open(benchDir(b), Options{Reserve: -1, Ballast: -1, Fsync: Never})
			must(b, err)
			defer st.Close()
			count := uint64(max(4, (64<<20)/size.n))
			count = min(count, 100_000)
			data := [][]byte{make([]byte, size.n)}
			for n := range count {
				_, err := st.Prepare(ctx, benchID(n), object.Epochs{Cluster: 1}, data)
				must(b, err)
			}
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				dst := make([]byte, size.n)
				r := rand.New(rand.NewPCG(rand.Uint64(), 1))
				for pb.Next() {
					if _, err := st.ReadAt(ctx, benchID(r.Uint64N(count)), dst, 0); err != nil {
						panic(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
		})
	}
}

// BenchmarkOpen opens an empty folder, and one with default segments after a kill.
func BenchmarkOpen(b *testing.B) {
	b.Run("new", func(b *testing.B) {
		for range b.N {
			st, err := Open(filepath.Join(benchDir(b), "v"), Options{Reserve: -1})
			must(b, err)
			b.StopTimer()
			must(b, st.Close())
			b.StartTimer()
		}
	})
	b.Run("killed", func(b *testing.B) {
		dir := benchDir(b)
		for range b.N {
			b.StopTimer()
			st, err := Open(dir, Options{Reserve: -1})
			must(b, err)
			for n := range uint64(4) {
				_, err := st.Prepare(ctx, benchID(n), object.Epochs{Cluster: 1}, [][]byte{make([]byte, 1<<(20*(n%2)))})
				must(b, err)
			}
			must(b, st.Close())
			os.Remove(filepath.Join(dir, cleanName))
			b.StartTimer()
			st, err = Open(dir, Options{Reserve: -1})
			must(b, err)
			b.StopTimer()
			must(b, st.Close())
			b.StartTimer()
		}
	})
}

var reopenBlobs = flag.Int("blobs", 1_000_000, "blobs in the store that BenchmarkReopen opens")

// BenchmarkReopen opens a store of a million blobs after a clean close and after a kill.
func BenchmarkReopen(b *testing.B) {
	blobs := *reopenBlobs
	dir := benchDir(b)
	o := Options{Reserve: -1, Ballast: -1, Fsync: Never, Certify: -1}
	st, err := Open(dir, o)
	must(b, err)
	data := [][]byte{make([]byte, 100)}
	for n := range uint64(blobs) {
		_, err := st.Prepare(ctx, benchID(n), object.Epochs{Cluster: 1}, data)
		must(b, err)
	}
	must(b, st.Close())
	for _, kind := range []string{"limit", "clean", "killed"} {
		b.Run(kind, func(b *testing.B) {
			var total time.Duration
			best := time.Hour
			for range b.N {
				took := reopenTime(b, kind, dir, o, int64(blobs))
				total, best = total+took, min(best, took)
			}
			b.ReportMetric(total.Seconds()*1000/float64(b.N), "ms/open")
			b.ReportMetric(best.Seconds()*1000, "ms/best")
		})
	}
}

// reopenTime is how long an open takes; that of "limit" only removes a file, syncs the folder, and reads the first page of every file.
func reopenTime(b *testing.B, kind, dir string, o Options, blobs int64) time.Duration {
	switch kind {
	case "killed":
		os.Remove(filepath.Join(dir, cleanName))
	case "limit":
		must(b, os.WriteFile(filepath.Join(dir, "limit"), nil, 0o600))
		start := time.Now()
		must(b, os.Remove(filepath.Join(dir, "limit")))
		must(b, vfs.SyncDir(vfs.OS(), dir))
		names, err := os.ReadDir(dir)
		must(b, err)
		for _, n := range names {
			f, err := os.Open(filepath.Join(dir, n.Name()))
			must(b, err)
			_, err = f.ReadAt(make([]byte, 4096), 0)
			if err != nil && err != io.EOF {
				b.Fatal(err)
			}
			must(b, f.Close())
		}
		return time.Since(start)
	}
	start := time.Now()
	st, err := Open(dir, o)
	must(b, err)
	took := time.Since(start)
	if st.Stats().Blobs != blobs {
		b.Fatal(st.Stats().Blobs)
	}
	must(b, st.Close())
	return took
}

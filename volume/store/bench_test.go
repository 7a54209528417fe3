package store

import (
	"encoding/binary"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
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

func benchID(n uint64) object.BlobID {
	var r [12]byte
	binary.BigEndian.PutUint64(r[:], n*0x9E3779B97F4A7C15)
	binary.BigEndian.PutUint32(r[8:], uint32(n))
	return object.NewRunBase(0, r).Blob(0)
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

// BenchmarkReopen opens a store of a million blobs (-blobs), in the page cache, after a clean close and after a kill. Run it with -benchtime 20x.
func BenchmarkReopen(b *testing.B) {
	blobs := *reopenBlobs
	if testing.Short() {
		blobs = min(blobs, 100_000)
	}
	dir := benchDir(b)
	o := Options{Reserve: -1, Ballast: -1, Fsync: Never, Certify: -1}
	st, err := Open(dir, o)
	must(b, err)
	(&crew{st: st, data: [][]byte{make([]byte, 100)}}).put(blobs, 64)
	must(b, st.Close())
	for _, kind := range []string{"limit", "clean", "killed", "killed-tail"} {
		if kind == "killed-tail" {
			blobs += longTail(b, dir, o, blobs)
		}
		b.Run(kind, func(b *testing.B) {
			var took slicesOf
			for b.Loop() {
				took = append(took, reopenTime(b, kind, dir, o, int64(blobs)))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op") // with the close
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-median")
			b.ReportMetric(took[0].Seconds()*1000, "ms-best")
			b.ReportMetric(took[len(took)-1].Seconds()*1000, "ms-worst")
		})
	}
}

// longTail adds as many blobs as an index file may lag behind, with the policy Always, and keeps that file.
func longTail(b *testing.B, dir string, o Options, blobs int) int {
	o.Fsync = Always
	st, err := Open(dir, o)
	must(b, err)
	tail := max(st.o.OverlayMax, blobs/overlayShare) - 1
	must(b, st.Checkpoint())
	for _, name := range []string{indexName, filterName} {
		must(b, os.Link(filepath.Join(dir, name), filepath.Join(dir, name+".kept")))
	}
	(&crew{st: st, data: [][]byte{make([]byte, 100)}, next: uint64(blobs)}).put(tail, 64)
	must(b, st.Close())
	return tail
}

// reopenTime is how long an open takes; that of "limit" only removes a file, syncs the folder, and reads the first page of every file.
func reopenTime(b *testing.B, kind, dir string, o Options, blobs int64) time.Duration {
	switch kind {
	case "killed":
		os.Remove(filepath.Join(dir, cleanName))
	case "killed-tail": // the index file is the one from before the tail
		os.Remove(filepath.Join(dir, cleanName))
		for _, name := range []string{indexName, filterName} {
			must(b, os.Remove(filepath.Join(dir, name)))
			must(b, os.Link(filepath.Join(dir, name+".kept"), filepath.Join(dir, name)))
		}
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

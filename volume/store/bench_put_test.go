package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// rawLog is the limit of a log on the same disk: one goroutine, one write of a whole group and, where the policy asks for it, one
// fdatasync, into a file that is there, filled with zeros; large records go past the page cache.
type rawLog struct {
	f     vfs.File
	buf   []byte
	off   int64
	group int // records
	fsync Policy
	last  time.Time
}

const rawCapacity = 256 << 20

func newRawLog(b *testing.B, dir string, size, writers int, o Options) *rawLog {
	o = o.withDefaults()
	name := filepath.Join(dir, "raw")
	f, err := vfs.OpenFile(vfs.OS(), name, os.O_RDWR|os.O_CREATE, 0o600)
	must(b, err)
	must(b, vfs.Preallocate(f, rawCapacity))
	must(b, vfs.ZeroFill(f, 0, rawCapacity, nil))
	l, most := record.Layout{Align: segment.Small.Align()}, o.smallGroup()
	if size >= o.LargeBlob {
		l, most = record.Layout{Align: segment.Large.Align()}, o.largeGroup()
		must(b, f.Close())
		f, _, err = vfs.OpenDirect(vfs.OS(), name, os.O_RDWR, 0)
		must(b, err)
	}
	b.Cleanup(func() { f.Close() })
	group := min(writers, most/l.Size(size))
	return &rawLog{f: f, buf: vfs.AlignedBuffer(group * l.Size(size)), group: group, fsync: o.Fsync}
}

// put appends n records.
func (r *rawLog) put(b *testing.B, n int) {
	for ; n > 0; n -= r.group {
		buf := r.buf[:len(r.buf)/r.group*min(n, r.group)]
		if r.off+int64(len(buf)) > rawCapacity {
			r.off = 0
		}
		_, err := r.f.WriteAt(buf, r.off)
		must(b, err)
		r.off += int64(len(buf))
		if r.fsync == Always || (r.fsync == Interval && time.Since(r.last) > 100*time.Millisecond) {
			must(b, r.f.SyncData())
			r.last = time.Now()
		}
	}
}

// crew is goroutines that put blobs, each when told to.
type crew struct {
	st   *Store
	data [][]byte
	next uint64
}

func (c *crew) put(n, writers int) {
	var wg sync.WaitGroup
	for w := range writers {
		from, to := c.next+uint64(n*w/writers), c.next+uint64(n*(w+1)/writers)
		wg.Go(func() {
			for id := from; id < to; id++ {
				if _, err := c.st.Prepare(ctx, benchID(id), object.Epochs{Cluster: 1}, c.data); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	c.next += uint64(n)
}

// BenchmarkPut prepares blobs, and in turns with it, turn by turn of the same run, does what no log can avoid: see rawLog. x is how many
// times as long the engine took. Rates are those of the quarter of the turns that was disturbed least.
func BenchmarkPut(b *testing.B) {
	for _, fsync := range []Policy{Always, Interval, Never} {
		for _, size := range []struct {
			name string
			n    int
		}{{"100B", 100}, {"4KiB", 4 << 10}, {"1MiB", 1 << 20}} {
			for _, writers := range []int{1, 4, 16, 64} {
				b.Run(fmt.Sprintf("%s/%s/%d", fsync, size.name, writers), func(b *testing.B) { benchPut(b, fsync, size.n, writers) })
			}
		}
	}
}

// BenchmarkSequential writes large blobs, past the page cache, against the device: see BenchmarkPut.
func BenchmarkSequential(b *testing.B) {
	for _, writers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("4MiB/%d", writers), func(b *testing.B) { benchPut(b, Always, 4<<20-8192, writers) })
	}
}

// slicesOf holds the times that turns took.
type slicesOf []time.Duration

// quiet is the time of a turn that was little disturbed: the quarter of the turns took less.
func (s slicesOf) quiet() time.Duration {
	slices.Sort(s)
	return s[len(s)/4]
}

func benchPut(b *testing.B, fsync Policy, size, writers int) {
	dir := benchDir(b)
	o := Options{Reserve: -1, Ballast: -1, ScrubRate: -1, Fsync: fsync}
	st, err := Open(filepath.Join(dir, "v"), o)
	must(b, err)
	defer func() { must(b, st.Close()) }()
	raw := newRawLog(b, dir, size, writers, o)
	c := &crew{st: st, data: [][]byte{make([]byte, size)}}
	turn := max(writers, min(16<<20/size, 16*writers)) // some 16 groups, at most 16 MiB
	for range 8 {
		c.put(turn, writers)
		raw.put(b, turn)
	}
	groups := st.Stats().Groups
	var engine, limit slicesOf
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for puts := 0; puts < b.N; puts += turn {
		begin := time.Now()
		c.put(turn, writers)
		engine = append(engine, time.Since(begin))
		b.StopTimer()
		begin = time.Now()
		raw.put(b, turn)
		limit = append(limit, time.Since(begin))
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(turn)/engine.quiet().Seconds(), "puts/s")
	b.ReportMetric(float64(turn)/limit.quiet().Seconds(), "limit/s")
	b.ReportMetric(float64(engine.quiet())/float64(limit.quiet()), "x")
	b.ReportMetric(float64(turn*len(engine))/float64(st.Stats().Groups-groups), "puts/group")
}

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// rawLog is the limit of a log on the same disk: the same bytes in the same groups, written by hand into a file of a segment's length: small
// records into one that is filled with zeros and in the page cache, again and again, or (zeros false) into new reserved space, as a log that
// grows has it; large ones into reserved space, past the page cache. Nothing is checked, summed, or looked up.
type rawLog struct {
	name   string
	direct bool
	zeros  bool
	f      vfs.File
	off    int64
	size   int // of a record in bytes
	group  int // records
	fsync  Policy
	last   time.Time
	buf    []byte // of alone

	mu     sync.Mutex
	open   *rawGroup
	rest   *rawGroup
	wake   chan struct{}
	closed chan struct{}
}

// rawGroup is what gathers.
type rawGroup struct {
	buf  []byte
	used int
	done chan struct{}
}

const rawCapacity = 128 << 20

func newRawLog(b *testing.B, dir string, size, writers int, zeros bool, o Options) *rawLog {
	o = o.withDefaults()
	l, most := record.Layout{Align: segment.Small.Align()}, o.smallGroup()
	r := &rawLog{name: filepath.Join(dir, fmt.Sprintf("raw-%v", zeros)), direct: size >= o.LargeBlob, zeros: zeros, fsync: o.Fsync}
	if r.direct {
		l, most = record.Layout{Align: segment.Large.Align()}, o.largeGroup()
	}
	r.size = l.Size(size)
	r.group = min(writers, most/r.size)
	r.buf = ownMemory(vfs.AlignedBuffer(r.group * r.size))
	r.open, r.rest = r.newGroup(), r.newGroup()
	r.wake, r.closed = make(chan struct{}, 1), make(chan struct{})
	r.fresh(b)
	go r.commit(b)
	b.Cleanup(func() {
		close(r.wake)
		<-r.closed
		r.f.Close()
	})
	return r
}

// ownMemory makes b memory of its own, as what clients send is: until it is written, all its pages are one.
func ownMemory(b []byte) []byte {
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func (r *rawLog) newGroup() *rawGroup {
	return &rawGroup{buf: vfs.AlignedBuffer(len(r.buf)), done: make(chan struct{})}
}

// fresh begins a new file.
func (r *rawLog) fresh(b *testing.B) {
	if r.f != nil {
		must(b, r.f.Close())
		must(b, os.Remove(r.name))
	}
	f, err := vfs.OpenFile(vfs.OS(), r.name, os.O_RDWR|os.O_CREATE, 0o600)
	must(b, err)
	must(b, vfs.Preallocate(f, rawCapacity))
	if r.zeros {
		must(b, vfs.ZeroFill(f, 0, rawCapacity, nil))
	}
	must(b, f.Sync())
	if r.direct {
		must(b, f.Close())
		f, _, err = vfs.OpenDirect(vfs.OS(), r.name, os.O_RDWR, 0)
		must(b, err)
	}
	r.f, r.off = f, 0
}

// ready sees that so many records fit.
func (r *rawLog) ready(b *testing.B, n int) {
	switch {
	case r.off+int64(n*r.size) <= rawCapacity:
	case r.zeros:
		r.off = 0
	default:
		r.fresh(b)
	}
}

func (r *rawLog) append(b []byte) {
	_, err := r.f.WriteAt(b, r.off)
	r.off += int64(len(b))
	if err == nil && (r.fsync == Always || (r.fsync == Interval && time.Since(r.last) > 100*time.Millisecond)) {
		err = r.f.SyncData()
		r.last = time.Now()
	}
	if err != nil {
		panic(err)
	}
}

// alone appends n records in full groups, one goroutine for all: what the disk takes.
func (r *rawLog) alone(n int) {
	for ; n > 0; n -= r.group {
		r.append(r.buf[:r.size*min(n, r.group)])
	}
}

// put appends n records by as many writers, each of which waits until its own is there: the limit of a group commit.
func (r *rawLog) put(n, writers int, data []byte) {
	var wg sync.WaitGroup
	for w := range writers {
		mine := n*(w+1)/writers - n*w/writers
		wg.Go(func() {
			for range mine {
				r.one(data)
			}
		})
	}
	wg.Wait()
}

func (r *rawLog) one(data []byte) {
	r.mu.Lock()
	for r.open.used+r.size > len(r.open.buf) {
		done := r.open.done
		r.mu.Unlock()
		<-done
		r.mu.Lock()
	}
	g := r.open
	copy(g.buf[g.used:], data)
	g.used += r.size
	done := g.done
	r.mu.Unlock()
	wake(r.wake)
	<-done
}

// commit takes what has gathered, writes it, syncs, and wakes all; then it lets those come again who were woken, as the engine does.
func (r *rawLog) commit(b *testing.B) {
	defer close(r.closed)
	for range r.wake {
		for {
			r.mu.Lock()
			g := r.open
			if g.used == 0 {
				r.mu.Unlock()
				break
			}
			r.open = r.rest
			r.mu.Unlock()
			r.append(g.buf[:g.used])
			r.rest = &rawGroup{buf: g.buf, done: make(chan struct{})}
			close(g.done)
			for range gatherIdle {
				runtime.Gosched()
			}
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

// BenchmarkPut prepares blobs, and in turns with it, turn by turn of the same run, does what no log can avoid (rawLog): limit/s is a group
// commit by hand, by as many writers, each of which is woken when its bytes are there, into space that was written before; new-limit/s, of
// small blobs, is the same into new space; disk/s is one goroutine that writes and syncs full groups, for which nobody waits. x, x-new and x-disk are how many times as long the engine took. Rates are those of the quarter of the turns that
// was disturbed least; cpu-ns/put is the time of all cores, the background's included. Allocations are those of eight turns.
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

// BenchmarkSequential writes blobs of 1 and 4 MiB, past the page cache, against the device (x-disk): see BenchmarkPut.
func BenchmarkSequential(b *testing.B) {
	for _, writers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("1MiB/%d", writers), func(b *testing.B) { benchPut(b, Always, 1<<20, writers) })
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

// turns are what some turns took, by the clock and of all cores.
type turns struct{ wall, cpu slicesOf }

func (t *turns) measure(do func()) {
	cpu, begin := cpuTime(), time.Now()
	do()
	t.add(time.Since(begin), cpuTime()-cpu)
}

func (t *turns) add(wall, cpu time.Duration) {
	t.wall, t.cpu = append(t.wall, wall), append(t.cpu, cpu)
}

// cpuTime is what this process has used of all cores.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchPut(b *testing.B, fsync Policy, size, writers int) {
	dir := benchDir(b)
	o := Options{Reserve: -1, Ballast: -1, ScrubRate: -1, Fsync: fsync}
	st, err := Open(filepath.Join(dir, "v"), o)
	must(b, err)
	defer func() { must(b, st.Close()) }()
	small := size < st.o.LargeBlob
	raw := newRawLog(b, dir, size, writers, small, o)
	grows := raw
	if small {
		grows = newRawLog(b, dir, size, writers, false, o)
	}
	c := &crew{st: st, data: [][]byte{ownMemory(make([]byte, size))}}
	turn := max(writers, min(16<<20/size, 16*writers)) // some 16 groups, at most 16 MiB
	for range 8 {
		c.put(turn, writers)
		raw.ready(b, turn)
		raw.put(turn, writers, c.data[0])
		grows.ready(b, turn)
		grows.put(turn, writers, c.data[0])
	}
	groups := st.Stats().Groups
	var engine, limit, fresh, disk turns
	b.ReportAllocs()
	for b.Loop() {
		for range 8 { // turns enough on a busy disk too
			engine.measure(func() { c.put(turn, writers) })
			b.StopTimer()
			raw.ready(b, 2*turn)
			limit.measure(func() { raw.put(turn, writers, c.data[0]) })
			disk.measure(func() { raw.alone(turn) })
			if small {
				grows.ready(b, turn)
				fresh.measure(func() { grows.put(turn, writers, c.data[0]) })
			}
			b.StartTimer()
		}
	}
	each := func(s slicesOf) float64 { return float64(s.quiet()) / float64(turn) }
	b.ReportMetric(0, "ns/op") // an operation of the package testing is a turn
	b.ReportMetric(float64(turn*len(engine.wall))/float64(st.Stats().Groups-groups), "puts/group")
	b.ReportMetric(1e9/each(engine.wall), "puts/s")
	b.ReportMetric(1e9/each(limit.wall), "limit/s")
	b.ReportMetric(1e9/each(disk.wall), "disk/s")
	b.ReportMetric(each(engine.wall)/each(limit.wall), "x")
	b.ReportMetric(each(engine.wall)/each(disk.wall), "x-disk")
	if small {
		b.ReportMetric(1e9/each(fresh.wall), "new-limit/s")
		b.ReportMetric(each(engine.wall)/each(fresh.wall), "x-new")
		b.ReportMetric(each(fresh.cpu), "new-limit-cpu-ns/put")
	}
	b.ReportMetric(each(engine.cpu), "cpu-ns/put")
	b.ReportMetric(each(limit.cpu), "limit-cpu-ns/put")
}

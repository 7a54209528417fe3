package index

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"minikv/internal/object"
	"minikv/internal/vfs"
)

// benchIDs are so many ids in no order, others for each from.
func benchIDs(from, count uint64) []object.BlobID {
	ids := make([]object.BlobID, count)
	r := rand.New(rand.NewPCG(from, 1))
	for i := range ids {
		binary.LittleEndian.PutUint64(ids[i][1:], r.Uint64())
		binary.LittleEndian.PutUint64(ids[i][8:], r.Uint64())
	}
	return ids
}

func benchBase(b *testing.B, ids []object.BlobID) *Index {
	x := New(nil)
	for _, id := range ids {
		x.Put(MakeEntry(id, 1, 8, 5, Prepared, 1))
	}
	merge(b, vfs.OS(), filepath.Join(b.TempDir(), "base"), x)
	if err := x.Scan(object.BlobID{}, func(*Entry) bool { return true }); err != nil { // every page is verified
		b.Fatal(err)
	}
	return x
}

// cpuTime is what this process has used of all cores.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// lookups looks up ids on all cores, each going through them from another place on. lookups/s is by the clock; lookups/cpu-s, times the
// cores, is what it would be if nothing else ran on the machine.
func lookups(b *testing.B, ids []object.BlobID, look func(id object.BlobID) bool) {
	var wrong atomic.Int64
	b.ReportAllocs()
	began := cpuTime()
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(len(ids)); pb.Next(); i++ {
			if i == len(ids) {
				i = 0
			}
			if !look(ids[i]) {
				wrong.Add(1)
			}
		}
	})
	report(b, cpuTime()-began, wrong.Load())
}

func report(b *testing.B, used time.Duration, wrong int64) {
	if wrong > 0 {
		b.Fatal(wrong)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
	b.ReportMetric(float64(b.N)/used.Seconds(), "lookups/cpu-s")
}

// batches is lookups of 64 ids at once with GetAll.
func batches(b *testing.B, x *Index, ids []object.BlobID, want bool) {
	const many = 64
	var wrong atomic.Int64
	b.ReportAllocs()
	began := cpuTime()
	b.RunParallel(func(pb *testing.PB) {
		got := make([]Entry, many)
		at, left := rand.IntN(len(ids)-many), 0
		for pb.Next() {
			if left--; left > 0 {
				continue
			}
			if at, left = at+many, many; at > len(ids)-many {
				at = 0
			}
			if x.GetAll(ids[at:at+many], got) != nil {
				wrong.Add(1)
			}
			for i := range got {
				if (got[i].State() != 0) != want {
					wrong.Add(1)
				}
			}
		}
	})
	report(b, cpuTime()-began, wrong.Load())
}

// BenchmarkIndex looks up what is there and what is not: in a mapped base alone, and under an overlay of a 24th, of which "new" are
// found there. "limit" is as many reads of 32 bytes at the same random places of the same mapping, with nothing verified or compared.
func BenchmarkIndex(b *testing.B) {
	for _, size := range []struct {
		name  string
		blobs uint64
	}{{"1M", 1_000_000}, {"10M", 10_000_000}} {
		there, absent, recent := benchIDs(1, size.blobs), benchIDs(2, size.blobs), benchIDs(3, size.blobs/24)
		x := benchBase(b, there)
		get := func(want bool) func(object.BlobID) bool {
			return func(id object.BlobID) bool {
				_, ok, err := x.Get(id)
				return ok == want && err == nil
			}
		}
		b.Run(size.name+"/limit", func(b *testing.B) { lookups(b, there, limit(x)) })
		b.Run(size.name+"/hit", func(b *testing.B) { lookups(b, there, get(true)) })
		b.Run(size.name+"/hit/batch", func(b *testing.B) { batches(b, x, there, true) })
		b.Run(size.name+"/miss/batch", func(b *testing.B) { batches(b, x, absent, false) })
		b.Run(size.name+"/miss", func(b *testing.B) { lookups(b, absent, get(false)) })
		for _, id := range recent {
			x.Put(MakeEntry(id, 1, 8, 5, Prepared, 1))
		}
		b.Run(size.name+"/overlay/hit", func(b *testing.B) { lookups(b, there, get(true)) })
		b.Run(size.name+"/overlay/miss", func(b *testing.B) { lookups(b, absent, get(false)) })
		b.Run(size.name+"/overlay/new", func(b *testing.B) { lookups(b, recent, get(true)) })
	}
}

// limit touches the home of an id.
func limit(x *Index) func(id object.BlobID) bool {
	base := x.levels.Load().base
	return func(id object.BlobID) bool {
		at, _ := bits.Mul64(id.Hash(), base.homes)
		e := base.slots[int(at)*EntryLen:][:EntryLen]
		ok := binary.LittleEndian.Uint64(e)|binary.LittleEndian.Uint64(e[24:]) != 1
		runtime.KeepAlive(base)
		return ok
	}
}

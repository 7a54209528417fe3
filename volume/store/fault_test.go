package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/segment"
)

// TestFailedSyncSeals holds I12: the failed group is refused and never acknowledged later; what was acknowledged before stays; the
// next write goes to a new segment, and all that is true after a crash that leaves nothing unsynced.
func TestFailedSyncSeals(t *testing.T) {
	for _, length := range []int{100, 20000} {
		for name, fault := range map[string]func(op vfs.Op) vfs.Fault{
			"sync":        vfs.FailNth(1, vfs.OnPath("*.seg*", vfs.Kinds(vfs.OpSync)), syscall.EIO, 0),
			"write":       vfs.FailNth(1, vfs.OnPath("*.seg*", vfs.Kinds(vfs.OpWrite)), syscall.EIO, 0),
			"short write": vfs.FailNth(1, vfs.OnPath("*.seg*", vfs.Kinds(vfs.OpWrite)), syscall.ENOSPC, 77),
		} {
			t.Run(fmt.Sprint(name, length), func(t *testing.T) {
				mem := vfs.NewMem()
				fs := vfs.NewInject(mem, vfs.Hooks{})
				st, err := Open("/v", tiny(fs))
				must(t, err)
				put(t, st, 1, length)
				put(t, st, 2, length)
				fs.SetHooks(vfs.Hooks{Before: fault})
				_, err = st.Prepare(ctx, testID(3), object.Epochs{Cluster: 5}, [][]byte{testData(3, length)})
				if err == nil {
					t.Fatal("a failed write was acknowledged")
				}
				_, err = st.ReadAt(ctx, testID(3), make([]byte, 1), 0)
				wantKind(t, err, errs.BlobMissing)
				put(t, st, 4, length)
				if s := st.Stats(); s.WriteFailures != 1 || s.Segments != 2 {
					t.Fatalf("%+v", s)
				}
				put(t, st, 3, length) // a retry is a new write
				see := func(st *Store) {
					t.Helper()
					for n := 1; n <= 4; n++ {
						check(t, st, n, length)
					}
					if len(st.Damage()) > 0 {
						t.Fatalf("%+v", st.Damage())
					}
				}
				see(st)
				for _, s := range vfs.Survivals {
					again, err := Open("/v", tiny(mem.CrashClone(s)))
					must(t, err)
					see(again)
					must(t, again.Close())
				}
				st = reopen(t, st)
				see(st)
				must(t, st.Close())
			})
		}
	}
}

// TestEveryFault makes each operation of a workload fail in turn, once and for good. Whatever was acknowledged is there, on the running
// store, after a restart and after a crash.
func TestEveryFault(t *testing.T) {
	for _, fault := range []struct {
		name  string
		err   error
		short int
		from  bool
	}{{"EIO", syscall.EIO, 0, false}, {"ENOSPC", syscall.ENOSPC, 0, false}, {"short", syscall.EIO, 50, false}, {"EIO for good", syscall.EIO, 0, true}} {
		t.Run(fault.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for n := int64(1); ; n++ {
				mem := vfs.NewMem()
				hook := vfs.FailNth(n, vfs.Kinds(), fault.err, fault.short)
				if fault.from {
					hook = vfs.FailFrom(n, vfs.Kinds(), fault.err)
				}
				var failed atomic.Bool
				fs := vfs.NewInject(mem, vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
					f := hook(op)
					if f.Err != nil {
						failed.Store(true)
					}
					return f
				}})
				o := newOracle()
				faultyLife(t, fs, o, !fault.from)
				for _, s := range vfs.Survivals {
					s.Seed = rng.Uint64()
					again, err := Open("/v", tiny(mem.CrashClone(s)))
					if err != nil {
						t.Fatalf("operation %d, %+v: %v", n, s, err)
					}
					if err := verify(again, o.snapshot()); err != nil {
						t.Fatalf("operation %d, %+v: %v", n, s, err)
					}
					must(t, again.Close())
				}
				if !failed.Load() {
					if n < 50 {
						t.Fatalf("only %d operations", n)
					}
					return
				}
			}
		})
	}
}

// faultyLife opens, writes, drops and closes; a single fault must not keep it from ending well.
func faultyLife(t *testing.T, fs vfs.FS, o *oracle, once bool) {
	t.Helper()
	st, err := Open("/v", tiny(fs))
	if err != nil {
		if once {
			if st, err = Open("/v", tiny(fs)); err != nil {
				t.Fatalf("opening again: %v", err)
			}
		} else {
			return
		}
	}
	w := &worker{o: o, st: st}
	failures := 0
	try := func(err error) {
		if err != nil {
			failures++
		}
		if errs.Is(err, errs.StorageFull) {
			st.Tidy(ctx) // there is space after all
		}
	}
	for n := range 16 {
		try(w.prepare(n))
	}
	for n := range 12 {
		try(w.commit(n))
		try(w.delete(n))
	}
	try(st.Tidy(ctx))
	if err := verify(st, o.snapshot()); err != nil {
		t.Fatalf("on the running store: %v", err)
	}
	if once && failures > 4 {
		t.Fatalf("one fault failed %d calls", failures)
	}
	st.Close()
}

// TestFullDisk holds I11: prepares are refused, everything else goes on, and when there is room again so do prepares.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetCapacity(3 << 20)
	o := tiny(mem)
	o.Reserve, o.Ballast = 256<<10, 512<<10
	st, err := Open("/v", o)
	must(t, err)
	n := 0
	for ; ; n++ {
		if n > 1000 {
			t.Fatal("the disk never fills")
		}
		_, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5}, [][]byte{testData(n, 20000)})
		if err != nil {
			wantKind(t, err, errs.StorageFull)
			break
		}
		must(t, st.Tidy(ctx))
	}
	if n < 60 || !st.Stats().Full {
		t.Fatalf("%d blobs fit; %+v", n, st.Stats())
	}
	// Something else takes all the rest.
	hog, err := mem.Create("/hog", "")
	must(t, err)
	for off := int64(0); ; off += 4096 {
		if _, err := hog.WriteAt(make([]byte, 4096), off); err != nil {
			break
		}
	}
	for i := range n {
		check(t, st, i, 20000)
	}
	must(t, st.Commit(ctx, testID(0)))
	must(t, st.Abort(ctx, testID(1)))
	// Deletes go on, for more than one segment of tombstones, and give space back.
	for i := range n - 3 {
		must(t, st.Delete(ctx, testID(i)))
	}
	_, err = st.Prepare(ctx, testID(5000), object.Epochs{Cluster: 5}, nil)
	wantKind(t, err, errs.StorageFull)
	must(t, st.Tidy(ctx))
	must(t, mem.Remove("/hog"))
	must(t, st.Tidy(ctx))
	if st.Stats().Full {
		t.Fatalf("still full: %+v", st.Stats())
	}
	put(t, st, 6000, 20000)
	for i := n - 3; i < n; i++ {
		check(t, st, i, 20000)
	}
	st = reopen(t, st)
	check(t, st, 6000, 20000)
	must(t, st.Close())
}

// TestDeletesOnABrimfulDisk: not a byte is left when the log of tombstones needs a new segment.
func TestDeletesOnABrimfulDisk(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetCapacity(4 << 20)
	o := tiny(mem)
	o.Reserve, o.Ballast = 1, 512<<10
	st, err := Open("/v", o)
	must(t, err)
	for i := range 60 {
		put(t, st, i, 20000)
	}
	hog, err := mem.Create("/hog", "")
	must(t, err)
	for off := int64(0); ; off += 4096 {
		if _, err := hog.WriteAt(make([]byte, 4096), off); err != nil {
			break
		}
	}
	// Fill the segment of tombstones; each record takes 88 bytes.
	deleted := 0
	for i := range 2000 {
		id := testID(i % 60)
		if i < 60 {
			must(t, st.Delete(ctx, id))
			deleted++
		} else if err := st.appendMark(); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	if u, _ := mem.GetDiskUsage("/"); st.janitor.ballast || u.AvailBytes > 512<<10 {
		t.Fatalf("the ballast was not needed: %+v", u)
	}
	must(t, st.Close())
	again, err := Open("/v", o)
	must(t, err)
	if got := page(t)(again.List(object.BlobID{}, 100)); len(got) != 0 {
		t.Fatalf("%d blobs are back", len(got))
	}
	must(t, again.Close())
}

// appendMark appends a synced record that says nothing.
func (st *Store) appendMark() error {
	g, err := st.appendIDs(ctx, 4, []object.BlobID{testID(1 << 30)}, synced)
	if err != nil {
		return err
	}
	return g.wait(ctx)
}

// TestRotIsReported: damage in the middle of a sealed segment is named with segment and offset, the rest is served, and a repeated
// prepare of the lost blob is accepted.
func TestRotIsReported(t *testing.T) {
	mem := vfs.NewMem()
	st, err := Open("/v", tiny(mem))
	must(t, err)
	for i := range 4 {
		put(t, st, i, 1000)
	}
	e, _, _ := st.index.Get(testID(1))
	data := e.Off() + int64(st.small.layout.DataOff(1000))
	must(t, st.Close())
	name := "/v/" + segment.Name(uint64(e.Segment), segment.Small)
	flip := func(off int64) {
		f, err := mem.OpenReadWrite(name, "")
		must(t, err)
		var b [1]byte
		_, err = f.ReadAt(b[:], off)
		must(t, err)
		_, err = f.WriteAt([]byte{b[0] ^ 1}, off)
		must(t, err)
		must(t, f.Close())
	}
	flip(data + 500)
	st, err = Open("/v", tiny(mem))
	must(t, err)
	_, err = st.ReadAt(ctx, testID(1), make([]byte, 10), 0)
	wantKind(t, err, errs.Corrupt)
	if want := fmt.Sprintf("segment %s offset %d", segment.Name(uint64(e.Segment), segment.Small), data); !contains(err.Error(), want) {
		t.Fatalf("%v does not say %q", err, want)
	}
	for _, i := range []int{0, 2, 3} {
		check(t, st, i, 1000)
	}
	must(t, st.Close())

	flip(e.Off() + 9) // now the header
	must(t, mem.Remove("/v/"+indexName))
	st, err = Open("/v", tiny(mem))
	must(t, err)
	if d := st.Damage(); len(d) != 1 || d[0].From != e.Off() {
		t.Fatalf("%+v", d)
	}
	_, err = st.ReadAt(ctx, testID(1), make([]byte, 10), 0)
	wantKind(t, err, errs.BlobMissing)
	for _, i := range []int{0, 2, 3} {
		check(t, st, i, 1000)
	}
	put(t, st, 1, 1000)
	check(t, st, 1, 1000)
	st = reopen(t, st) // damage is remembered by being found again
	if len(st.Damage()) != 1 {
		t.Fatalf("%+v", st.Damage())
	}
	check(t, st, 1, 1000)
	must(t, st.Close())
}

func contains(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}

// TestReadErrorIsDamage: what the disk refuses to give is an error of this replica, not of the store.
func TestReadErrorIsDamage(t *testing.T) {
	fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{})
	st, err := Open("/v", tiny(fs))
	must(t, err)
	put(t, st, 1, 100)
	fs.SetHooks(vfs.Hooks{Before: vfs.FailFrom(1, vfs.Kinds(vfs.OpRead), syscall.EIO)})
	_, err = st.ReadAt(ctx, testID(1), make([]byte, 10), 0)
	wantKind(t, err, errs.Corrupt)
	if !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	fs.SetHooks(vfs.Hooks{})
	check(t, st, 1, 100)
	must(t, st.Close())
}

// TestFailedSyncForgetsALargeGroup: the index hears of a large group while it is synced, and forgets it when that, or its begin, fails.
func TestFailedSyncForgetsALargeGroup(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpSync, vfs.OpStartSync} {
		t.Run(kind.String(), func(t *testing.T) { failedSyncForgets(t, kind) })
	}
}

func failedSyncForgets(t *testing.T, kind vfs.OpKind) {
	const many = 40
	fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{})
	st, err := Open("/v", tiny(fs))
	must(t, err)
	put(t, st, many, 100)
	prepareAll := func() (failed int) {
		release, err := st.small.park()
		must(t, err)
		ends := make(chan error, many)
		for n := range many {
			go func() {
				_, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5, Shard: 1}, [][]byte{testData(n, 100)})
				ends <- err
			}()
		}
		for gathered := 0; gathered < many; runtime.Gosched() {
			st.small.mu.Lock()
			if st.small.open != nil {
				gathered = len(st.small.open.entries)
			}
			st.small.mu.Unlock()
		}
		release()
		for range many {
			if <-ends != nil {
				failed++
			}
		}
		return failed
	}
	fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(1, vfs.Kinds(kind), syscall.EIO, 0)})
	if failed := prepareAll(); failed != many {
		t.Fatalf("%d of %d failed", failed, many)
	}
	fs.SetHooks(vfs.Hooks{})
	for n := range many {
		_, err := st.Stat(testID(n))
		wantKind(t, err, errs.BlobMissing)
	}
	if s := st.Stats(); s.Blobs != 1 || s.Entries != 1 {
		t.Fatalf("%d blobs, %d entries", s.Blobs, s.Entries)
	}
	put(t, st, many+1, 100) // seals the failed segment
	if failed := prepareAll(); failed != 0 {
		t.Fatalf("%d failed", failed)
	}
	for range 2 {
		for n := range many + 2 {
			check(t, st, n, 100)
		}
		if s := st.Stats(); s.Blobs != many+2 {
			t.Fatalf("%d blobs", s.Blobs)
		}
		st = reopen(t, st)
	}
	must(t, st.Close())
}

package store

import (
	"bytes"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestAgainstAMap runs random sequences of calls, restarts, crashes, faults and tidying under random options against a map.
func TestAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		defer func() { m.st.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"prepare": m.prepare, "commit": m.commit, "abort": m.abort, "delete": m.drop, "read": m.read, "tidy": m.tidy,
			"restart": m.restart, "crash": m.crash, "fault": m.fault, "": m.check,
		})
	})
}

// model is what is known of a blob: bytes (nil: never prepared), and a state that never falls.
type model struct {
	data            []byte
	state           object.BlobState // 0: gone
	hinted, maybe   bool             // a crash may lose the state; it may be there or not
	dropped, purged bool
}

type machine struct {
	mem  *vfs.Mem
	fs   *vfs.Inject
	o    Options
	st   *Store
	want map[int]*model

	faulted bool // ever: hints that were to be written with a group that failed are only in the index file
}

func newMachine(t *rapid.T) *machine {
	m := &machine{mem: vfs.NewMem(), want: map[int]*model{}}
	m.o = tiny(nil)
	m.o.LargeBlob = rapid.SampledFrom([]int{1, 1000, 8192, 32 << 10}).Draw(t, "large")
	m.o.GroupBytes = max(16<<10, 2*m.o.LargeBlob)
	m.o.SmallSegment = rapid.SampledFrom([]int64{120 << 10, 200 << 10, 1 << 20}).Draw(t, "segment")
	m.o.FirstSegment = m.o.SmallSegment
	m.o.noFill = rapid.Bool().Draw(t, "noFill")
	m.o.noSpares = rapid.Bool().Draw(t, "noSpares")
	m.open(t)
	return m
}

func (m *machine) open(t *rapid.T) {
	m.fs = vfs.NewInject(m.mem, vfs.Hooks{})
	m.o.FS = m.fs
	st, err := Open("/v", m.o)
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Damage()) > 0 {
		t.Fatalf("%+v", st.Damage())
	}
	m.st = st
}

func (m *machine) blob(t *rapid.T) (int, *model) {
	n := rapid.IntRange(0, 40).Draw(t, "blob")
	if m.want[n] == nil {
		m.want[n] = &model{}
	}
	return n, m.want[n]
}

func (m *machine) prepare(t *rapid.T) {
	n, b := m.blob(t)
	if b.dropped {
		return
	}
	data := testData(n, rapid.SampledFrom([]int{0, 1, 100, 5000, 9000, 64 << 10}).Draw(t, "length"))
	given := bytes.Clone(data)
	durable, err := m.st.Prepare(ctx, testID(n), object.Epochs{Cluster: 1}, [][]byte{given})
	clear(given) // it is ours again
	switch {
	case b.state != 0 && !b.maybe && !bytes.Equal(b.data, data):
		if !errs.Is(err, errs.Conflict) {
			t.Fatalf("other bytes: %v", err)
		}
	case errs.Is(err, errs.Conflict) && b.maybe:
	case err != nil || !durable:
		t.Fatal(durable, err)
	default:
		if b.state == 0 || b.maybe {
			b.state = object.BlobPrepared
		}
		b.data, b.maybe = data, false
	}
}

func (m *machine) commit(t *rapid.T) {
	n, b := m.blob(t)
	err := m.st.Commit(ctx, testID(n))
	switch {
	case b.maybe:
		if err == nil {
			b.state, b.hinted, b.maybe = object.BlobCommitted, true, false
			b.data = m.readAll(t, n)
		}
	case b.state == 0:
		if !errs.Is(err, errs.BlobMissing) && !errs.Is(err, errs.Aborted) {
			t.Fatal(err)
		}
	case err != nil:
		t.Fatal(err)
	default:
		b.state, b.hinted = object.BlobCommitted, true
	}
}

// settle finds out whether a blob that may be there is; false if it still may come back.
func (m *machine) settle(t *rapid.T, n int, b *model) bool {
	if b.maybe {
		info, err := m.st.Stat(testID(n))
		if err != nil {
			return false
		}
		b.maybe, b.state, b.data = false, info.State, m.readAll(t, n)
	}
	return true
}

func (m *machine) abort(t *rapid.T) {
	n, b := m.blob(t)
	known := m.settle(t, n, b)
	err := m.st.Abort(ctx, testID(n))
	if !known {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.state == object.BlobCommitted && !b.maybe {
		if b.hinted && err == nil { // the hint was lost in a crash
			b.state, b.dropped = 0, true
			return
		}
		if !errs.Is(err, errs.Conflict) {
			t.Fatalf("abort after commit: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if b.state != 0 {
		b.hinted, b.dropped, b.state = true, true, 0
	}
}

func (m *machine) drop(t *rapid.T) {
	n, b := m.blob(t)
	known := m.settle(t, n, b)
	if err := m.st.Delete(ctx, testID(n)); err != nil {
		t.Fatal(err)
	}
	if known && (b.state != 0 || b.dropped) {
		b.dropped, b.purged, b.state = true, true, 0
	}
}

func (m *machine) readAll(t *rapid.T, n int) []byte {
	buf := make([]byte, 64<<10+1)
	k, err := m.st.ReadAt(ctx, testID(n), buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:k]
}

func (m *machine) read(t *rapid.T) {
	n, b := m.blob(t)
	if b.state == 0 || b.maybe {
		return
	}
	off := rapid.IntRange(0, len(b.data)).Draw(t, "off")
	buf := make([]byte, rapid.IntRange(0, len(b.data)+1).Draw(t, "n"))
	k, err := m.st.ReadAt(ctx, testID(n), buf, int64(off))
	if want := b.data[off:min(len(b.data), off+len(buf))]; err != nil || !bytes.Equal(buf[:k], want) {
		t.Fatalf("blob %d from %d: %d bytes of %d, %v", n, off, k, len(want), err)
	}
}

func (m *machine) tidy(t *rapid.T) {
	if err := m.st.Tidy(ctx); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) restart(t *rapid.T) {
	if err := m.st.Close(); err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "checkpoint lost") {
		m.mem.Remove("/v/" + indexName)
	}
	m.open(t)
	if m.faulted { // hints that were written with the group that failed are lost
		m.resolve(t)
	}
}

func (m *machine) crash(t *rapid.T) {
	s := rapid.SampledFrom(vfs.Survivals).Draw(t, "survival")
	s.Seed = rapid.Uint64().Draw(t, "seed")
	old := m.st
	m.mem = m.mem.CrashClone(s)
	old.Close()
	m.open(t)
	m.resolve(t)
}

// resolve looks up what a crash may have lost.
func (m *machine) resolve(t *rapid.T) {
	for n, b := range m.want {
		if !b.hinted && !b.maybe {
			continue
		}
		info, err := m.st.Stat(testID(n))
		b.maybe = false
		switch {
		case err == nil && b.purged:
			t.Fatalf("blob %d is back after its delete", n)
		case err == nil:
			b.state, b.hinted, b.dropped = info.State, info.State == object.BlobCommitted, false
			if got := m.readAll(t, n); b.data != nil && !bytes.Equal(got, b.data) {
				t.Fatalf("blob %d has other bytes", n)
			} else {
				b.data = got
			}
		case b.state != 0 && !b.dropped && b.data != nil:
			t.Fatalf("blob %d is lost: %v", n, err)
		default:
			b.state, b.dropped = 0, b.dropped || b.data != nil
		}
	}
}

// fault lets the next change of the disk fail under one prepare.
func (m *machine) fault(t *rapid.T) {
	n, b := m.blob(t)
	if b.dropped || b.state != 0 || b.maybe {
		return
	}
	kind := rapid.SampledFrom([]vfs.OpKind{vfs.OpWrite, vfs.OpSync, vfs.OpCreate, vfs.OpRename, vfs.OpSyncDir, vfs.OpPreallocate}).Draw(t, "kind")
	m.fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(1, vfs.Kinds(kind), rapid.SampledFrom([]error{syscall.EIO, syscall.ENOSPC}).Draw(t, "err"), rapid.IntRange(0, 300).Draw(t, "short"))})
	m.faulted = true
	data := testData(n, 3000)
	durable, err := m.st.Prepare(ctx, testID(n), object.Epochs{Cluster: 1}, [][]byte{data})
	m.fs.SetHooks(vfs.Hooks{})
	if err == nil && durable {
		b.data, b.state = data, object.BlobPrepared
	} else {
		b.data, b.maybe, b.hinted = nil, true, true // after a restart it may be there
	}
	if err := m.st.Tidy(ctx); err != nil { // there is space after all
		t.Fatal(err)
	}
}

func (m *machine) check(t *rapid.T) {
	got := map[object.BlobID]object.BlobInfo{}
	for _, b := range page(t)(m.st.List(object.BlobID{}, 1000)) {
		got[b.ID] = b
	}
	for n, b := range m.want {
		info, ok := got[testID(n)]
		delete(got, testID(n))
		if b.maybe {
			continue
		}
		if ok != (b.state != 0) || (ok && (info.Length != int64(len(b.data)) || (info.State != b.state && !b.hinted))) {
			t.Fatalf("blob %d: listed %v %+v, want state %v of %d bytes", n, ok, info, b.state, len(b.data))
		}
	}
	if len(got) > 0 {
		t.Fatalf("%v", got)
	}
}

package consensus

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

const testLogDir = "/log"

// fatals counts what would have ended the process.
type fatals struct {
	n    atomic.Int64
	last atomic.Pointer[error]
}

func (f *fatals) add(err error) {
	f.n.Add(1)
	f.last.Store(&err)
}

func logOpts(fs vfs.FS, fatal func(error)) logOptions {
	return logOptions{
		fs: fs, dir: testLogDir, logger: hclog.NewNullLogger(), fatal: fatal,
		segmentBytes: 8 << 10, cacheBytes: 4 << 10, hangMax: time.Minute,
	}
}

func openTestLog(t testing.TB, fs vfs.FS) *logStore {
	t.Helper()
	s, err := openLog(logOpts(fs, func(err error) { t.Errorf("fatal: %v", err) }))
	must(t, err)
	t.Cleanup(func() { s.filer.close(); s.wal.Close() })
	return s
}

func entry(i uint64) *raft.Log {
	return &raft.Log{Index: i, Term: 1 + i/100, Data: bytes.Repeat([]byte{byte(i)}, int(i%700))}
}

func appendEntries(t testing.TB, s *logStore, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		must(t, s.StoreLog(entry(i)))
	}
}

func checkEntries(t testing.TB, s *logStore, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		var l raft.Log
		must(t, s.GetLog(i, &l))
		if want := entry(i); l.Index != i || l.Term != want.Term || !bytes.Equal(l.Data, want.Data) {
			t.Fatalf("entry %d differs", i)
		}
	}
}

// TestLogReopens through rotations, with its stable values. raft-wal alone refuses to open segments of a foreign codec again.
func TestLogReopens(t *testing.T) {
	fs := vfs.NewMem()
	next := uint64(1)
	for round := range uint64(5) {
		s := openTestLog(t, fs)
		checkEntries(t, s, 1, next-1)
		if round > 0 {
			if v, err := s.GetUint64([]byte("n")); err != nil || v != round {
				t.Fatalf("stable value %d, %v", v, err)
			}
		}
		must(t, s.SetUint64([]byte("n"), round+1))
		appendEntries(t, s, next, next+99)
		next += 100
		must(t, s.Close())
	}
}

// TestLogSurvivesPowerCutsAtEveryOperation: what StoreLogs acknowledged is there, what was cut off at the tail stays off.
func TestLogSurvivesPowerCutsAtEveryOperation(t *testing.T) {
	mem := vfs.NewMem()
	type cut struct {
		fs    *vfs.Mem
		acked uint64
	}
	var acked atomic.Uint64
	var mu sync.Mutex
	var cuts []cut
	seed := uint64(0)
	fs := vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		if !op.Kind.Changes() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		seed++
		s := vfs.Survivals[seed%4]
		s.Seed = seed
		cuts = append(cuts, cut{mem.CrashClone(s), acked.Load()})
	}})
	s := openTestLog(t, fs)
	next := uint64(1)
	for i := range uint64(120) {
		n := 1 + i%3
		logs := make([]*raft.Log, n)
		for j := range logs {
			logs[j] = entry(next + uint64(j))
		}
		must(t, s.StoreLogs(logs))
		next += n
		acked.Store(next - 1)
	}
	s.filer.close()
	must(t, s.wal.Close())
	if len(cuts) < 200 {
		t.Fatalf("only %d cuts", len(cuts))
	}
	for i, c := range cuts {
		for life := range uint64(2) {
			s := openTestLog(t, c.fs)
			last, err := s.LastIndex()
			must(t, err)
			if last < c.acked+life*3 {
				t.Fatalf("cut %d, life %d: the log ends at %d, acknowledged were %d", i, life, last, c.acked+life*3)
			}
			checkEntries(t, s, 1, last)
			appendEntries(t, s, last+1, last+3)
			c.acked = last
			s.filer.close()
			must(t, s.wal.Close())
			c.fs = c.fs.CrashClone(vfs.Survival{Percent: 50, Torn: true, Seed: uint64(i)})
		}
	}
}

// TestASealedTailIsRotatedAtTheStart: the power fails between the append that fills a segment and the rotation. raft-wal alone
// would refuse every later append.
func TestASealedTailIsRotatedAtTheStart(t *testing.T) {
	mem := vfs.NewMem()
	var at *vfs.Mem
	fs := vfs.NewInject(mem, vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpCreate && strings.HasSuffix(op.Path, walMetaName+".tmp") {
			at = mem.CrashClone(vfs.Survival{Percent: 100})
		}
		return vfs.Fault{}
	}})
	s := openTestLog(t, fs)
	at = nil
	last := uint64(0)
	for at == nil {
		last++
		must(t, s.StoreLog(entry(last)))
		s.filer.awaitRotation()
	}
	must(t, s.wal.Close())
	again := openTestLog(t, at)
	checkEntries(t, again, 1, last)
	appendEntries(t, again, last+1, last+100)
	checkEntries(t, again, 1, last+100)
}

func tailFile(t testing.TB, fs vfs.FS) string {
	t.Helper()
	names, err := fs.List(testLogDir)
	must(t, err)
	newest := ""
	for _, n := range names {
		if strings.HasSuffix(n, ".wal") && n > newest {
			newest = n
		}
	}
	return fs.PathJoin(testLogDir, newest)
}

// change rewrites a file's content behind the back of everyone.
func change(t testing.TB, fs vfs.FS, name string, f func(b []byte)) {
	t.Helper()
	b, err := vfs.ReadFile(fs, name, 1<<30)
	must(t, err)
	f(b)
	w, err := vfs.OpenFile(fs, name, os.O_RDWR, 0)
	must(t, err)
	_, err = w.WriteAt(b, 0)
	must(t, err)
	must(t, w.Sync())
	must(t, w.Close())
}

// TestDamageHalts (C1, I9): a flipped byte anywhere among acknowledged entries is an error at the start, never a shorter log.
func TestDamageHalts(t *testing.T) {
	base := vfs.NewMem()
	s := openTestLog(t, base)
	appendEntries(t, s, 1, 60)
	must(t, s.Close())
	names, err := base.List(testLogDir)
	must(t, err)
	tried := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		full := base.PathJoin(testLogDir, name)
		b, err := vfs.ReadFile(base, full, 1<<30)
		must(t, err)
		end := len(bytes.TrimRight(b, "\x00"))
		for off := walFileHeader; off < end; off += 97 {
			fs := base.CrashClone(vfs.Survival{Percent: 100})
			change(t, fs, full, func(b []byte) { b[off] ^= 0x10 })
			again, err := openLog(logOpts(fs, func(error) {}))
			if err == nil {
				// A damaged length of padding or an unused field may be harmless; the entries are not.
				checkEntries(t, again, 1, 60)
				again.wal.Close()
				continue
			}
			tried++
		}
	}
	if tried < 50 {
		t.Fatalf("only %d damages were seen", tried)
	}
}

// TestTears is a table of what a crash may leave at the end of the log.
func TestTears(t *testing.T) {
	for name, x := range map[string]struct {
		change func(b []byte, end int) // b up to end is in use
		last   uint64                  // of 20 entries
		kind   errs.Kind               // or refused
	}{
		"nothing":                      {func([]byte, int) {}, 20, 0},
		"a byte of the last batch":     {func(b []byte, end int) { b[end-20] ^= 1 }, 19, 0},
		"the last commit frame":        {func(b []byte, end int) { clear(b[end-8 : end]) }, 19, 0},
		"half of the last batch":       {func(b []byte, end int) { clear(b[end-12 : end]) }, 19, 0},
		"rubbish behind the end":       {func(b []byte, end int) { copy(b[end:], "rubbish that is no frame at all") }, 20, 0},
		"a stale frame behind the end": {func(b []byte, end int) { copy(b[end:], b[walFileHeader:walFileHeader+64]) }, 20, 0},
		"a stale batch further behind": {func(b []byte, end int) { copy(b[end+4096:], b[walFileHeader:end]) }, 20, 0},
		"an earlier batch":             {func(b []byte, end int) { b[walFileHeader+12] ^= 1 }, 0, errs.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			o := logOpts(fs, func(err error) { t.Errorf("fatal: %v", err) })
			o.segmentBytes = 1 << 20
			s, err := openLog(o)
			must(t, err)
			appendEntries(t, s, 1, 20)
			must(t, s.wal.Close()) // not certified: as after a crash
			change(t, fs, tailFile(t, fs), func(b []byte) { x.change(b, usedEnd(b)) })
			s, err = openLog(o)
			if x.kind != 0 {
				if !errs.Is(err, x.kind) {
					t.Fatalf("%v", err)
				}
				return
			}
			must(t, err)
			if last, _ := s.LastIndex(); last != x.last {
				t.Fatalf("the log ends at %d, not %d", last, x.last)
			}
			appendEntries(t, s, x.last+1, 30)
			checkEntries(t, s, 1, 30)
			must(t, s.Close())
			b, err := vfs.ReadFile(fs, tailFile(t, fs), 1<<30)
			must(t, err)
			w := tailWalk{r: bytes.NewReader(b), size: int64(len(b))}
			must(t, w.walk())
			if w.entries != 30 || len(bytes.TrimRight(b[w.end:], "\x00")) != 0 {
				t.Fatalf("%d entries, and something behind them", w.entries)
			}
		})
	}
}

func usedEnd(b []byte) int {
	w := tailWalk{r: bytes.NewReader(b), size: int64(len(b))}
	if err := w.walk(); err != nil {
		panic(err)
	}
	return int(w.end)
}

// TestACleanlyClosedLogMayNotShrink: the last batch is damage then, not a tear.
func TestACleanlyClosedLogMayNotShrink(t *testing.T) {
	fs := vfs.NewMem()
	s := openTestLog(t, fs)
	appendEntries(t, s, 1, 5)
	must(t, s.Close())
	change(t, fs, tailFile(t, fs), func(b []byte) { b[usedEnd(b)-10] ^= 1 })
	if _, err := openLog(logOpts(fs, func(error) {})); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("%v", err)
	}
}

// TestSegmentsWithoutStateAreRefused: raft-wal would delete them.
func TestSegmentsWithoutStateAreRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := openTestLog(t, fs)
	appendEntries(t, s, 1, 5)
	must(t, s.Close())
	must(t, fs.Remove(fs.PathJoin(testLogDir, walMetaName)))
	if _, err := openLog(logOpts(fs, func(error) {})); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("%v", err)
	}
}

// TestAMismatchWhileRunningIsFatal: an entry goes bad after the start.
func TestAMismatchWhileRunningIsFatal(t *testing.T) {
	fs := vfs.NewMem()
	var f fatals
	o := logOpts(fs, f.add)
	o.segmentBytes = 1 << 20
	s, err := openLog(o)
	must(t, err)
	defer s.wal.Close()
	appendEntries(t, s, 1, 200)
	change(t, fs, tailFile(t, fs), func(b []byte) { b[walFileHeader+walFrameHeader+20] ^= 1 })
	if err := s.GetLog(1, new(raft.Log)); !errs.Is(err, errs.Corrupt) || f.n.Load() != 1 {
		t.Fatalf("%v, %d fatal", err, f.n.Load())
	}
	if err := s.GetLog(1000, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) || f.n.Load() != 1 {
		t.Fatalf("an absent entry: %v, %d fatal", err, f.n.Load())
	}
}

// TestAFailedAppendIsFatal (I12).
func TestAFailedAppendIsFatal(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{})
		var f fatals
		s, err := openLog(logOpts(fs, f.add))
		must(t, err)
		appendEntries(t, s, 1, 3)
		fs.SetHooks(vfs.Hooks{Before: vfs.FailFrom(1, vfs.OnPath("*.wal", vfs.Kinds(kind)), io.ErrClosedPipe)})
		if err := s.StoreLog(entry(4)); err == nil || f.n.Load() == 0 {
			t.Fatalf("%v: %v, %d fatal", kind, err, f.n.Load())
		}
		s.wal.Close()
	}
}

// TestWatchdog: an append that hangs is fatal while it hangs.
func TestWatchdog(t *testing.T) {
	fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{})
	fatal := make(chan error, 1)
	o := logOpts(fs, func(err error) { fatal <- err })
	o.hangMax = 20 * time.Millisecond
	s, err := openLog(o)
	must(t, err)
	defer s.wal.Close()
	release := make(chan struct{})
	fs.SetHooks(vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpSync {
			<-release
		}
		return vfs.Fault{}
	}})
	done := make(chan error, 1)
	go func() { done <- s.StoreLog(entry(1)) }()
	if err := <-fatal; !errs.Is(err, errs.Timeout) {
		t.Fatalf("%v", err)
	}
	select {
	case <-done:
		t.Fatal("the append did not hang")
	default:
	}
	close(release)
	must(t, <-done)
}

// TestCutting at both ends, also while a rotation is on its way.
func TestCutting(t *testing.T) {
	fs := vfs.NewMem()
	s := openTestLog(t, fs)
	appendEntries(t, s, 1, 100)
	must(t, s.DeleteRange(1, 40))
	must(t, s.DeleteRange(91, 100))
	check := func() {
		t.Helper()
		first, _ := s.FirstIndex()
		last, _ := s.LastIndex()
		if first != 41 || last != 90 {
			t.Fatalf("%d to %d", first, last)
		}
		checkEntries(t, s, first, last)
		if err := s.GetLog(40, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatal(err)
		}
		if err := s.GetLog(91, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatal(err)
		}
	}
	check()
	for i := uint64(1); i <= 40; i++ {
		if err := s.GetLog(i, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("entry %d was cut off: %v", i, err)
		}
	}
	must(t, s.Close())
	s = openTestLog(t, fs)
	check()
	appendEntries(t, s, 91, 120)
	for i := uint64(121); i < 400; i += 20 { // the whole log, in the moment in which its tail may be sealed
		appendEntries(t, s, i, i+19)
		first, _ := s.FirstIndex()
		must(t, s.DeleteRange(first, i+19))
	}
	appendEntries(t, s, 401, 500)
	checkEntries(t, s, 401, 500)
	must(t, s.dropBelow(1000))
	appendEntries(t, s, 1001, 1010)
	must(t, s.Close())
	checkEntries(t, openTestLog(t, fs), 1001, 1010)
}

func TestTheCacheIsBoundedByBytes(t *testing.T) {
	c := newLogCache(10 << 10)
	for i := uint64(1); i <= 1000; i++ {
		c.add([]*raft.Log{{Index: i, Data: make([]byte, 1000)}})
		if c.bytes > c.max {
			t.Fatalf("%d bytes", c.bytes)
		}
	}
	var l raft.Log
	if !c.get(1000, &l) || l.Index != 1000 || c.get(980, &l) || c.get(1001, &l) {
		t.Fatal("the newest entries are not those that stay")
	}
	c.remove(999, 1000)
	if c.get(998, &l) || c.get(1000, &l) || c.bytes != 0 {
		t.Fatal("entries outlived their removal")
	}
	c.add([]*raft.Log{{Index: 5}, {Index: 6}, {Index: 7}})
	c.remove(1, 5)
	if c.get(5, &l) || !c.get(6, &l) || !c.get(7, &l) {
		t.Fatal("the head was not removed, or more than it")
	}
	c.add([]*raft.Log{{Index: 20}}) // a gap
	if c.get(7, &l) || !c.get(20, &l) {
		t.Fatal("a gap was bridged")
	}
}

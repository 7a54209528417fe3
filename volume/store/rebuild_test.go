package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
)

// rottenIndex is an open volume with blobs 0 to 999, of which the even ones are committed and each fifth is deleted, whose index file
// was damaged after it was opened. harm gets the file and the length of its head.
func rottenIndex(t *testing.T, o Options, harm func(f *os.File, head int64)) *Store {
	t.Helper()
	dir := t.TempDir()
	st, err := Open(dir, o)
	must(t, err)
	for n := range 1000 {
		put(t, st, n, 10+n%50)
		if n%2 == 0 {
			must(t, st.Commit(ctx, testID(n)))
		}
		if n%5 == 0 {
			must(t, st.Delete(ctx, testID(n)))
		}
	}
	must(t, st.Close())
	st, err = Open(dir, o)
	must(t, err)
	f, err := os.OpenFile(filepath.Join(dir, indexName), os.O_RDWR, 0)
	must(t, err)
	harm(f, st.last.headLen())
	must(t, f.Close())
	return st
}

var harms = map[string]func(f *os.File, head int64){
	"one page": func(f *os.File, head int64) {
		if _, err := f.WriteAt([]byte("rotten"), head+3*index.PageLen+100); err != nil {
			panic(err)
		}
	},
	"cut off": func(f *os.File, head int64) {
		if err := f.Truncate(head + 2*index.PageLen); err != nil {
			panic(err)
		}
	},
}

// census looks at every blob: how many are served, how many cannot be said.
func (x *rebuildCheck) census(t *testing.T, st *Store) (served, unknown int) {
	t.Helper()
	for n := range 1000 {
		b := make([]byte, 100)
		got, err := st.ReadAt(ctx, testID(n), b, 0)
		switch {
		case errs.Is(err, errs.Unavailable):
			unknown++
		case n%5 == 0 || x.deleted[n]:
			wantKind(t, err, errs.BlobMissing)
		case err != nil || string(b[:got]) != string(testData(n, 10+n%50)):
			t.Fatalf("blob %d: %v", n, err)
		default:
			served++
		}
	}
	return served, unknown
}

type rebuildCheck struct{ deleted map[int]bool }

// TestDamagedIndexIsRebuilt: damage of the mapped index in a running volume makes what needs the damaged page unavailable, serves the
// rest, and is gone after the index was built again, with all that happened meanwhile, and after a restart.
func TestDamagedIndexIsRebuilt(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			o := tiny(vfs.OS())
			o.OverlayMax = 100_000
			st := rottenIndex(t, o, harm)
			x := rebuildCheck{map[int]bool{}}
			served, unknown := x.census(t, st)
			if unknown == 0 || (served == 0 && name == "one page") {
				t.Fatalf("%d served, %d unavailable: no damage was met, or nothing else", served, unknown)
			}
			_, err := st.List(object.BlobID{}, 10_000)
			wantKind(t, err, errs.Unavailable)
			for n := 1; n < 1000; n += 20 { // what can be done is done, what cannot is refused
				if err := st.Delete(ctx, testID(n)); err == nil {
					x.deleted[n] = true
				} else {
					wantKind(t, err, errs.Unavailable)
				}
			}
			if _, err := st.Prepare(ctx, testID(5000), object.Epochs{Cluster: 5, Shard: 1}, [][]byte{testData(5000, 70)}); err != nil {
				wantKind(t, err, errs.Unavailable)
			}
			must(t, st.Tidy(ctx))
			put(t, st, 5000, 70)
			for range 3 { // rebuilt, opened again, opened without its index
				if _, unknown := x.census(t, st); unknown != 0 {
					t.Fatalf("%d blobs are still unavailable", unknown)
				}
				l := page(t)(st.List(object.BlobID{}, 10_000))
				if want := 1000 - 200 - len(x.deleted) + 1; len(l) != want || st.Stats().Blobs != int64(want) {
					t.Fatalf("%d blobs listed, %d counted, not %d", len(l), st.Stats().Blobs, want)
				}
				for _, in := range l {
					if n := numberOf(t, in.ID); (in.State == object.BlobCommitted) != (n%2 == 0 && n < 1000) {
						t.Fatalf("blob %d: %+v", n, in)
					}
				}
				check(t, st, 5000, 70)
				st = reopen(t, st)
				if err := os.Remove(filepath.Join(st.dir, indexName)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			must(t, st.Close())
		})
	}
}

func numberOf(t *testing.T, id object.BlobID) int {
	t.Helper()
	for n := range 1000 {
		if testID(n) == id {
			return n
		}
	}
	if id != testID(5000) {
		t.Fatalf("unknown blob %s", id)
	}
	return 5000
}

// TestDamagedIndexIsRebuiltByItself: nobody needs to ask.
func TestDamagedIndexIsRebuiltByItself(t *testing.T) {
	done := make(chan struct{})
	var rebuilt atomic.Int64
	o := tiny(vfs.OS())
	o.Tidy, o.OverlayMax = time.Hour, 100_000
	o.Logf = func(format string, args ...any) {
		if strings.Contains(fmt.Sprintf(format, args...), "built again") && rebuilt.Add(1) == 1 {
			close(done)
		}
	}
	st := rottenIndex(t, o, harms["one page"])
	x := rebuildCheck{}
	if _, unknown := x.census(t, st); unknown == 0 {
		t.Fatal("no damage was met")
	}
	<-done
	if _, unknown := x.census(t, st); unknown != 0 {
		t.Fatalf("%d blobs are still unavailable", unknown)
	}
	must(t, st.Close())
	if n := rebuilt.Load(); n != 1 {
		t.Fatalf("the index was built again %d times", n)
	}
}

// TestLateWordOfDamage: who met the damage before the index was built again, and says so after it, does no harm to the new one.
func TestLateWordOfDamage(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			o := tiny(vfs.OS())
			o.OverlayMax = 100_000
			rebuilt := 0
			o.Logf = func(format string, args ...any) {
				if strings.Contains(fmt.Sprintf(format, args...), "built again") {
					rebuilt++
				}
			}
			st := rottenIndex(t, o, harm)
			var met []error
			got := make([]index.Entry, 1)
			for n := range 1000 {
				_, _, err := st.index.Get(testID(n))
				met = append(met, err, st.index.GetAll([]object.BlobID{testID(n)}, got))
			}
			met = append(met, st.index.Scan(object.BlobID{}, func(*index.Entry) bool { return true }))
			met = slices.DeleteFunc(met, func(err error) bool { return err == nil })
			if len(met) < 2 {
				t.Fatalf("no damage was met: %v", met)
			}
			st.indexError(met[0])
			for range 2 {
				must(t, st.Tidy(ctx))
				for _, err := range met {
					st.indexError(err)
				}
			}
			if rebuilt != 1 || !exists(st.o.FS, filepath.Join(st.dir, indexName)) {
				t.Fatalf("built again %d times; there is an index: %v", rebuilt, exists(st.o.FS, filepath.Join(st.dir, indexName)))
			}
			must(t, st.Close())
		})
	}
}

// TestTidyingGoesOnWhileTheIndexIsBuiltAgain: a segment that is removed while the segments are read takes nothing with it: what it said of
// the death of a blob elsewhere counts.
func TestTidyingGoesOnWhileTheIndexIsBuiltAgain(t *testing.T) {
	var armed atomic.Bool
	reached, goOn := make(chan struct{}), make(chan struct{})
	fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpRead && strings.Contains(op.Path, ".seg") && armed.CompareAndSwap(true, false) {
			close(reached)
			<-goOn
		}
		return vfs.Fault{}
	}})
	o := tiny(fs)
	o.OverlayMax, o.CompactDead = 100_000, -1
	st, err := Open("/v", o)
	must(t, err)
	for n := range 40 {
		put(t, st, n, 7000)
	}
	must(t, st.Delete(ctx, testID(0)))
	said := uint32(st.small.active.Number) // where that is said
	for n := 40; n < 80; n++ {
		put(t, st, n, 7000)
	}
	gone := map[int]bool{0: true}
	for n := 1; n < 80; n++ {
		if e, ok, err := st.lookup(testID(n)); err == nil && ok && e.Segment == said {
			must(t, st.Delete(ctx, testID(n)))
			gone[n] = true
		}
	}
	must(t, st.Checkpoint())
	st.indexError(errs.E("", errs.Corrupt, "of this test"))
	armed.Store(true)
	done := make(chan error)
	go func() { done <- st.rebuildIndex(ctx) }()
	select {
	case <-reached:
	case err := <-done:
		t.Fatalf("nothing was read: %v", err)
	}
	must(t, st.tidy(ctx))
	if (*st.segments.Load())[said] != nil {
		t.Fatal("the dead segment was not removed")
	}
	close(goOn)
	must(t, <-done)
	for range 2 {
		for n := range 80 {
			if !gone[n] {
				check(t, st, n, 7000)
				continue
			}
			_, err := st.Stat(testID(n))
			wantKind(t, err, errs.BlobMissing)
		}
		st = reopen(t, st)
	}
	must(t, st.Close())
}

package store

import (
	"bytes"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/index"
)

// coldStore is a volume with blobs 0 to 999, opened after a clean close, without its filter yet.
func coldStore(t *testing.T, alter func(mem *vfs.Mem)) *Store {
	t.Helper()
	mem := vfs.NewMem()
	o := tiny(mem)
	o.OverlayMax = 100_000
	st, err := Open("/v", o)
	must(t, err)
	for n := range 1000 {
		put(t, st, n, 20)
	}
	must(t, st.Close())
	alter(mem)
	st, err = Open("/v", o)
	must(t, err)
	return st
}

func fetchFilter(t *testing.T, st *Store) {
	t.Helper()
	must(t, st.fetchFilter(ctx, st.index.Base(), st.last.generation))
}

// strangers are so many that without a filter they touch all 10 pages of the index, but for one in 10,000 times, and with it, which does not tell of one of
// 47, at most 8, but for one in 100,000.
const strangers = 100

// absent looks for blobs that are not there, and says how many pages of the index that touched.
func absent(t *testing.T, st *Store) int {
	t.Helper()
	for n := range strangers {
		_, err := st.Stat(testID(100_000 + n))
		wantKind(t, err, errs.BlobMissing)
	}
	return st.index.Base().Touched()
}

// TestFilterOfAColdIndex: after a start the filter tells of most blobs that they are not here without a look at the index, and of none
// that is.
func TestFilterOfAColdIndex(t *testing.T) {
	st := coldStore(t, func(*vfs.Mem) {})
	if n := absent(t, st); n < 9 {
		t.Fatalf("without the filter %d pages are touched", n)
	}
	must(t, st.Close())
	st = coldStore(t, func(*vfs.Mem) {})
	fetchFilter(t, st)
	if n := absent(t, st); n > 8 {
		t.Fatalf("with the filter %d pages are touched", n)
	}
	for n := range 1000 {
		check(t, st, n, 20)
	}
	must(t, st.Close())
}

// TestFilterOfATail: after a kill, what is new in the tail is taken in without a look at the index for each blob; what the index knows is
// still found.
func TestFilterOfATail(t *testing.T) {
	for what, alter := range map[string]func(mem *vfs.Mem){
		"filter":    func(*vfs.Mem) {},
		"no filter": func(mem *vfs.Mem) { must(t, mem.Remove("/v/"+filterName)) },
	} {
		t.Run(what, func(t *testing.T) {
			st := coldStore(t, func(*vfs.Mem) {})
			must(t, st.Abort(ctx, testID(7)))
			for n := 1000; n < 1000+strangers; n++ {
				put(t, st, n, 20)
			}
			mem := st.o.FS.(*vfs.Mem).CrashClone(vfs.Survival{Percent: 100})
			must(t, st.Close())
			alter(mem)
			o := tiny(mem)
			o.OverlayMax = 100_000
			st, err := Open("/v", o)
			must(t, err)
			if n := st.index.Base().Touched(); (what == "filter") != (n <= 8) {
				t.Fatalf("%d pages are touched", n)
			}
			for n := range 1000 + strangers {
				if n != 7 {
					check(t, st, n, 20)
				}
			}
			_, err = st.Stat(testID(7))
			wantKind(t, err, errs.BlobMissing)
			must(t, st.Close())
		})
	}
}

// TestFilterIsMadeAgain: a filter that is missing, damaged, cut off, or of another index is not believed; it is made again and written.
func TestFilterIsMadeAgain(t *testing.T) {
	const name = "/v/" + filterName
	rewrite := func(change func(b []byte) []byte) func(mem *vfs.Mem) {
		return func(mem *vfs.Mem) {
			b, err := vfs.ReadFile(mem, name, 1<<20)
			must(t, err)
			must(t, vfs.AtomicWriteFile(mem, name, change(b), 0o600))
		}
	}
	for what, alter := range map[string]func(mem *vfs.Mem){
		"missing": func(mem *vfs.Mem) { must(t, mem.Remove(name)) },
		"empty":   rewrite(func([]byte) []byte { return nil }),
		"cut off": rewrite(func(b []byte) []byte { return b[:len(b)-9] }),
		"damaged": rewrite(func(b []byte) []byte { b[len(b)-100] ^= 4; return b }),
		"zeros":   rewrite(func(b []byte) []byte { clear(b[filterHeadLen:]); return b }),
		"of another index": rewrite(func(b []byte) []byte {
			st := Store{id: identity{Incarnation: [16]byte(b[16:32])}}
			return append(st.filterHead(77), b[filterHeadLen:]...)
		}),
	} {
		t.Run(what, func(t *testing.T) {
			st := coldStore(t, alter)
			fetchFilter(t, st)
			for n := range 1000 {
				check(t, st, n, 20)
			}
			absent(t, st)
			want, err := st.index.Base().MakeFilter(func() bool { return true })
			must(t, err)
			bits, err := want.MarshalBinary()
			must(t, err)
			got, err := vfs.ReadFile(st.o.FS, name, 1<<20)
			must(t, err)
			if !bytes.Equal(got, append(st.filterHead(st.last.generation), bits...)) {
				t.Fatal("the filter was not written again")
			}
			must(t, st.Close())
		})
	}
}

// TestFilterIsNoProof: what is asked before anything is removed does not ask the filter, here one that denies everything.
func TestFilterIsNoProof(t *testing.T) {
	st := coldStore(t, func(*vfs.Mem) {})
	st.index.Base().SetFilter(index.NewTableFilter(1000, 1))
	if _, ok, err := st.lookup(testID(0)); ok || err != nil {
		t.Fatal("the filter was not asked")
	}
	for n := range 1000 {
		e, ok, err := st.lookupSure(testID(n))
		if err != nil || !ok || e.ID != testID(n) {
			t.Fatalf("blob %d: %v, %v", n, ok, err)
		}
	}
	must(t, st.Close())
}

package index

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// written writes what a merge visits to a file in fs and opens it.
func written(t interface{ Fatal(...any) }, fs vfs.FS, name string, entries int64, visit func(func(*Entry) bool) error) *Base {
	f, err := vfs.OpenFile(fs, name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(f, 0, entries, 99)
	if err := visit(func(e *Entry) bool { w.Add(e); return true }); err != nil {
		t.Fatal(err)
	}
	slots, homes, n, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b, unmap, err := vfs.Map(f, BaseSize(slots))
	if err != nil {
		t.Fatal(err)
	}
	base, err := OpenBase(b, slots, homes, n, 99, unmap)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return base
}

func merge(t interface{ Fatal(...any) }, fs vfs.FS, name string, x *Index) {
	m := x.Freeze()
	m.Replace(written(t, fs, name, m.Entries(), m.Visit))
}

// TestLevelsAgainstAMap: overlay, frozen overlay and base together are a map.
func TestLevelsAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs, x, model := vfs.NewMem(), New(nil), map[object.BlobID]Entry{}
		dead := map[uint32]bool{}
		var frozen *Merge
		id := rapid.Custom(func(t *rapid.T) object.BlobID { return testID(rapid.Uint64Range(1, 500).Draw(t, "n")) })
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "count") {
					e := MakeEntry(id.Draw(t, "id"), rapid.Uint32Range(0, 20).Draw(t, "segment"), 8*int64(rapid.IntRange(0, 1000).Draw(t, "off")), 5, Prepared, 1)
					if dead[e.Segment] {
						continue
					}
					x.Put(e)
					model[e.ID] = e
				}
			},
			"add": func(t *rapid.T) {
				var entries []Entry
				for range rapid.IntRange(1, 100).Draw(t, "count") {
					e := MakeEntry(id.Draw(t, "id"), rapid.Uint32Range(0, 20).Draw(t, "segment"), 8*int64(rapid.IntRange(0, 1000).Draw(t, "off")), 5, Prepared, 1)
					if _, known := model[e.ID]; !known && !dead[e.Segment] {
						entries = append(entries, e)
					}
				}
				known := make([]bool, len(entries))
				x.Add(entries, known)
				for i, e := range entries {
					if _, twice := model[e.ID]; twice && !known[i] {
						t.Fatalf("%x was put twice", e.ID)
					}
					if !known[i] {
						model[e.ID] = e
					}
				}
			},
			"update": func(t *rapid.T) {
				k := id.Draw(t, "id")
				found, err := x.Update(k, func(e *Entry) { e.SetState(Deleted) })
				e, ok := model[k]
				if ok != found || err != nil {
					t.Fatalf("found %v, want %v, %v", found, ok, err)
				}
				if ok {
					e.SetState(Deleted)
					model[k] = e
				}
			},
			"drop": func(t *rapid.T) {
				n := rapid.Uint32Range(0, 20).Draw(t, "segment")
				dead[n] = true
				x.Drop(n)
				for k, e := range model {
					if e.Segment == n {
						delete(model, k)
					}
				}
			},
			"freeze": func(t *rapid.T) {
				if frozen == nil {
					frozen = x.Freeze()
				}
			},
			"replace": func(t *rapid.T) {
				if frozen != nil {
					frozen.Replace(written(t, fs, "/base", frozen.Entries(), frozen.Visit))
					frozen = nil
				}
			},
			"scan": func(t *rapid.T) {
				from := object.BlobID{}
				seen := 0
				for {
					page := 0
					err := x.Scan(from, func(e *Entry) bool {
						if model[e.ID] != *e {
							t.Fatalf("scanned %+v, want %+v", *e, model[e.ID])
						}
						if from != (object.BlobID{}) && !after(e.ID, from.Hash(), from) {
							t.Fatal("out of order")
						}
						from = e.ID
						page++
						return page < 37
					})
					if err != nil {
						t.Fatal(err)
					}
					if seen += page; page == 0 {
						break
					}
				}
				if seen != len(model) {
					t.Fatalf("scanned %d of %d", seen, len(model))
				}
			},
			"many": func(t *rapid.T) {
				ids := rapid.SliceOfN(id, 0, 200).Draw(t, "ids")
				got := make([]Entry, len(ids))
				if err := x.GetAll(ids, got); err != nil {
					t.Fatal(err)
				}
				for i, k := range ids {
					if got[i] != model[k] {
						t.Fatalf("%+v, want %+v", got[i], model[k])
					}
				}
			},
			"": func(t *rapid.T) {
				for n := range uint64(20) {
					k := testID(n * 25)
					e, ok, err := x.Get(k)
					if want, there := model[k]; ok != there || e != want || err != nil {
						t.Fatalf("%v %+v, want %v %+v, %v", ok, e, there, want, err)
					}
				}
			},
		})
	})
}

// TestAdd: what the levels in memory know is not put again; what comes with it is.
func TestAdd(t *testing.T) {
	x := New(nil)
	entry := func(n uint64, segment uint32) Entry { return MakeEntry(testID(n), segment, 8, 5, Committed, 1) }
	add := func(want []bool, entries ...Entry) {
		t.Helper()
		known := make([]bool, len(entries))
		if x.Add(entries, known); !slices.Equal(known, want) {
			t.Fatalf("known: %v, want %v", known, want)
		}
	}
	add([]bool{false, true, false}, entry(1, 1), entry(1, 2), entry(2, 1))
	x.Freeze()
	add([]bool{true, false, true}, entry(1, 2), entry(3, 1), entry(2, 2))
	for n := range uint64(3) {
		if got, ok, err := x.Get(testID(n + 1)); got != entry(n+1, 1) || !ok || err != nil {
			t.Fatal(got, ok, err)
		}
	}
}

// TestMovedEntriesStayVisible: compaction moves an entry and drops the segment that it was in; neither a scan nor a lookup that began
// before misses it.
func TestMovedEntriesStayVisible(t *testing.T) {
	const n = 300
	for _, where := range []string{"overlay", "frozen", "base"} {
		t.Run(where, func(t *testing.T) {
			x := New(nil)
			for i := range uint64(n) {
				x.Put(MakeEntry(testID(i), 1, 8, 5, Committed, 1))
			}
			switch where {
			case "frozen":
				x.Freeze()
			case "base":
				merge(t, vfs.NewMem(), "/base", x)
			}
			move := func(to uint32) {
				for i := range uint64(n) {
					if _, _, _, err := x.Move(MakeEntry(testID(i), to, 8, 5, Committed, 1)); err != nil {
						t.Error(err)
					}
				}
				x.Drop(to - 1)
			}
			seen := 0
			err := x.Scan(object.BlobID{}, func(*Entry) bool {
				if seen++; seen == 1 {
					move(2)
				}
				return true
			})
			if seen != n || err != nil {
				t.Fatalf("a scan saw %d of %d entries, %v", seen, n, err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for to := uint32(3); to < 100; to++ {
					move(to)
				}
			}()
			for i := uint64(0); ; i++ {
				if _, found, err := x.Get(testID(i % n)); !found || err != nil {
					t.Fatalf("lookup %d: found %v, %v", i, found, err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
}

// TestBaseDamage: every flipped bit of slots or sums is an error for who looks there, and never a wrong entry or a miss.
func TestBaseDamage(t *testing.T) {
	fs, x := vfs.NewMem(), New(nil)
	for n := range uint64(300) {
		x.Put(MakeEntry(testID(n), 1, 8*int64(n), 5, Prepared, 1))
	}
	m := x.Freeze()
	good := written(t, fs, "/base", m.Entries(), m.Visit)
	image := append(append([]byte{}, good.slots...), good.sums...)
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		bit := r.IntN(8 * len(image))
		image[bit/8] ^= 1 << (bit % 8)
		b, err := OpenBase(image, int64(len(good.slots)/EntryLen), good.homes, good.entries, 99, nil)
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for n := range uint64(300) {
			e, ok, err := b.Get(testID(n))
			switch {
			case errs.Is(err, errs.Corrupt):
				failed++
			case err != nil || !ok || e.Off() != 8*int64(n):
				t.Fatalf("bit %d: blob %d: %+v, %v, %v", bit, n, e, ok, err)
			}
		}
		if failed == 0 {
			t.Fatalf("bit %d: nobody noticed", bit)
		}
		if err := b.Scan(object.BlobID{}, func(*Entry) bool { return true }); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("bit %d: scan: %v", bit, err)
		}
		image[bit/8] ^= 1 << (bit % 8)
	}
}

// TestBaseFault: a base whose file is cut short gives errors, not crashes.
func TestBaseFault(t *testing.T) {
	name := filepath.Join(t.TempDir(), "base")
	x := New(nil)
	for n := range uint64(5000) {
		x.Put(MakeEntry(testID(n), 1, 8, 5, Prepared, 1))
	}
	merge(t, vfs.OS(), name, x)
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for n := range uint64(5000) {
		if _, ok, err := x.Get(testID(n)); err != nil {
			failed++
		} else if !ok {
			t.Fatal("an unreadable file passes for a miss")
		}
	}
	if failed == 0 {
		t.Skip("the file is not mapped here")
	}
}

// TestBytesPerBlob: at most 40 bytes for each entry of a base, sums, tags and filter included.
func TestBytesPerBlob(t *testing.T) {
	fs, x := vfs.NewMem(), New(nil)
	const blobs = 100_000
	for n := range uint64(blobs) {
		x.Put(MakeEntry(testID(n), 1, 8, 5, Prepared, 1))
	}
	merge(t, fs, "/base", x)
	f, err := x.Base().MakeFilter(func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	x.Base().SetFilter(f)
	if each := float64(x.Bytes()) / blobs; each > 40 || x.Len() != blobs {
		t.Fatalf("%.1f bytes for each of %d blobs", each, x.Len())
	}
}

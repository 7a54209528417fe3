package index

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"minikv/internal/object"
)

func testID(n uint64) object.BlobID {
	var r [12]byte
	binary.BigEndian.PutUint64(r[2:], n*0x9E3779B97F4A7C15)
	return object.NewRunBase(0, r).Blob(uint32(n % 7))
}

// check holds the invariants of the package comment.
func check(t interface{ Fatalf(string, ...any) }, tab *Table) {
	for n := range tab.parts {
		p := &tab.parts[n]
		last, used := -1, 0
		for i := range p.slots {
			if p.slots[i].lenst == 0 {
				continue
			}
			used++
			_, h := split(p.slots[i].ID.Hash())
			for j := p.home(h); j < i; j++ {
				if p.slots[j].lenst == 0 {
					t.Fatalf("part %d: slot %d empty between home %d and %d", n, j, p.home(h), i)
				}
			}
			if p.home(h) > i {
				t.Fatalf("part %d: entry %d before its home %d", n, i, p.home(h))
			}
			if last >= 0 {
				_, lh := split(p.slots[last].ID.Hash())
				if lh > h || (lh == h && !less(p.slots[last].ID, p.slots[i].ID)) {
					t.Fatalf("part %d: entries %d and %d out of order", n, last, i)
				}
			}
			last = i
		}
		if used != p.used {
			t.Fatalf("part %d: %d entries, counted %d", n, used, p.used)
		}
	}
}

func TestAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tab Table
		model := map[object.BlobID]Entry{}
		id := rapid.Custom(func(t *rapid.T) object.BlobID { return testID(rapid.Uint64Range(0, 3000).Draw(t, "n")) })
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				for range rapid.IntRange(1, 200).Draw(t, "count") {
					e := MakeEntry(id.Draw(t, "id"), rapid.Uint32Range(0, 3).Draw(t, "segment"), 8*int64(rapid.IntRange(0, 1000).Draw(t, "off")), 5, Prepared, 1)
					old, replaced := tab.Put(e)
					if was, had := model[e.ID]; had != replaced || was != old {
						t.Fatalf("replaced %v %v, want %v %v", old, replaced, was, had)
					}
					model[e.ID] = e
				}
			},
			"delete": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "count") {
					k, seg := id.Draw(t, "id"), rapid.Uint32Range(0, 3).Draw(t, "segment")
					was, had := model[k]
					want := had && was.Segment == seg
					if got := tab.Delete(k, seg); got != want {
						t.Fatalf("delete %v, want %v", got, want)
					}
					if want {
						delete(model, k)
					}
				}
			},
			"update": func(t *rapid.T) {
				k := id.Draw(t, "id")
				if tab.Update(k, func(e *Entry) { e.SetState(Committed) }) {
					e := model[k]
					e.SetState(Committed)
					model[k] = e
				}
			},
			"": func(t *rapid.T) {
				check(t, &tab)
				if tab.Len() != int64(len(model)) {
					t.Fatalf("%d entries, want %d", tab.Len(), len(model))
				}
				for k, want := range model {
					if got, ok := tab.Get(k); !ok || got != want {
						t.Fatalf("get %v %v, want %v", got, ok, want)
					}
				}
				seen := map[object.BlobID]bool{}
				var after object.BlobID
				for {
					n := 0
					tab.Scan(after, func(e *Entry) bool {
						if seen[e.ID] || model[e.ID] != *e {
							t.Fatalf("scan: %v seen %v", e, seen[e.ID])
						}
						seen[e.ID] = true
						after = e.ID
						n++
						return n < 100
					})
					if n < 100 {
						break
					}
				}
				if len(seen) != len(model) {
					t.Fatalf("scan saw %d of %d", len(seen), len(model))
				}
			},
		})
	})
}

// TestSortedLoad puts the entries of one table into another in the order of a scan.
func TestSortedLoad(t *testing.T) {
	var a, b Table
	const n = 50_000
	for i := range uint64(n) {
		a.Put(MakeEntry(testID(i), 1, 8, 1, Prepared, 1))
	}
	b.Reserve(a.Len())
	a.Scan(object.BlobID{}, func(e *Entry) bool { b.Put(ParseEntry(e.AppendTo(nil))); return true })
	check(t, &b)
	if b.Len() != a.Len() || b.Bytes() > 2*a.Bytes() {
		t.Fatalf("%d entries of %d, %d bytes of %d", b.Len(), a.Len(), b.Bytes(), a.Bytes())
	}
}

func TestEntryFields(t *testing.T) {
	if EntryLen != 32 {
		t.Fatalf("an entry takes %d bytes", EntryLen)
	}
	e := MakeEntry(testID(1), 7, 32<<30-8, 8<<20, Committed, 123456)
	if e.Off() != 32<<30-8 || e.Length() != 8<<20 || e.State() != Committed || e.Epoch != 123456 || e.Segment != 7 {
		t.Fatalf("%+v", e)
	}
}

func BenchmarkGet(b *testing.B) {
	var tab Table
	const n = 1 << 20
	ids := make([]object.BlobID, n)
	for i := range ids {
		ids[i] = testID(uint64(i))
		tab.Put(MakeEntry(ids[i], 1, 8, 1, Prepared, 1))
	}
	b.ReportMetric(float64(tab.Bytes())/n, "B/blob")
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 2))
		for pb.Next() {
			if _, ok := tab.Get(ids[r.IntN(n)]); !ok {
				panic("lost")
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	var tab Table
	for i := range b.N {
		tab.Put(MakeEntry(testID(uint64(i)), 1, 8, 1, Prepared, 1))
	}
}

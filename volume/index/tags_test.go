package index

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestTags: the tags say the same as a walk through the slots does, for crowded and empty tables, and never more than they know.
func TestTags(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		homes := uint64(100)
		tag, last := newTags(200), -1
		at := map[int]uint64{} // slot to hash
		hashes := []uint64{}
		for range r.IntN(100) {
			hashes = append(hashes, r.Uint64())
		}
		homeOf := func(h uint64) int { return int(mulHigh(h, homes)) }
		for _, h := range sorted(hashes) {
			last = max(last+1, homeOf(h))
			at[last] = h
			tag[last] = byte(min(last-homeOf(h)+1, 15)<<4) | byte(h&15)
		}
		for range 200 {
			h := r.Uint64()
			if len(hashes) > 0 && r.IntN(2) == 0 {
				h = hashes[r.IntN(len(hashes))]
			}
			want := -1
			for slot, x := range at {
				if x == h {
					want = slot - homeOf(h)
				}
			}
			got, over := tag.find(uint64(homeOf(h)), h)
			switch {
			case got >= 0 && want >= 0 && got > want:
				t.Fatalf("passed by %d, found %d", want, got)
			case got < 0 && over && want >= 0:
				t.Fatalf("does not find %d", want)
			case got < 0 && want >= 0 && want < tagReach:
				t.Fatalf("does not see %d", want)
			case got >= 0 && want < 0 && at[homeOf(h)+got]&15 != h&15:
				t.Fatalf("takes %x for %x", at[homeOf(h)+got], h)
			}
		}
	}
}

// TestTagsOfABase: those that check makes are as far from home as the entries are.
func TestTagsOfABase(t *testing.T) {
	x := New(nil)
	for n := range uint64(5000) {
		x.Put(MakeEntry(testID(n), 1, 8, 5, Prepared, 1))
	}
	merge(t, memFS(), "/base", x)
	base := x.levels.Load().base
	walked := 0
	for n := range uint64(5000) {
		for range 2 { // the first makes the tags
			if e, ok, err := base.Get(testID(n)); err != nil || !ok || e.ID != testID(n) {
				t.Fatal(n, ok, err)
			}
		}
		k := keyOf(ptr(testID(n)))
		if base.slotOf(&k) == slotUnknown {
			walked++
		}
		if _, ok, err := base.Get(testID(n + 1<<30)); err != nil || ok {
			t.Fatal(n, ok, err)
		}
	}
	if walked > 500 {
		t.Fatalf("%d of 5000 entries cannot be told by their tags", walked)
	}
}

func ptr(id object.BlobID) *object.BlobID { return &id }

func mulHigh(a, b uint64) uint64 {
	h, _ := bits.Mul64(a, b)
	return h
}

func sorted(h []uint64) []uint64 { return slices.Sorted(slices.Values(h)) }

func memFS() vfs.FS { return vfs.NewMem() }

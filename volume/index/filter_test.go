package index

import (
	"bytes"
	"os"
	"testing"

	"minikv/internal/errs"
)

// TestFilter: what is in it is never said to be lacking; of the rest about one in a hundred is not.
func TestFilter(t *testing.T) {
	const ids = 10_000
	f := NewFilter(ids, 0.01, 5)
	for n := range uint64(ids) {
		f.Add(testID(n))
	}
	b, _ := f.MarshalBinary()
	f, err := ParseFilter(b)
	if err != nil || f.Entries() != ids {
		t.Fatal(f.Entries(), err)
	}
	wrong := 0
	for n := range uint64(ids) {
		if f.Lacks(testID(n)) {
			t.Fatalf("blob %d is in it", n)
		}
		if !f.Lacks(testID(n + 1<<30)) {
			wrong++
		}
	}
	if wrong > ids/50 {
		t.Fatalf("%d of %d wrong", wrong, ids)
	}
}

// TestFilterIsBounded: any number of ids fits the longest filter, and none of them is lost.
func TestFilterIsBounded(t *testing.T) {
	for _, ids := range []int64{-1, 0, 1, 2_000_000_000} {
		f := NewFilter(ids, 0.01, 5)
		if !f.Lacks(testID(3)) {
			t.Fatal("an empty filter lacks everything")
		}
		f.Add(testID(1))
		b, _ := f.MarshalBinary()
		if len(b) > FilterLenMax {
			t.Fatalf("%d ids: %d bytes", ids, len(b))
		}
		if f, err := ParseFilter(b); err != nil || f.Lacks(testID(1)) || !f.Lacks(testID(2)) {
			t.Fatal(ids, err)
		}
	}
}

const goldenFilter = "testdata/filter-v1"

func theGoldenFilter() []byte {
	f := NewFilter(20, 0.01, 0x0102030405060708)
	for n := range uint64(20) {
		f.Add(testID(n))
	}
	b, _ := f.MarshalBinary()
	return b
}

// TestGoldenFilter: version 1 is written and read as it always was, whatever the library does.
func TestGoldenFilter(t *testing.T) {
	want, err := os.ReadFile(goldenFilter)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, theGoldenFilter()) {
		t.Fatal("the filter differs from the golden one")
	}
}

// TestFilterDamage: every flipped bit and every cut is refused; a newer version says so.
func TestFilterDamage(t *testing.T) {
	b := theGoldenFilter()
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		if _, err := ParseFilter(b); !errs.Is(err, errs.Invalid) {
			t.Fatalf("bit %d: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		if _, err := ParseFilter(b[:n]); !errs.Is(err, errs.Invalid) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := ParseFilter(newer(b)); !errs.Is(err, errs.Unsupported) {
		t.Fatal(err)
	}
}

// newer is a filter of the next version, with a good checksum.
func newer(b []byte) []byte {
	n := bytes.Clone(b)
	n[4]++
	sum := filterSum(n)
	n[12], n[13], n[14], n[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	return n
}

// FuzzParseFilter: what parses is written again as it was, and answers.
func FuzzParseFilter(f *testing.F) {
	f.Add(theGoldenFilter()[filterHeadLen:], uint8(7))
	f.Fuzz(func(t *testing.T, words []byte, k uint8) {
		b := append(theGoldenFilter()[:filterHeadLen:filterHeadLen], words...)
		b[5], b[8], b[9], b[10], b[11] = k, byte(len(words)/8), byte(len(words)/8>>8), byte(len(words)/8>>16), 0
		sum := filterSum(b)
		b[12], b[13], b[14], b[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		g, err := ParseFilter(b)
		if err != nil {
			return
		}
		g.Lacks(testID(1))
		if again, _ := g.MarshalBinary(); !bytes.Equal(again, b) {
			t.Fatal("written differently")
		}
	})
}

package segment

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/record"
)

// every is how many bits lie between two that are flipped: a prime, so that all bits of a byte come about. 1 takes minutes.
var every = flag.Int64("flips.every", 331, "TestWholeSegment flips one of so many bits, and cuts at one of a quarter of so many bytes")

// full is a certified segment of 64 KiB with hardly any room left.
func full(t *testing.T) *image {
	m := newImageOf(t, Small, 64<<10)
	m.group(true, 10, 700).group(true, 300).group(true, 1, 0, 2000)
	m.group(true, 20_000).group(true, 9000, 9000, 64).group(true, 15_000, 4096).mark()
	if room := m.f.Room(); room > 512 {
		m.group(true, int(room)-512).mark()
	}
	return m
}

// TestWholeSegment holds the verdict on every flip of a bit in a full segment of 64 KiB, header included, and on its being cut off anywhere:
// a damaged header is refused, what a flip hits or a cut takes is damage, all else is served.
func TestWholeSegment(t *testing.T) {
	m := full(t)
	end := m.end(len(m.at) - 1)
	if end < 63<<10 {
		t.Fatalf("%d bytes are not a full segment", end)
	}
	t.Run("flips", func(t *testing.T) {
		w, err := m.fs.OpenReadWrite(m.f.Path(), "")
		must(t, err)
		f := m.open()
		for bit := int64(0); bit < 8*end; bit += *every {
			var b [1]byte
			off := bit / 8
			_, err := w.ReadAt(b[:], off)
			must(t, err)
			_, err = w.WriteAt([]byte{b[0] ^ 1<<(bit%8)}, off)
			must(t, err)
			if off >= HeaderLen {
				judgeFlip(t, m, f, off, end)
			} else if _, err := Open(m.fs, "/s", Name(7, Small)); !errs.Is(err, errs.Corrupt) {
				t.Fatalf("flip at %d: the header passes, or for newer: %v", off, err)
			}
			_, err = w.WriteAt(b[:], off)
			must(t, err)
		}
	})
	t.Run("cuts", func(t *testing.T) {
		whole, err := vfs.ReadFile(m.fs, m.f.Path(), 1<<20)
		must(t, err)
		for cut := int64(0); cut < end; cut += (*every + 3) / 4 {
			w, err := m.fs.OpenFile(m.f.Path(), os.O_RDWR|os.O_TRUNC, 0)
			must(t, err)
			_, err = w.WriteAt(whole[:cut], 0)
			must(t, err)
			must(t, w.Close())
			judgeCut(t, m, whole, cut, end)
		}
	})
}

// judgeCut looks at a segment that is known to reach up to end, cut off before: a piece without its header is a gap, a blob without some of
// its bytes is damaged.
func judgeCut(t *testing.T, m *image, all []byte, cut, end int64) {
	t.Helper()
	f, err := Open(m.fs, "/s", Name(7, Small))
	if cut < HeaderLen {
		if !errs.Is(err, errs.Corrupt) {
			t.Fatalf("cut at %d: the header passes: %v", cut, err)
		}
		return
	}
	must(t, err)
	defer f.Release()
	gaps, err := f.Scan(HeaderLen, end, func(int64, record.Header, []byte) error { return nil })
	must(t, err)
	unknown := 0
	for n := range m.at {
		whole := m.dataAt(n)+int64(len(m.data[n])) <= cut || (len(m.data[n]) == 0 && zeroFrom(all[cut:m.end(n)]))
		buf := make([]byte, len(m.data[n])+1)
		k, err := f.ReadAt(id(n+1), m.at[n], len(m.data[n]), buf[:len(m.data[n])], 0)
		switch {
		case len(m.data[n]) == 0: // nothing to read, nothing to be wrong
		case whole && (err != nil || !bytes.Equal(buf[:k], m.data[n])):
			t.Fatalf("cut at %d: record %d is whole: %v", cut, n, err)
		case !whole && !errs.Is(err, errs.Corrupt):
			t.Fatalf("cut at %d: record %d is lost: %v", cut, n, err)
		}
		if at := m.at[n]; at+record.HeaderLen > cut && !zeroFrom(all[max(at, cut):at+record.HeaderLen]) {
			unknown++
		}
	}
	if (unknown > 0) != (len(gaps) > 0) {
		t.Fatalf("cut at %d: %d records have no header, gaps %v", cut, unknown, gaps)
	}
}

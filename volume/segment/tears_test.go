package segment

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/record"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func id(n int) object.BlobID { return object.NewRunBase(0, [12]byte{byte(n), byte(n >> 8)}).Blob(0) }

// put encodes a record at offset off.
func put(f *File, off int64, h record.Header, data []byte) []byte {
	h.Length = uint32(len(data))
	l := f.Layout()
	b := make([]byte, l.Size(len(data)))
	h.Put(b, f.Seed, uint64(off))
	record.PutTable(b[record.HeaderLen:], record.Sums(nil, [][]byte{data}), record.Mask(f.Seed, uint64(off), h.ID))
	copy(b[l.DataOff(len(data)):], data)
	return b
}

// image is a segment under construction: groups of blobs, each group with the durable_to of its time.
type image struct {
	t       *testing.T
	fs      *vfs.Mem
	f       *File
	at      []int64 // offsets of records, by number from 0
	data    [][]byte
	durable int64
	seq     uint64
}

func newImage(t *testing.T, kind Kind) *image { return newImageOf(t, kind, 256<<10) }

func newImageOf(t *testing.T, kind Kind, capacity int64) *image {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("/s", 0o755))
	f, err := Create(mem, "/s", Header{Number: 7, Seed: 99, Capacity: capacity, Kind: kind}, 0, nil)
	must(t, err)
	return &image{t: t, fs: mem, f: f, durable: HeaderLen}
}

// group appends blobs of the lengths with one write; sync says that the next group knows that they are on disk.
func (m *image) group(sync bool, lengths ...int) *image {
	from := m.f.Pos()
	b := vfs.AlignedBuffer(256 << 10)[:0]
	for _, n := range lengths {
		m.seq++
		off := from + int64(len(b))
		data := bytes.Repeat([]byte{byte(len(m.at) + 1)}, n)
		m.at, m.data = append(m.at, off), append(m.data, data)
		b = append(b, put(m.f, off, record.Header{Type: record.Blob, ID: id(len(m.at)), Sequence: m.seq, DurableTo: uint64(m.durable)}, data)...)
	}
	must(m.t, m.f.Append(b))
	if sync {
		m.durable = m.f.Pos()
	}
	return m
}

// mark certifies.
func (m *image) mark() *image {
	b := vfs.AlignedBuffer(m.f.Layout().Size(0))
	copy(b, put(m.f, m.f.Pos(), record.Header{Type: record.Mark, DurableTo: uint64(m.durable)}, nil))
	must(m.t, m.f.Append(b))
	return m
}

// damage changes bytes from off on; nil b flips one bit.
func (m *image) damage(off int64, b []byte) *image {
	w, err := m.fs.OpenReadWrite(m.f.Path(), "")
	must(m.t, err)
	defer w.Close()
	if b == nil {
		b = make([]byte, 1)
		_, err = w.ReadAt(b, off)
		must(m.t, err)
		b[0] ^= 4
	}
	_, err = w.WriteAt(b, off)
	must(m.t, err)
	return m
}

func (m *image) open() *File {
	f, err := Open(m.fs, "/s", Name(7, m.f.Kind))
	must(m.t, err)
	return f
}

// dataAt is where the data of record n begins.
func (m *image) dataAt(n int) int64 { return m.at[n] + int64(m.f.Layout().DataOff(len(m.data[n]))) }

// end is where record n ends.
func (m *image) end(n int) int64 { return m.at[n] + int64(m.f.Layout().Size(len(m.data[n]))) }

// TestTears is the table of what a crash or rot does to a segment, and the verdict.
func TestTears(t *testing.T) {
	// Records are numbered from 0; H is the end of the header.
	type verdict struct {
		durable, end int   // end of that record; -1: H
		gaps         []int // records that do not parse
		unreadable   []int // records that parse and fail their data checksum
	}
	cases := []struct {
		name  string
		build func(m *image) *image
		want  verdict
	}{
		{"nothing written", func(m *image) *image { return m }, verdict{durable: -1, end: -1}},
		{"one group, whole", func(m *image) *image { return m.group(true, 100, 200) }, verdict{durable: -1, end: 1}},
		{"one group, header of its first record torn", func(m *image) *image {
			m.group(true, 100, 200)
			return m.damage(m.at[0]+10, nil)
		}, verdict{durable: -1, end: -1}},
		{"one group, its first record never written", func(m *image) *image {
			m.group(true, 100, 200)
			return m.damage(m.at[0], make([]byte, m.at[1]-m.at[0]))
		}, verdict{durable: -1, end: -1}},
		{"one group, data of its second record torn", func(m *image) *image {
			m.group(true, 100, 200)
			return m.damage(m.dataAt(1)+60, nil)
		}, verdict{durable: -1, end: 0}},
		{"two groups, the second whole", func(m *image) *image { return m.group(true, 100).group(true, 200, 300) }, verdict{durable: 0, end: 2}},
		{"two groups, the second torn at its begin", func(m *image) *image {
			m.group(true, 100).group(true, 200, 300)
			return m.damage(m.at[1], make([]byte, 64))
		}, verdict{durable: 0, end: 0}},
		{"two groups, the last record torn", func(m *image) *image {
			m.group(true, 100).group(true, 200, 300)
			return m.damage(m.at[2]+1, nil)
		}, verdict{durable: 0, end: 1}},
		{"rot in a header below a later group", func(m *image) *image {
			m.group(true, 100, 200).group(true, 300)
			return m.damage(m.at[1]+20, nil)
		}, verdict{durable: 1, end: 2, gaps: []int{1}}},
		{"rot in data below a later group", func(m *image) *image {
			m.group(true, 100, 200).group(true, 300)
			return m.damage(m.dataAt(0)+50, nil)
		}, verdict{durable: 1, end: 2, unreadable: []int{0}}},
		{"a whole group zeroed below a later one", func(m *image) *image {
			m.group(true, 100).group(true, 200, 300).group(true, 400)
			return m.damage(m.at[1], make([]byte, m.at[3]-m.at[1]))
		}, verdict{durable: 2, end: 3, gaps: []int{1, 2}}},
		{"rot in the last group, certified", func(m *image) *image {
			m.group(true, 100).group(true, 200).mark()
			return m.damage(m.at[1]+20, nil)
		}, verdict{durable: 1, end: 1, gaps: []int{1}}},
		{"rot in the last group's data, certified", func(m *image) *image {
			m.group(true, 100).group(true, 200).mark()
			return m.damage(m.dataAt(1)+20, nil)
		}, verdict{durable: 1, end: 1, unreadable: []int{1}}},
		{"rot below and a torn tail", func(m *image) *image {
			m.group(true, 100).group(true, 200).group(true, 300, 400)
			m.damage(m.at[0]+20, nil)
			return m.damage(m.dataAt(3)+20, nil)
		}, verdict{durable: 1, end: 2, gaps: []int{0}}},
		{"rot across the durable end", func(m *image) *image {
			m.group(true, 100, 200).group(true, 300, 400)
			m.damage(m.at[1]+20, nil)
			return m.damage(m.at[2]+20, nil)
		}, verdict{durable: 1, end: 1, gaps: []int{1}}},
		{"unsynced groups one after the other, the first torn", func(m *image) *image {
			m.group(true, 100).group(false, 200).group(false, 300)
			return m.damage(m.at[1]+20, nil)
		}, verdict{durable: 0, end: 0}},
		{"records of an earlier life of the file beyond the end", func(m *image) *image {
			m.group(true, 100).group(true, 200)
			old := &File{Header: m.f.Header}
			old.Seed = 98
			return m.damage(m.end(1), put(old, m.end(1), record.Header{Type: record.Blob, ID: id(50), DurableTo: uint64(m.end(1))}, []byte("old")))
		}, verdict{durable: 0, end: 1}},
		{"a record of this segment, moved", func(m *image) *image {
			m.group(true, 100).group(true, 200)
			return m.damage(m.end(1), put(m.f, m.end(1)+8, record.Header{Type: record.Blob, ID: id(50), DurableTo: uint64(m.end(1))}, []byte("moved")))
		}, verdict{durable: 0, end: 1}},
	}
	for _, kind := range []Kind{Small, Large} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s/%s", kind, c.name), func(t *testing.T) {
				m := c.build(newImage(t, kind))
				f := m.open()
				at := func(n int) int64 {
					if n < 0 {
						return HeaderLen
					}
					return m.end(n)
				}
				tail, err := f.FindEnd(HeaderLen, nil)
				must(t, err)
				wantEnd := at(c.want.end)
				if len(m.at) > 0 && c.want.end == len(m.at)-1 && tail.End == wantEnd+int64(f.Layout().Size(0)) {
					wantEnd = tail.End // the mark
				}
				if tail.Durable != at(c.want.durable) || tail.End != wantEnd {
					t.Fatalf("%+v, want durable %d, end %d", tail, at(c.want.durable), wantEnd)
				}
				seen := map[object.BlobID]bool{}
				gaps, err := f.Scan(HeaderLen, tail.Durable, func(off int64, h record.Header, _ []byte) error {
					seen[h.ID] = true
					return nil
				})
				must(t, err)
				if (len(gaps) > 0) != (len(c.want.gaps) > 0) {
					t.Fatalf("gaps %v, want those of %v", gaps, c.want.gaps)
				}
				for n := range m.at {
					if m.end(n) > tail.Durable {
						continue
					}
					if seen[id(n+1)] == slices.Contains(c.want.gaps, n) {
						t.Errorf("record %d: seen %v", n, seen[id(n+1)])
					}
					buf := make([]byte, len(m.data[n]))
					_, err := f.ReadAt(id(n+1), m.at[n], len(buf), buf, 0)
					if bad := slices.Contains(c.want.gaps, n) || slices.Contains(c.want.unreadable, n); bad != errs.Is(err, errs.Corrupt) {
						t.Errorf("record %d: %v", n, err)
					} else if !bad && !bytes.Equal(buf, m.data[n]) {
						t.Errorf("record %d: wrong bytes", n)
					}
				}
			})
		}
	}
}

// TestEveryFlip flips every bit of the records of a certified segment: each blob is whole or known to be damaged.
func TestEveryFlip(t *testing.T) {
	for _, kind := range []Kind{Small, Large} {
		m := newImageOf(t, kind, 64<<10)
		m.group(true, 10, 700).group(true, 300).group(true, 1, 0, 2000).mark()
		w, err := m.fs.OpenReadWrite(m.f.Path(), "")
		must(t, err)
		f := m.open()
		end := m.end(5)
		step := int64(1)
		if kind == Large {
			step = 61
		}
		for off := int64(HeaderLen); off < end; off += step {
			var b [1]byte
			_, err := w.ReadAt(b[:], off)
			must(t, err)
			for bit := range 8 {
				_, err = w.WriteAt([]byte{b[0] ^ 1<<bit}, off)
				must(t, err)
				judgeFlip(t, m, f, off, end)
			}
			_, err = w.WriteAt(b[:], off)
			must(t, err)
		}
	}
}

func judgeFlip(t *testing.T, m *image, f *File, flipped, end int64) {
	t.Helper()
	tail, err := f.FindEnd(HeaderLen, nil)
	must(t, err)
	if tail.Durable != end {
		t.Fatalf("flip at %d: durable to %d, want %d", flipped, tail.Durable, end)
	}
	seen := map[object.BlobID]bool{}
	gaps, err := f.Scan(HeaderLen, end, func(_ int64, h record.Header, _ []byte) error {
		seen[h.ID] = true
		return nil
	})
	must(t, err)
	for n := range m.at {
		hit := flipped >= m.at[n] && flipped < m.end(n)
		buf := make([]byte, len(m.data[n]))
		k, err := f.ReadAt(id(n+1), m.at[n], len(buf), buf, 0)
		switch {
		case err == nil && (k != len(buf) || !bytes.Equal(buf, m.data[n])):
			t.Fatalf("flip at %d: wrong bytes of record %d", flipped, n)
		case !hit && (err != nil || !seen[id(n+1)]):
			t.Fatalf("flip at %d: record %d suffers: seen %v, %v", flipped, n, seen[id(n+1)], err)
		case !seen[id(n+1)] && (len(gaps) != 1 || gaps[0].From != m.at[n] || gaps[0].To != m.end(n)):
			t.Fatalf("flip at %d: gaps %v", flipped, gaps)
		}
	}
}

// TestEveryTruncation cuts a segment at every byte: what is whole is found, and a known end makes the rest damage.
func TestEveryTruncation(t *testing.T) {
	m := newImageOf(t, Small, 16<<10)
	m.group(true, 10, 700).group(true, 300).group(true, 1, 0, 2000).mark()
	whole, err := vfs.ReadFile(m.fs, m.f.Path(), 1<<20)
	must(t, err)
	end := m.end(5)
	for cut := int64(HeaderLen); cut < end; cut++ {
		w, err := m.fs.OpenFile(m.f.Path(), os.O_RDWR|os.O_TRUNC, 0)
		must(t, err)
		_, err = w.WriteAt(whole[:cut], 0)
		must(t, err)
		must(t, w.Close())
		f := m.open()
		tail, err := f.FindEnd(HeaderLen, nil)
		must(t, err)
		count, wantDurable := 0, int64(HeaderLen)
		there := func(to int64) bool { return to <= cut || zeroFrom(whole[cut:to]) } // what is cut off reads as zeros
		for n := range m.at {
			if n < 3 && there(m.end(n)) || m.dataAt(n)+int64(len(m.data[n])) <= cut {
				count++ // the tail is taken only as far as the file reaches
			}
			if there(m.at[n]+record.HeaderLen) && n >= 3 {
				wantDurable = m.end(2)
			} else if there(m.at[n]+record.HeaderLen) && n >= 2 {
				wantDurable = m.end(1)
			}
		}
		if tail.Durable != wantDurable || (count > 0 && tail.End != m.end(count-1)) {
			t.Fatalf("cut at %d: %+v, want durable %d, %d records", cut, tail, wantDurable, count)
		}
		gaps, err := f.Scan(HeaderLen, end, func(int64, record.Header, []byte) error { return nil })
		must(t, err)
		if len(gaps) == 0 && !there(m.at[5]+record.HeaderLen) {
			t.Fatalf("cut at %d: a sealed segment shows no damage", cut)
		}
		f.Release()
	}
}

func zeroFrom(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// FuzzSegment feeds bytes as the body of a segment: no panic, no end beyond the file, and whatever is read back verifies.
func FuzzSegment(f *testing.F) {
	t := &testing.T{}
	m := newImage(t, Small)
	m.group(true, 10, 700).group(true, 300).mark()
	whole, _ := vfs.ReadFile(m.fs, m.f.Path(), 1<<20)
	f.Add(whole[HeaderLen:8192], uint16(3), uint16(8))
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, body []byte, at, n uint16) {
		m := newImage(t, Small)
		m.group(true, 10, 700).group(true, 300).mark()
		if len(body) > 64<<10 {
			return
		}
		if int(at)+int(n) <= len(body) { // a splice of the input into a good segment
			body = body[at : int(at)+int(n)]
		}
		m.damage(HeaderLen+int64(at), body)
		f := m.open()
		tail, err := f.FindEnd(HeaderLen, nil)
		if err != nil {
			if !errs.Is(err, errs.Unsupported) {
				t.Fatal(err)
			}
			return
		}
		if tail.Durable > tail.End || tail.End > f.Capacity {
			t.Fatalf("%+v", tail)
		}
		_, err = f.Scan(HeaderLen, tail.End, func(off int64, h record.Header, _ []byte) error {
			if h.Type == record.Blob {
				buf := make([]byte, h.Length)
				_, err := f.ReadAt(h.ID, off, int(h.Length), buf, 0)
				if err != nil && !errs.Is(err, errs.Corrupt) {
					return err
				}
			}
			return nil
		})
		must(t, err)
	})
}

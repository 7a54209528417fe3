package record

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"minikv/internal/object"
)

func anyHeader(t *rapid.T) Header {
	return Header{
		Type: Type(rapid.Uint8Range(1, uint8(typeEnd)-1).Draw(t, "type")), Flags: Flags(rapid.Uint8Range(0, 3).Draw(t, "flags")),
		ID:       object.BlobID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		Epochs:   object.Epochs{Cluster: rapid.Uint64().Draw(t, "cluster"), Shard: rapid.Uint64().Draw(t, "shard")},
		Sequence: rapid.Uint64().Draw(t, "sequence"), Length: rapid.Uint32Range(0, DataMax).Draw(t, "length"), DurableTo: rapid.Uint64().Draw(t, "durable"),
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, seed, off := anyHeader(t), rapid.Uint64().Draw(t, "seed"), rapid.Uint64().Draw(t, "off")
		var b [HeaderLen]byte
		h.Put(b[:], seed, off)
		got, ok := Parse(b[:], seed, off)
		if !ok || got != h || got.Check() != nil {
			t.Fatalf("%+v %v", got, ok)
		}
		// Elsewhere, in another life of the file, or with any bit flipped it is no record.
		if _, ok := Parse(b[:], seed, off+8); ok {
			t.Fatal("parsed at another offset")
		}
		if _, ok := Parse(b[:], seed+1, off); ok {
			t.Fatal("parsed with another seed")
		}
		i := rapid.IntRange(0, 8*HeaderLen-1).Draw(t, "bit")
		b[i/8] ^= 1 << (i % 8)
		if _, ok := Parse(b[:], seed, off); ok {
			t.Fatalf("parsed with bit %d flipped", i)
		}
	})
}

func TestVerifyFindsTheBlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := bytes.Repeat([]byte{1, 2, 3, 4, 5}, rapid.IntRange(1, 3*BlockLen/5).Draw(t, "length"))
		cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
		sums := Sums(nil, [][]byte{data[:cut], nil, data[cut:]})
		if len(sums) != Blocks(len(data)) {
			t.Fatalf("%d sums of %d bytes", len(sums), len(data))
		}
		mask := rapid.Uint32().Draw(t, "mask")
		table := make([]byte, 4*len(sums))
		PutTable(table, sums, mask)
		if bad := Verify(data, table, 0, mask); bad != -1 {
			t.Fatalf("block %d of good data", bad)
		}
		for i, s := range sums {
			if TableEntry(table, i, mask) != s || s != CRC(data[i*BlockLen:min(len(data), (i+1)*BlockLen)]) {
				t.Fatalf("sum %d", i)
			}
		}
		i := rapid.IntRange(0, len(data)-1).Draw(t, "byte")
		data[i] ^= 0x10
		if bad := Verify(data, table, 0, mask); bad != i/BlockLen {
			t.Fatalf("block %d, want %d", bad, i/BlockLen)
		}
		if first := i / BlockLen; Verify(data[first*BlockLen:], table, first, mask) != first {
			t.Fatal("not found from its block on")
		}
	})
}

func TestLayout(t *testing.T) {
	for _, c := range []struct{ align, length, dataOff, size int }{
		{8, 0, 64, 64}, {8, 1, 72, 80}, {8, 65536, 72, 65608}, {8, 65537, 72, 65616}, {8, 3 * 65536, 80, 80 + 3*65536},
		{4096, 0, 4096, 4096}, {4096, 1, 4096, 8192}, {4096, 8 << 20, 4096, 8<<20 + 4096},
	} {
		l := Layout{c.align}
		if l.DataOff(c.length) != c.dataOff || l.Size(c.length) != c.size {
			t.Errorf("align %d length %d: data at %d, size %d", c.align, c.length, l.DataOff(c.length), l.Size(c.length))
		}
	}
}

func TestPayloads(t *testing.T) {
	ids := []object.BlobID{{1}, {2}}
	got, err := ParseIDs(AppendIDs(nil, ids))
	if err != nil || len(got) != 2 || got[1] != ids[1] {
		t.Fatal(got, err)
	}
	if _, err := ParseIDs(make([]byte, 17)); err == nil {
		t.Fatal("17 bytes are a list of ids")
	}
	ends := []End{{1, 4096, Full}, {1 << 40, 1 << 41, Failed}}
	back, err := ParseEnds(AppendEnds(nil, ends))
	if err != nil || len(back) != 2 || back[1] != ends[1] {
		t.Fatal(back, err)
	}
	if _, err := ParseEnds(make([]byte, 25)); err == nil {
		t.Fatal("25 bytes are a list of ends")
	}
}

func TestNewerTypesAreNamed(t *testing.T) {
	for _, h := range []Header{{Type: typeEnd}, {Type: Blob, Flags: 4}} {
		var b [HeaderLen]byte
		h.Put(b[:], 1, 2)
		got, ok := Parse(b[:], 1, 2)
		if !ok || got.Check() == nil {
			t.Fatalf("%+v: parsed %v, %v", h, ok, got.Check())
		}
	}
}

// FuzzParse: whatever parses encodes to the same bytes.
func FuzzParse(f *testing.F) {
	h := Header{Type: Blob, ID: object.BlobID{1}, Length: 5, DurableTo: 4096}
	b := make([]byte, HeaderLen)
	h.Put(b, 1, 4096)
	f.Add(b, uint64(1), uint64(4096))
	f.Add(make([]byte, HeaderLen), uint64(0), uint64(0))
	f.Add([]byte{1}, uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, seed, off uint64) {
		// Give the checksum, so that the fuzzer gets past it.
		if len(b) >= HeaderLen {
			crc := CRC(b[4:HeaderLen]) ^ Mask(seed, off, object.BlobID(b[8:24]))
			b[0], b[1], b[2], b[3] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
			clear(b[52:56])
			crc = CRC(b[4:HeaderLen]) ^ Mask(seed, off, object.BlobID(b[8:24]))
			b[0], b[1], b[2], b[3] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
		}
		h, ok := Parse(b, seed, off)
		if !ok {
			return
		}
		again := make([]byte, HeaderLen)
		h.Put(again, seed, off)
		if !bytes.Equal(again, b[:HeaderLen]) {
			t.Fatalf("% x became % x", b[:HeaderLen], again)
		}
	})
}

func BenchmarkSums64K(b *testing.B) {
	data := [][]byte{make([]byte, BlockLen)}
	sums := make([]uint32, 0, 1)
	b.SetBytes(BlockLen)
	for b.Loop() {
		sums = Sums(sums[:0], data)
	}
}

package crc32c

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand"
	"testing"
)

// Source: RFC 3720, appendix B.4.
func TestVectors(t *testing.T) {
	up, down := make([]byte, 32), make([]byte, 32)
	for i := range up {
		up[i], down[i] = byte(i), byte(31-i)
	}
	for _, c := range []struct {
		data []byte
		want uint32
	}{
		{nil, 0},
		{[]byte("123456789"), 0xE3069283},
		{make([]byte, 32), 0x8A9136AA},
		{bytes.Repeat([]byte{0xFF}, 32), 0x62A8AB43},
		{up, 0x46DD794E},
		{down, 0x113FDB5C},
	} {
		if got := Checksum(c.data); got != c.want {
			t.Errorf("%x: %08x, not %08x", c.data, got, c.want)
		}
	}
}

func TestLikeTheStandardLibrary(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	b := make([]byte, 70_000)
	r.Read(b)
	check := func(crc uint32, p []byte) {
		t.Helper()
		if got, want := Update(crc, p), crc32.Update(crc, table, p); got != want {
			t.Fatalf("%d bytes after %08x: %08x, not %08x", len(p), crc, got, want)
		}
	}
	for n := range 3 * foldMin {
		check(0, b[:n])
		check(r.Uint32(), b[n%67:n])
	}
	for range 300 {
		off := r.Intn(4096)
		check(r.Uint32(), b[off:off+r.Intn(len(b)-off)])
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add(uint32(0), []byte("123456789"), 1)
	f.Add(uint32(0xDEADBEEF), bytes.Repeat([]byte("minikv"), 500), 1200)
	f.Fuzz(func(t *testing.T, crc uint32, p []byte, cut int) {
		if len(p) > 0 { // long enough for folding
			p = bytes.Repeat(p, 1+2*foldMin/len(p))
		}
		want := crc32.Update(crc, table, p)
		if got := Update(crc, p); got != want {
			t.Fatalf("%08x, not %08x", got, want)
		}
		cut = min(max(cut, 0), len(p))
		if got := Update(Update(crc, p[:cut]), p[cut:]); got != want {
			t.Fatalf("cut at %d: %08x, not %08x", cut, got, want)
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{1 << 10, 4 << 10, 64 << 10} {
		p := make([]byte, n)
		for name, sum := range map[string]func([]byte) uint32{
			"ours":     Checksum,
			"standard": func(p []byte) uint32 { return crc32.Checksum(p, table) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					sum(p)
				}
			})
		}
	}
}

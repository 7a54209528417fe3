package digest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"minikv/internal/errs"
)

// D1: the numbers are part of stored formats.
func TestNumbersNeverChange(t *testing.T) {
	want := map[Algorithm]string{1: "CRC32", 2: "CRC32C", 3: "CRC64NVME", 4: "SHA1", 5: "SHA256"}
	require.Len(t, All(), len(want))
	for n, name := range want {
		require.Equal(t, name, n.String())
		a, ok := ParseAlgorithm(strings.ToLower(name))
		require.True(t, ok)
		require.Equal(t, n, a)
		a, ok = AlgorithmOfHeader("X-Amz-Checksum-" + name)
		require.True(t, ok)
		require.Equal(t, n, a)
		require.Equal(t, "Checksum"+name, n.Element())
	}
	require.Equal(t, "FULL_OBJECT", Type(1).String())
	require.Equal(t, "COMPOSITE", Type(2).String())
	require.False(t, Algorithm(6).Valid())
	require.Equal(t, "", Algorithm(200).String())
}

// The check values of the CRC catalogue and of FIPS 180 for "123456789" and "abc".
// Source: https://reveng.sourceforge.io/crc-catalogue/all.htm
func TestKnownSums(t *testing.T) {
	for a, want := range map[Algorithm]string{
		CRC32: "cbf43926", CRC32C: "e3069283", CRC64NVME: "ae8b14860a799888",
	} {
		c := Of(a, []byte("123456789"))
		require.Equal(t, want, hex.EncodeToString(c.Bytes()), a)
	}
	abc := Of(SHA1, []byte("abc"))
	require.Equal(t, "a9993e364706816aba3e25717850c26c9cd0d89d", hex.EncodeToString(abc.Bytes()))
	abc = Of(SHA256, []byte("abc"))
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hex.EncodeToString(abc.Bytes()))
}

func TestPossiblePairs(t *testing.T) {
	for _, c := range []struct {
		a               Algorithm
		full, composite bool
		def             Type
	}{
		{CRC32, true, true, Composite},
		{CRC32C, true, true, Composite},
		{CRC64NVME, true, false, FullObject},
		{SHA1, false, true, Composite},
		{SHA256, false, true, Composite},
		{None, false, false, NoType},
	} {
		require.Equal(t, c.full, Possible(c.a, FullObject), c.a)
		require.Equal(t, c.composite, Possible(c.a, Composite), c.a)
		require.Equal(t, c.def, DefaultType(c.a), c.a)
		require.False(t, Possible(c.a, NoType))
	}
	_, err := NewJoiner(SHA256, FullObject)
	require.True(t, errs.Is(err, errs.InvalidRequest))
	_, err = NewJoiner(CRC64NVME, Composite)
	require.True(t, errs.Is(err, errs.InvalidRequest))
}

// D2 against hashing the whole, for any cut.
func TestCombineEqualsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "bytes")
		cut := rapid.IntRange(0, len(p)).Draw(t, "cut")
		for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
			got, err := Combine(Of(a, p[:cut]), Of(a, p[cut:]), uint64(len(p)-cut))
			if err != nil || got != Of(a, p) {
				t.Fatalf("%s cut at %d: %v %v", a, cut, got, err)
			}
		}
	})
	_, err := Combine(Of(SHA1, nil), Of(SHA1, nil), 0)
	require.True(t, errs.Is(err, errs.Invalid))
	_, err = Combine(Of(CRC32, nil), Of(CRC32C, nil), 0)
	require.True(t, errs.Is(err, errs.Invalid))
}

// Lengths beyond memory: joining zeros part by part equals joining them at once (associativity).
func TestCombineHugeLengths(t *testing.T) {
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		x, y, z := Of(a, []byte("x")), Of(a, []byte("yy")), Of(a, []byte("zzz"))
		const ly, lz = 5 << 30, 48 << 40 // as if y and z were the sums of so many bytes
		xy, _ := Combine(x, y, ly)
		left, _ := Combine(xy, z, lz)
		yz, _ := Combine(y, z, lz)
		right, _ := Combine(x, yz, ly+lz)
		require.Equal(t, left, right, a)
	}
}

func TestJoinerFullObject(t *testing.T) {
	parts := []string{"hello ", "", "multipart", " world"}
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		j, err := NewJoiner(a, FullObject)
		require.NoError(t, err)
		for _, p := range parts {
			require.NoError(t, j.Add(Of(a, []byte(p)), uint64(len(p))))
		}
		require.Equal(t, Of(a, []byte(strings.Join(parts, ""))), j.Checksum())
	}
}

// D3.
func TestJoinerComposite(t *testing.T) {
	one, two := sha256.Sum256([]byte("one")), sha256.Sum256([]byte("two"))
	want := sha256.Sum256(append(one[:], two[:]...))
	j, err := NewJoiner(SHA256, Composite)
	require.NoError(t, err)
	require.NoError(t, j.Add(Of(SHA256, []byte("one")), 3))
	require.NoError(t, j.Add(Of(SHA256, []byte("two")), 3))
	c := j.Checksum()
	require.Equal(t, base64.StdEncoding.EncodeToString(want[:])+"-2", c.String())
	back, err := Parse(SHA256, c.String())
	require.NoError(t, err)
	require.Equal(t, c, back)

	require.True(t, errs.Is(j.Add(Of(SHA1, nil), 0), errs.InvalidRequest))
	require.True(t, errs.Is(j.Add(Checksum{}, 0), errs.InvalidRequest))
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		a    Algorithm
		s    string
		ok   bool
		typ  Type
		part uint32
	}{
		{CRC32, "y/Q5Jg==", true, FullObject, 0},
		{CRC32, "y/Q5Jg==-3", true, Composite, 3},
		{CRC32, "y/Q5Jg==-10000", true, Composite, 10000},
		{CRC32, "y/Q5Jg==-0", false, 0, 0},
		{CRC32, "y/Q5Jg==-03", false, 0, 0},
		{CRC32, "y/Q5Jg==-10001", false, 0, 0},
		{CRC32, "y/Q5Jg==-", false, 0, 0},
		{CRC32, "y/Q5Jh==", false, 0, 0}, // stray bits
		{CRC32, "y/Q5Jg", false, 0, 0},
		{CRC32, "", false, 0, 0},
		{CRC64NVME, "y/Q5Jg==", false, 0, 0},
		{CRC32, "y/Q5\nJg=", false, 0, 0},
		{None, "y/Q5Jg==", false, 0, 0},
	} {
		got, err := Parse(c.a, c.s)
		require.Equal(t, c.ok, err == nil, "%s %q", c.a, c.s)
		if c.ok {
			require.Equal(t, c.typ, got.Type)
			require.Equal(t, c.part, got.Parts)
			require.Equal(t, c.s, got.String())
		}
	}
	_, err := New(CRC32, make([]byte, 5))
	require.True(t, errs.Is(err, errs.Invalid))
}

func TestETag(t *testing.T) {
	const hex32 = "d41d8cd98f00b204e9800998ecf8427e"
	for s, ok := range map[string]bool{
		hex32: true, `"` + hex32 + `"`: true, strings.ToUpper(hex32): true, hex32 + "-12": true, `"` + hex32 + `-1"`: true,
		hex32 + "-0": false, hex32 + "-": false, hex32 + "-+1": false, hex32[1:]: false, "W/\"" + hex32 + "\"": false, "": false, "*": false,
		`"`: false, hex32 + "g": false,
	} {
		e, got := ParseETag(s)
		require.Equal(t, ok, got, s)
		if ok {
			require.Equal(t, strings.ToLower(strings.Trim(s, `"`)), e.String())
			require.Equal(t, `"`+e.String()+`"`, e.Quoted())
		}
	}
}

func TestETagJoiner(t *testing.T) {
	a, b := md5.Sum([]byte("a")), md5.Sum([]byte("b"))
	want := md5.Sum(append(a[:], b[:]...))
	var j ETagJoiner
	j.Add(a)
	j.Add(b)
	require.Equal(t, ETag{want, 2}, j.ETag())
	require.Equal(t, hex.EncodeToString(want[:])+"-2", j.ETag().String())
}

// Whatever the cuts and options, the hasher finds what hashing at once finds; a pooled hasher remembers nothing.
func TestHasherEqualsWhole(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), (3*FeedBytesMin)/16)
	rapid.Check(t, func(t *rapid.T) {
		p := big[:rapid.IntRange(0, len(big)).Draw(t, "len")]
		opt := Options{MD5: rapid.Bool().Draw(t, "md5"), SHA256: rapid.Bool().Draw(t, "sha256")}
		for _, a := range rapid.SliceOf(rapid.SampledFrom(All())).Draw(t, "sums") {
			opt.Checksums = opt.Checksums.With(a)
		}
		h := NewHasher(opt)
		defer h.Release()
		for rest := p; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			if rapid.Bool().Draw(t, "feed") {
				h.Feed(rest[:n])
			} else {
				h.Write(rest[:n])
			}
			rest = rest[n:]
		}
		s := h.Sums()
		if s.Size != uint64(len(p)) || opt.MD5 != (s.MD5 == md5.Sum(p)) || h.Size() != s.Size {
			t.Fatalf("size %d, md5 %x", s.Size, s.MD5)
		}
		if (opt.SHA256 || opt.Checksums.Has(SHA256)) != (s.SHA256 == sha256.Sum256(p)) {
			t.Fatalf("sha256 %x", s.SHA256)
		}
		for _, a := range All() {
			want := Checksum{}
			if opt.Checksums.Has(a) {
				want = Of(a, p)
			}
			if got := s.Checksum(a); got != want {
				t.Fatalf("%s: %v, want %v", a, got, want)
			}
		}
	})
}

// What was fed may be overwritten after Wait, and not before it was hashed.
func TestFedBytesAreFreeAfterWait(t *testing.T) {
	h := NewHasher(Options{MD5: true, SHA256: true})
	defer h.Release()
	want, buf := md5.New(), make([]byte, FeedBytesMin)
	for round := range byte(20) {
		for i := range buf {
			buf[i] = round
		}
		want.Write(buf)
		h.Feed(buf)
		h.Wait()
	}
	s := h.Sums()
	require.Equal(t, want.Sum(nil), s.MD5[:])
	require.EqualValues(t, 20*FeedBytesMin, s.Size)
}

func TestSumsMayContinue(t *testing.T) {
	h := NewHasher(Options{MD5: true, Checksums: SetOf(SHA1)})
	defer h.Release()
	h.Write([]byte("ab"))
	s := h.Sums()
	require.Equal(t, md5.Sum([]byte("ab")), s.MD5)
	h.Write([]byte("c"))
	s = h.Sums()
	require.Equal(t, ETag{Sum: md5.Sum([]byte("abc"))}, s.ETag())
	sum := sha1.Sum([]byte("abc"))
	c := s.Checksum(SHA1)
	require.Equal(t, sum[:], c.Bytes())
}

// D4.
func TestHasherAllocatesNothing(t *testing.T) {
	p := make([]byte, 300<<10)
	opt := Options{MD5: true, SHA256: true, Checksums: SetOf(CRC32, CRC32C, CRC64NVME, SHA1)}
	h := NewHasher(opt)
	defer h.Release()
	require.Zero(t, testing.AllocsPerRun(20, func() { h.Write(p) }))
	h.Feed(p)
	require.Zero(t, testing.AllocsPerRun(20, func() { h.Feed(p) }))
}

func BenchmarkHashPipeline(b *testing.B) {
	p := make([]byte, 1<<20)
	for _, c := range []struct {
		name string
		opt  Options
	}{
		{"md5", Options{MD5: true}},
		{"md5+crc64", Options{MD5: true, Checksums: SetOf(CRC64NVME)}},
		{"md5+sha256+crc64", Options{MD5: true, SHA256: true, Checksums: SetOf(CRC64NVME)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			h := NewHasher(c.opt)
			defer h.Release()
			for b.Loop() {
				h.Write(p)
			}
		})
	}
}

func BenchmarkHashSmall(b *testing.B) {
	p := make([]byte, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		h := NewHasher(Options{MD5: true, SHA256: true, Checksums: SetOf(CRC64NVME)})
		h.Write(p)
		s := h.Sums()
		_ = s.ETag()
		h.Release()
	}
}

func BenchmarkCombine(b *testing.B) {
	x, y := Of(CRC64NVME, []byte("x")), Of(CRC64NVME, []byte("y"))
	b.ReportAllocs()
	for b.Loop() {
		x, _ = Combine(x, y, 5<<30)
	}
}

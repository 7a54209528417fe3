package sigv4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

var framedModes = []PayloadMode{PayloadChunked, PayloadChunkedTrailer, PayloadChunkedUnsignedTrailer}

var sampleTrailer = Field{"x-amz-checksum-crc32", "NhCmhg=="}

// chunkedBody is a body in its parts: each chunk with its framing, the zero chunk, the trailer section.
type chunkedBody struct {
	payload Payload
	seed    Seed
	chunks  []string // header line, data, CRLF
	zero    string   // the zero chunk's line
	tail    string   // trailers and the empty line
}

func (b chunkedBody) String() string { return strings.Join(b.chunks, "") + b.zero + b.tail }

func sampleSeed() Seed {
	scope := Scope{"20130524", "us-east-1", "s3"}
	return Seed{Signature: EmptySHA256, Time: "20130524T000000Z", Scope: scope, key: DeriveKey(exampleSecret, scope)}
}

// encodeChunks writes data in chunks of size; with trailers in the modes that have them.
func encodeChunks(t testing.TB, mode PayloadMode, data string, size int) chunkedBody {
	t.Helper()
	b := chunkedBody{payload: Payload{Mode: mode, DecodedLength: int64(len(data))}, seed: sampleSeed()}
	var trailers []Field
	if mode != PayloadChunked {
		trailers = []Field{sampleTrailer}
		b.payload.Trailers = []string{sampleTrailer.Name}
	}
	var out bytes.Buffer
	w, err := NewChunkedWriter(&out, mode, b.seed, size)
	if err != nil {
		t.Fatal(err)
	}
	for rest := data; rest != ""; {
		n := min(size, len(rest))
		if _, err := io.WriteString(w, rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		if rest == "" && n < size {
			w.flush()
		}
		b.chunks = append(b.chunks, out.String())
		out.Reset()
	}
	if err := w.Close(trailers...); err != nil {
		t.Fatal(err)
	}
	line, tail, _ := strings.Cut(out.String(), "\r\n")
	b.zero, b.tail = line+"\r\n", tail
	if n := ChunkedLength(mode, int64(len(data)), size, trailers...); n != int64(len(b.String())) {
		t.Errorf("ChunkedLength %d, body has %d", n, len(b.String()))
	}
	return b
}

func decodeChunks(b chunkedBody, body io.Reader) (string, *ChunkedReader, error) {
	r, err := NewChunkedReader(body, b.payload, b.seed)
	if err != nil {
		return "", nil, err
	}
	data, err := io.ReadAll(r)
	return string(data), r, err
}

func TestChunkedRoundTrip(t *testing.T) {
	for _, mode := range framedModes {
		t.Run(mode.String(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				data := strings.Repeat("0123456789abcdef", rapid.IntRange(0, 2000).Draw(rt, "sixteens")) +
					rapid.StringN(0, 20, 40).Draw(rt, "rest")
				b := encodeChunks(t, mode, data, rapid.IntRange(1, 9000).Draw(rt, "chunk"))
				var src io.Reader = strings.NewReader(b.String())
				switch rapid.IntRange(0, 2).Draw(rt, "source") {
				case 1:
					src = iotest.OneByteReader(src)
				case 2:
					src = iotest.DataErrReader(iotest.HalfReader(src))
				}
				got, r, err := decodeChunks(b, src)
				if err != nil || got != data {
					rt.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
				}
				if v, ok := r.Trailer(sampleTrailer.Name); ok != (mode != PayloadChunked) || ok && v != sampleTrailer.Value {
					rt.Fatalf("trailer %q %v", v, ok)
				}
			})
		})
	}
}

// attacksOnChunks must each end in an error, whatever was read before it (V5). Bodies hold three chunks of 16 bytes.
var attacksOnChunks = []struct {
	name   string
	modes  []PayloadMode
	attack func(*chunkedBody)
	code   string
	status int
}{
	{"reordered", framedModes[:2], func(b *chunkedBody) { b.chunks[0], b.chunks[1] = b.chunks[1], b.chunks[0] }, CodeSignatureDoesNotMatch, 403},
	{"first dropped", framedModes[:2], func(b *chunkedBody) { b.chunks = b.chunks[1:] }, CodeSignatureDoesNotMatch, 403},
	{"last dropped", framedModes[:2], func(b *chunkedBody) { b.chunks = b.chunks[:2] }, CodeSignatureDoesNotMatch, 403},
	{"last dropped", framedModes[2:], func(b *chunkedBody) { b.chunks = b.chunks[:2] }, CodeIncompleteBody, 400},
	{"repeated", framedModes[:2], func(b *chunkedBody) { b.chunks[1] = b.chunks[0] }, CodeSignatureDoesNotMatch, 403},
	{"one more", framedModes, func(b *chunkedBody) { b.chunks = append(b.chunks, b.chunks[2]) }, CodeIncompleteBody, 400},
	{"data changed", framedModes[:2], func(b *chunkedBody) { b.chunks[1] = strings.Replace(b.chunks[1], "beta", "meta", 1) }, CodeSignatureDoesNotMatch, 403},
	{"no zero chunk", framedModes, func(b *chunkedBody) { b.zero, b.tail = "", "" }, CodeIncompleteBody, 400},
	{"zero chunk unsigned", framedModes[:2], func(b *chunkedBody) { b.zero = "0\r\n" }, CodeInvalidRequest, 400},
	{"zero chunk badly signed", framedModes[:2], func(b *chunkedBody) { b.zero = "0;chunk-signature=" + EmptySHA256 + "\r\n" }, CodeSignatureDoesNotMatch, 403},
	{"zero chunk early", framedModes[2:], func(b *chunkedBody) { b.chunks = append([]string{b.zero}, b.chunks...) }, CodeIncompleteBody, 400},
	{"signature upper case", framedModes[:2], func(b *chunkedBody) {
		head, rest, _ := strings.Cut(b.chunks[0], "\r\n")
		b.chunks[0] = "10;chunk-signature=" + strings.ToUpper(head[len("10;chunk-signature="):]) + "\r\n" + rest
	}, CodeSignatureDoesNotMatch, 403},
	{"signature short", framedModes[:2], func(b *chunkedBody) { b.chunks[0] = "10;chunk-signature=00\r\n" + b.chunks[0][85:] }, CodeSignatureDoesNotMatch, 403},
	{"signature absent", framedModes[:2], func(b *chunkedBody) { b.chunks[0] = "10\r\n" }, CodeInvalidRequest, 400},
	{"other extension", framedModes[:2], func(b *chunkedBody) { b.chunks[0] = strings.Replace(b.chunks[0], "chunk-", "junk--", 1) }, CodeInvalidRequest, 400},
	{"other seed", framedModes[:2], func(b *chunkedBody) { b.seed.Signature = strings.Repeat("0", 64) }, CodeSignatureDoesNotMatch, 403},
	{"other key", framedModes[:2], func(b *chunkedBody) { b.seed.key[0] ^= 1 }, CodeSignatureDoesNotMatch, 403},
	{"other scope", framedModes[:2], func(b *chunkedBody) { b.seed.Scope.Region = "eu-west-1" }, CodeSignatureDoesNotMatch, 403},
	{"decoded length larger", framedModes, func(b *chunkedBody) { b.payload.DecodedLength++ }, CodeIncompleteBody, 400},
	{"decoded length smaller", framedModes, func(b *chunkedBody) { b.payload.DecodedLength-- }, CodeIncompleteBody, 400},
	{"size too large", framedModes, func(b *chunkedBody) { b.chunks[0] = "7" + b.chunks[0] }, CodeIncompleteBody, 400},
	{"size overflows", framedModes, func(b *chunkedBody) { b.chunks[0] = "10000000000000000" + b.chunks[0] }, CodeInvalidRequest, 400},
	{"size one less", framedModes[2:], func(b *chunkedBody) { b.chunks[2] = "f" + b.chunks[2][2:] }, CodeInvalidRequest, 400},
	{"size negative", framedModes, func(b *chunkedBody) { b.chunks[0] = "-" + b.chunks[0] }, CodeInvalidRequest, 400},
	{"size empty", framedModes, func(b *chunkedBody) { b.chunks[0] = b.chunks[0][2:] }, CodeInvalidRequest, 400},
	{"size with space", framedModes, func(b *chunkedBody) { b.chunks[0] = " " + b.chunks[0] }, CodeInvalidRequest, 400},
	{"bare LF header", framedModes, func(b *chunkedBody) { b.chunks[0] = strings.Replace(b.chunks[0], "\r\n", "\n", 1) }, CodeInvalidRequest, 400},
	{"line over 4 KiB", framedModes, func(b *chunkedBody) { b.chunks[0] = "10;" + strings.Repeat("x", 4094) + "\r\n" }, CodeInvalidRequest, 400},
	{"trailer missing", framedModes[2:], func(b *chunkedBody) { b.tail = "\r\n" }, CodeMalformedTrailer, 400},
	{"trailer missing", framedModes[1:2], func(b *chunkedBody) { b.tail = b.tail[strings.Index(b.tail, "\n")+1:] }, CodeMalformedTrailer, 400},
	{"trailer undeclared", framedModes[1:], func(b *chunkedBody) { b.tail = "x-amz-meta-a:b\r\n" + b.tail }, CodeMalformedTrailer, 400},
	{"trailer in a mode without", framedModes[:1], func(b *chunkedBody) { b.tail = "x-amz-checksum-crc32:NhCmhg==\r\n\r\n" }, CodeMalformedTrailer, 400},
	{"trailer signature in a mode without", framedModes[2:], func(b *chunkedBody) { b.tail = "x-amz-trailer-signature:" + EmptySHA256 + "\r\n" + b.tail }, CodeMalformedTrailer, 400},
	{"trailer twice", framedModes[1:], func(b *chunkedBody) { b.tail = "x-amz-checksum-crc32:NhCmhg==\r\n" + b.tail }, CodeMalformedTrailer, 400},
	{"trailer changed", framedModes[1:2], func(b *chunkedBody) { b.tail = strings.Replace(b.tail, "NhC", "NhD", 1) }, CodeSignatureDoesNotMatch, 403},
	{"trailer unsigned", framedModes[1:2], func(b *chunkedBody) { b.tail = "x-amz-checksum-crc32:NhCmhg==\r\n\r\n" }, CodeMalformedTrailer, 400},
	{"trailer after its signature", framedModes[1:2], func(b *chunkedBody) {
		first, rest, _ := strings.Cut(b.tail, "\r\n")
		b.tail = strings.TrimSuffix(rest, "\r\n") + first + "\r\n\r\n"
	}, CodeMalformedTrailer, 400},
	{"trailer empty", framedModes[1:], func(b *chunkedBody) { b.tail = strings.Replace(b.tail, "NhCmhg==", "", 1) }, CodeMalformedTrailer, 400},
	{"trailer control byte", framedModes[1:], func(b *chunkedBody) { b.tail = strings.Replace(b.tail, "NhC", "N\x00C", 1) }, CodeMalformedTrailer, 400},
	{"trailer without colon", framedModes[1:], func(b *chunkedBody) { b.tail = strings.Replace(b.tail, ":", "=", 1) }, CodeMalformedTrailer, 400},
	{"trailer line over 4 KiB", framedModes[1:], func(b *chunkedBody) { b.tail = "x-amz-checksum-crc32:" + strings.Repeat("x", 5000) + "\r\n\r\n" }, CodeMalformedTrailer, 400},
	{"trailers over 16 KiB", framedModes, func(b *chunkedBody) { b.tail += strings.Repeat("\r\n", 9000) }, CodeMalformedTrailer, 400},
	{"bytes after the end", framedModes, func(b *chunkedBody) { b.tail += "GET / HTTP/1.1\r\n\r\n" }, CodeMalformedTrailer, 400},
	{"no end", framedModes, func(b *chunkedBody) { b.tail = strings.TrimSuffix(b.tail, "\r\n") }, CodeIncompleteBody, 400},
}

const threeChunks = "alpha alpha 1234beta beta beta 1gamma gamma 1234"

func TestAttacksOnChunks(t *testing.T) {
	for _, a := range attacksOnChunks {
		for _, mode := range a.modes {
			t.Run(a.name+"/"+mode.String(), func(t *testing.T) {
				b := encodeChunks(t, mode, threeChunks, 16)
				if got, _, err := decodeChunks(b, strings.NewReader(b.String())); err != nil || got != threeChunks {
					t.Fatalf("before the attack: %q %v", got, err)
				}
				a.attack(&b)
				_, r, err := decodeChunks(b, strings.NewReader(b.String()))
				wantCode(t, err, a.code, a.status)
				if n, again := r.Read(make([]byte, 1)); n != 0 || again != err {
					t.Errorf("the error is not sticky: %d %v", n, again)
				}
				if r.Trailers() != nil {
					t.Error("trailers without io.EOF")
				}
			})
		}
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	for _, mode := range framedModes {
		b := encodeChunks(t, mode, threeChunks, 16)
		whole := b.String()
		for n := range len(whole) {
			if _, _, err := decodeChunks(b, strings.NewReader(whole[:n])); err == nil {
				t.Fatalf("%v: %d of %d bytes accepted", mode, n, len(whole))
			}
		}
	}
}

func TestEveryByteOfASignedBodyCounts(t *testing.T) {
	for _, mode := range framedModes[:2] {
		b := encodeChunks(t, mode, threeChunks, 16)
		whole := []byte(b.String())
		for i := range whole {
			whole[i] ^= 1
			if _, _, err := decodeChunks(b, bytes.NewReader(whole)); err == nil {
				t.Fatalf("%v: byte %d of %d changed and accepted", mode, i, len(whole))
			}
			whole[i] ^= 1
		}
	}
}

// What clients write that differs from the examples.
func TestChunkedVariants(t *testing.T) {
	signed := encodeChunks(t, PayloadChunkedTrailer, threeChunks, 16)
	unsigned := encodeChunks(t, PayloadChunkedUnsignedTrailer, threeChunks, 16)
	minio := signed // LF after the trailer, an empty line before the signature
	minio.tail = strings.Replace(signed.tail, "\r\n", "\n\r\n", 1)
	lf := signed
	lf.tail = strings.ReplaceAll(signed.tail, "\r\n", "\n")
	upper := unsigned
	upper.tail = "X-Amz-Checksum-Crc32: NhCmhg== \r\n\r\n"
	extension := unsigned
	extension.chunks = []string{strings.Replace(unsigned.chunks[0], "\r\n", ";a=b\r\n", 1), unsigned.chunks[1], unsigned.chunks[2]}
	zeros := unsigned
	zeros.zero = "0000\r\n"
	for name, b := range map[string]chunkedBody{
		"minio-go": minio, "bare LF trailers": lf, "trailer case and space": upper, "unsigned extension": extension,
		"long zero": zeros,
	} {
		got, r, err := decodeChunks(b, strings.NewReader(b.String()))
		if err != nil || got != threeChunks {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if v, _ := r.Trailer(sampleTrailer.Name); v != sampleTrailer.Value {
			t.Errorf("%s: trailer %q", name, v)
		}
	}
}

func TestChunkedSourceErrorIsTheCause(t *testing.T) {
	b := encodeChunks(t, PayloadChunked, threeChunks, 16)
	for n := range len(b.String()) {
		src := io.MultiReader(strings.NewReader(b.String()[:n]), iotest.ErrReader(os.ErrDeadlineExceeded))
		_, _, err := decodeChunks(b, src)
		wantCode(t, err, CodeIncompleteBody, 400)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

func TestChunkedReaderWants(t *testing.T) {
	for _, p := range []Payload{
		{Mode: PayloadUnsigned, DecodedLength: 1}, {Mode: PayloadHash, DecodedLength: 1}, {},
		{Mode: PayloadChunked, DecodedLength: -1},
	} {
		if _, err := NewChunkedReader(strings.NewReader(""), p, sampleSeed()); err == nil {
			t.Errorf("%+v accepted", p)
		}
	}
	if _, err := NewChunkedReader(strings.NewReader(""), Payload{Mode: PayloadChunked}, Seed{}); err == nil {
		t.Error("a signed body without a seed accepted")
	}
}

// The Go SDK sends one chunk as long as the body: it is streamed, not gathered (V6).
func TestOneLongChunkAllocatesNothing(t *testing.T) {
	const size = 64 << 20
	head := fmt.Sprintf("%x\r\n", size)
	src := io.MultiReader(strings.NewReader(head), io.LimitReader(zeroReader{}, size), strings.NewReader("\r\n0\r\n\r\n"))
	r, err := NewChunkedReader(src, Payload{Mode: PayloadChunkedUnsignedTrailer, DecodedLength: size}, Seed{})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	total := int64(0)
	if n := testing.AllocsPerRun(100, func() {
		k, err := r.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		total += int64(k)
	}); n != 0 {
		t.Errorf("%v allocations per read", n)
	}
	rest, err := io.Copy(io.Discard, struct{ io.Reader }{r})
	if err != nil || total+rest != size {
		t.Errorf("%d bytes, %v", total+rest, err)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }

func TestHashReader(t *testing.T) {
	for _, c := range []struct {
		body string
		ok   bool
	}{{"hello", true}, {"hellp", false}, {"", false}, {"hello ", false}} {
		res := mustVerify(t, exampleVerifier(), signedPut(t))
		got, r, err := readBody(t, res, []byte(c.body))
		sum, ok := r.(*HashReader).Sum()
		if ok != c.ok || string(got) != c.body {
			t.Errorf("%q: %v, read %q", c.body, ok, got)
		}
		if !c.ok {
			e := wantCode(t, err, CodeXAmzContentSHA256Mismatch, 400)
			if e.Fields[0].Value != helloHash {
				t.Errorf("fields %v", e.Fields)
			}
		} else if strings.ReplaceAll(spacedHex(string(sum[:])), " ", "") != helloHash {
			t.Errorf("sum %x", sum)
		}
	}
	r := NewHashReader(iotest.ErrReader(os.ErrDeadlineExceeded), [32]byte{})
	if _, err := io.ReadAll(r); err != os.ErrDeadlineExceeded {
		t.Errorf("source's error became %v", err)
	}
}

// A signed chunk costs no allocation once the reader is warm.
func TestSignedChunksAllocateNothing(t *testing.T) {
	const size, chunks = 1024, 200
	b := encodeChunks(t, PayloadChunked, string(make([]byte, size*chunks)), size)
	r, err := NewChunkedReader(strings.NewReader(b.String()), b.payload, b.seed)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, size)
	if n := testing.AllocsPerRun(chunks-1, func() {
		if _, err := io.ReadFull(r, buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per chunk", n)
	}
	if _, err := r.Read(buf); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

package sigv4

import (
	"bufio"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/minio/sha256-simd"
)

// The aws-chunked body (all lines end in CRLF; a chunk may be as long as the whole body):
//
//	hex(size) [;chunk-signature=64 hex]   header line
//	size bytes                            then CRLF
//	...                                   more chunks
//	0 [;chunk-signature=64 hex]           zero chunk
//	name:value                            declared trailers, if any
//	[x-amz-trailer-signature:64 hex]      signed trailers only
//	                                      empty line
//
// Each signature covers the one before it, so that chunks cannot be reordered, dropped or taken from another body.
const (
	chunkLineMax    = 4 << 10  // bytes of a header or trailer line, CRLF included
	trailerBytesMax = 16 << 10 // bytes after the zero chunk
	chunkPayload    = algorithm + "-PAYLOAD\n"
	chunkTrailer    = algorithm + "-TRAILER\n"
	chunkExtension  = "chunk-signature="
)

// Seed is what a verified or signed request hands to its body: the first signature of the chain, and what the chunks
// are signed with.
type Seed struct {
	Signature string // of the request, hex
	Time      string // YYYYMMDDTHHMMSSZ
	Scope     Scope

	key SigningKey
}

// chain computes the signatures of chunks and trailers. It does not allocate after its first use.
type chain struct {
	mac    mac
	suffix string // time and scope, each with its newline
	last   signature
}

// init starts a chain. It reports false when the seed's signature is not one.
func (c *chain) init(seed *Seed) bool {
	c.mac.init(seed.key[:])
	c.suffix = seed.Time + "\n" + seed.Scope.String() + "\n"
	return copy(c.last[:], seed.Signature) == len(c.last) && len(seed.Signature) == len(c.last)
}

// next signs a chunk (or, with kind chunkTrailer, the trailer section) of the given SHA-256 and moves the chain on.
func (c *chain) next(kind string, sum []byte) *signature {
	c.mac.reset()
	b := append(c.mac.inner, kind...)
	b = append(b, c.suffix...)
	b = append(b, c.last[:]...)
	b = append(b, '\n')
	if kind == chunkPayload {
		b = append(b, EmptySHA256+"\n"...)
	}
	c.mac.inner = hex.AppendEncode(b, sum)
	c.last = c.mac.signature()
	return &c.last
}

// ChunkedReader removes and verifies aws-chunked framing. Its bytes count only once Read has returned io.EOF (V5): a
// chunk is handed out while it arrives, and its signature is checked with its last byte. Reads may be of any size;
// those of 4 KiB and more go past the internal buffer.
type ChunkedReader struct {
	src      *bufio.Reader
	mode     PayloadMode
	declared []string

	left      int64 // decoded bytes still to come, by x-amz-decoded-content-length
	chunkLeft int64 // of which in this chunk
	inBody    bool  // a chunk's data was read, its CRLF not yet

	chain    chain
	hash     hash.Hash // of the chunk, signed modes only
	sum      [sha256.Size]byte
	provided signature // the chunk's, from its header line

	trailers []Field
	err      error // sticky
}

// NewChunkedReader reads src, the raw body, as payload says. The seed may be zero for PayloadChunkedUnsignedTrailer.
func NewChunkedReader(src io.Reader, payload Payload, seed Seed) (*ChunkedReader, error) {
	if !payload.Mode.Framed() || payload.DecodedLength < 0 {
		return nil, newError(CodeInvalidRequest, "The body is not aws-chunked.")
	}
	r := &ChunkedReader{
		src: bufio.NewReaderSize(src, chunkLineMax), mode: payload.Mode, declared: payload.Trailers,
		left: payload.DecodedLength,
	}
	if r.mode.signed() {
		if !r.chain.init(&seed) {
			return nil, newError(CodeInvalidRequest, "A signed body needs a signed request.")
		}
		r.hash = sha256.New()
	}
	return r, nil
}

// Read implements io.Reader. Errors besides io.EOF are *Error; one of the source is the Cause of an IncompleteBody.
func (r *ChunkedReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	if err != nil {
		r.err = err
		return 0, err
	}
	return n, nil
}

// Trailers returns the declared trailers in the order they came, names in lower case; nil before io.EOF.
func (r *ChunkedReader) Trailers() []Field {
	if r.err != io.EOF {
		return nil
	}
	return r.trailers
}

// Trailer returns the value of one declared trailer after io.EOF.
func (r *ChunkedReader) Trailer(name string) (string, bool) {
	for _, f := range r.Trailers() {
		if f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

func (r *ChunkedReader) read(p []byte) (int, error) {
	if r.chunkLeft == 0 {
		if err := r.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.chunkLeft)])
	r.chunkLeft -= int64(n)
	r.left -= int64(n)
	if err != nil && (err != io.EOF || r.chunkLeft > 0) {
		return 0, errIncomplete(err)
	}
	if r.hash != nil {
		r.hash.Write(p[:n])
		if r.chunkLeft == 0 {
			return n, r.verifyChunk()
		}
	}
	return n, nil
}

// nextChunk reads up to the next chunk's data. At the zero chunk it reads to the end and returns io.EOF.
func (r *ChunkedReader) nextChunk() error {
	if r.inBody {
		if err := r.expectCRLF(); err != nil {
			return err
		}
		r.inBody = false
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	size, err := r.parseHeader(line)
	if err != nil {
		return err
	}
	if size > r.left {
		return errDecodedLength()
	}
	if size > 0 {
		r.chunkLeft, r.inBody = size, true
		return nil
	}
	if r.hash != nil {
		if err := r.verifyChunk(); err != nil {
			return err
		}
	}
	if r.left != 0 {
		return errDecodedLength()
	}
	if err := r.readTrailers(); err != nil {
		return err
	}
	return io.EOF
}

// line returns the next header line without CRLF; valid until the next read.
func (r *ChunkedReader) line() ([]byte, error) {
	line, err := r.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, newError(CodeInvalidRequest, "A chunk header is longer than %d bytes.", chunkLineMax)
	}
	if err != nil {
		return nil, errIncomplete(err)
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, errChunkHeader()
	}
	return line[:len(line)-2], nil
}

func (r *ChunkedReader) expectCRLF() error {
	for _, want := range [2]byte{'\r', '\n'} {
		c, err := r.src.ReadByte()
		if err != nil {
			return errIncomplete(err)
		}
		if c != want {
			return newError(CodeInvalidRequest, "A chunk is longer than its header says.")
		}
	}
	return nil
}

// parseHeader parses size and, in signed modes, exactly one chunk-signature. Unsigned modes ignore extensions
// (RFC 9112, section 7.1.1).
func (r *ChunkedReader) parseHeader(line []byte) (size int64, err error) {
	digits := 0
	for digits < len(line) && isHex(line[digits]) {
		if size >= 1<<59 {
			return 0, errChunkHeader()
		}
		size = size<<4 | int64(unhex(line[digits]))
		digits++
	}
	rest := line[digits:]
	switch {
	case digits == 0 || len(rest) > 0 && rest[0] != ';':
		return 0, errChunkHeader()
	case r.hash == nil:
		return size, nil
	case len(rest) <= len(chunkExtension) || string(rest[1:len(chunkExtension)+1]) != chunkExtension:
		return 0, errChunkHeader()
	}
	// A value of another length is a wrong signature: it leaves zero bytes, which no hex signature equals.
	r.provided = signature{}
	if value := rest[len(chunkExtension)+1:]; len(value) == len(r.provided) {
		copy(r.provided[:], value)
	}
	return size, nil
}

// verifyChunk compares the signature of the chunk just hashed and starts the next hash.
func (r *ChunkedReader) verifyChunk() error {
	r.hash.Sum(r.sum[:0])
	r.hash.Reset()
	if !r.chain.next(chunkPayload, r.sum[:]).equal(&r.provided) {
		return errChunkSignature()
	}
	return nil
}

// readTrailers reads everything after the zero chunk. Lines may end in LF alone, and empty lines may separate them:
// minio-go writes LF after a trailer and an empty line before the signature. The last line must be empty.
func (r *ChunkedReader) readTrailers() error {
	var signed []byte // name:value LF, as the trailer signature covers it
	var provided string
	total, ended := 0, false
	for {
		line, err := r.src.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if total += len(line); errors.Is(err, bufio.ErrBufferFull) || total > trailerBytesMax {
			return errTrailer("longer than allowed")
		}
		if err != nil {
			return errIncomplete(err)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		if ended = text == ""; ended {
			continue
		}
		name, value, err := r.parseTrailer(text, provided != "")
		if err != nil {
			return err
		}
		if name == trailerSignature {
			provided = value
			continue
		}
		r.trailers = append(r.trailers, Field{name, value})
		signed = append(append(append(append(signed, name...), ':'), value...), '\n')
	}
	if !ended {
		return errIncomplete(io.ErrUnexpectedEOF)
	}
	return r.checkTrailers(signed, provided)
}

// parseTrailer parses one line and checks that the name was declared and is new. last: the signature has come already.
func (r *ChunkedReader) parseTrailer(text string, last bool) (name, value string, err error) {
	name, value, ok := strings.Cut(text, ":")
	name, value = strings.ToLower(name), strings.Trim(value, " \t")
	switch {
	case !ok || last || value == "" || !isPrintable(value):
		return "", "", errTrailer("not of the form name:value")
	case name == trailerSignature && r.mode == PayloadChunkedTrailer:
		return name, value, nil
	case !slices.Contains(r.declared, name):
		return "", "", errTrailer("not declared in x-amz-trailer")
	case slices.ContainsFunc(r.trailers, func(f Field) bool { return f.Name == name }):
		return "", "", errTrailer("given twice")
	}
	return name, value, nil
}

func (r *ChunkedReader) checkTrailers(signed []byte, provided string) error {
	if len(r.trailers) != len(r.declared) {
		return errTrailer("declared in x-amz-trailer and missing")
	}
	if r.mode != PayloadChunkedTrailer {
		return nil
	}
	if provided == "" {
		return errTrailer("without " + trailerSignature)
	}
	sum := sha256.Sum256(signed)
	if !r.chain.next(chunkTrailer, sum[:]).matches(provided) {
		return errChunkSignature()
	}
	return nil
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func errChunkHeader() error { return newError(CodeInvalidRequest, "A chunk header is malformed.") }

func errChunkSignature() error { return newError(CodeSignatureDoesNotMatch, messageMismatch) }

func errTrailer(what string) error {
	return newError(CodeMalformedTrailer, "The request contained trailing data that was not well-formed or did not "+
		"conform to our published schema: a trailer is %s.", what)
}

func errDecodedLength() error {
	return newError(CodeIncompleteBody, "The body does not have the number of bytes specified by the "+
		"x-amz-decoded-content-length HTTP header.")
}

func errIncomplete(cause error) error {
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF
	}
	e := newError(CodeIncompleteBody, "The request body terminated unexpectedly")
	e.Cause = cause
	return e
}

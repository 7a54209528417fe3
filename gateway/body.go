package gateway

import (
	"crypto/md5"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/digest"
	"minikv/internal/object"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

// wireReader is a request's body as it comes from the connection. It counts, keeps the deadline rolling where no guard does, and
// says in S3's words why it ended early.
type wireReader struct {
	c    *call
	body io.Reader
	roll *http.ResponseController // nil: the guard keeps time
}

func (c *call) wire() *wireReader {
	r := &wireReader{c: c, body: c.r.Body}
	if c.guard() == nil {
		r.roll = http.NewResponseController(c.w)
	}
	return r
}

func (r *wireReader) Read(p []byte) (int, error) {
	if r.roll != nil {
		_ = r.roll.SetReadDeadline(time.Now().Add(r.c.s.idle)) // not every writer has deadlines
	}
	n, err := r.body.Read(p)
	r.c.in += int64(n)
	if err == nil || err == io.EOF {
		return n, err
	}
	r.c.unusable = true
	r.c.cause = err
	return n, wireError(err)
}

func wireError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s3.NewError(s3.CodeRequestTimeout, "")
	case errors.Is(err, errChunkFraming):
		return s3.NewError(s3.CodeInvalidRequest, "The chunked transfer coding of the body is malformed.")
	}
	return s3.NewError(s3.CodeIncompleteBody, "")
}

// inBody is a request's body, checked and without framing.
type inBody struct {
	reader  io.Reader
	size    int64 // in bytes
	sums    s3.Checksums
	chunked *sigv4.ChunkedReader // nil: not framed
}

// openBody checks what the headers say of the body, and gives its reader; no byte is read yet (F3).
func (c *call) openBody(sizeMax int64) (*inBody, error) {
	b := &inBody{}
	var err error
	if b.size, err = c.bodySize(); err != nil {
		return nil, err
	}
	if b.size > sizeMax {
		return nil, s3.NewError(s3.CodeEntityTooLarge, "").With("ProposedSize", strconv.FormatInt(b.size, 10)).
			With("MaxSizeAllowed", strconv.FormatInt(sizeMax, 10))
	}
	if b.sums, err = s3.ParseChecksums(c.op, c.h); err != nil {
		return nil, err
	}
	if b.sums.Trailer != digest.None && !c.auth.Payload.Mode.Framed() {
		return nil, s3.NewError(s3.CodeInvalidRequest, "x-amz-trailer needs a body with trailers.")
	}
	if b.reader, err = c.auth.BodyReader(c.wire()); err != nil {
		return nil, err
	}
	b.chunked, _ = b.reader.(*sigv4.ChunkedReader)
	return b, nil
}

// bodySize is the length of the body without framing. net/http says 0 for a missing Content-Length, so the header decides.
func (c *call) bodySize() (int64, error) {
	if p := &c.auth.Payload; p.Mode.Framed() {
		return p.DecodedLength, nil
	}
	switch {
	case len(c.r.TransferEncoding) > 0:
		return 0, s3.NotImplementedHeader("Transfer-Encoding")
	case len(c.r.Header["Content-Length"]) == 0:
		return 0, s3.NewError(s3.CodeMissingContentLength, "")
	}
	return c.r.ContentLength, nil
}

// digests lists what Check needs beyond MD5.
func (b *inBody) digests() []uint32 {
	if b.sums.Algorithm == digest.None {
		return nil
	}
	return []uint32{uint32(b.sums.Algorithm)}
}

// declared is the checksum that the body must have: from a header, or from the trailer that came after it. Zero: none.
func (b *inBody) declared() (digest.Checksum, error) {
	if b.sums.Trailer == digest.None {
		return b.sums.Value, nil
	}
	value, _ := b.chunked.Trailer(b.sums.Trailer.Header()) // a missing one was refused by the reader
	sum, err := digest.Parse(b.sums.Trailer, value)
	if err != nil || sum.Type != digest.FullObject {
		return sum, s3.Errorf(s3.CodeInvalidRequest, "Value for %s trailing header is invalid.", b.sums.Trailer.Header())
	}
	return sum, nil
}

// check compares the body's digests with what was declared (F4).
func (b *inBody) check(d objects.Digests) error {
	if b.sums.HasMD5 && b.sums.MD5 != d.MD5 {
		return s3.NewError(s3.CodeBadDigest, "The Content-MD5 you specified did not match what we received.")
	}
	want, err := b.declared()
	if err != nil || want.IsZero() {
		return err
	}
	for _, sum := range d.Checksums {
		if sum.Algorithm == uint32(want.Algorithm) {
			return compareChecksum(want, sum.Value)
		}
	}
	return errors.New("the body's " + want.Algorithm.String() + " was not computed")
}

func compareChecksum(want digest.Checksum, got []byte) error {
	if string(want.Bytes()) == string(got) {
		return nil
	}
	return s3.Errorf(s3.CodeBadDigest, "The %s you specified did not match the calculated checksum.", want.Algorithm)
}

// objectBody is the body of a write, for gateway/objects.
func (b *inBody) objectBody(c *call) objects.Body {
	return objects.Body{Reader: b.reader, Size: b.size, Want: b.digests(), Check: b.check,
		Account: c.account.CanonicalID, Interrupt: c.interruptBody}
}

// interruptBody makes a read of the body that waits time out.
func (c *call) interruptBody() {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0)) // not every writer has deadlines
}

// readXML reads a whole XML body of at most limit bytes and verifies its digests.
func (c *call) readXML(limit int) ([]byte, error) {
	b, err := c.openBody(object.PartBytesMax)
	if err != nil {
		return nil, err
	}
	if c.op.Name == "DeleteObjects" {
		if err := b.sums.NeedDigest(); err != nil {
			return nil, err
		}
	}
	return b.readAll(c, limit)
}

// Documents beyond heldMin take memory from the budget of bodies, since many clients may send large ones at once: heldCopies times
// their size, for the buffer grows, and what is made of them takes some too. It is given back when the request ends.
const (
	heldMin    = 64 << 10
	heldCopies = 2
)

// heldReader is a document's body, which pays for its memory once its client has shown that it sends.
type heldReader struct {
	c    *call
	r    io.Reader
	size int64
	got  int
}

func (h *heldReader) Read(p []byte) (int, error) {
	if h.c.held == nil && h.size > heldMin && h.got > heldMin/2 {
		held, err := h.c.s.objects.Hold(h.c.r.Context(), h.c.account.CanonicalID, h.c.interruptBody, heldCopies*h.size)
		if err != nil {
			return 0, err
		}
		h.c.held = held
	}
	n, err := h.r.Read(p)
	h.got += n
	if h.c.held != nil {
		h.c.held.Got(n)
	}
	return n, err
}

func (h *heldReader) whole() {
	if h.c.held != nil {
		h.c.held.Whole()
	}
}

func (b *inBody) readAll(c *call, limit int) ([]byte, error) {
	if b.size > int64(limit) {
		return nil, s3.NewError(s3.CodeMaxMessageLengthExceeded, "").With("MaxMessageLengthBytes", strconv.Itoa(limit))
	}
	r := &heldReader{c: c, r: b.reader, size: b.size}
	body, err := s3.ReadBody(r, limit)
	r.whole()
	if err != nil {
		return nil, err
	}
	d := objects.Digests{Size: uint64(len(body)), MD5: md5.Sum(body)}
	if a := b.sums.Algorithm; a != digest.None && c.op.Name != "CompleteMultipartUpload" {
		h := digest.NewHasher(digest.Options{Checksums: digest.SetOf(a)})
		h.Write(body)
		sums := h.Sums()
		h.Release()
		d.Checksums = []*metapb.Checksum{checksumPB(sums.Checksum(a))}
	}
	if c.op.Name == "CompleteMultipartUpload" { // its checksum headers are the object's
		b.sums.Value, b.sums.Trailer = digest.Checksum{}, digest.None
	}
	return body, b.check(d)
}

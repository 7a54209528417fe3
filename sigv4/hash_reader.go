package sigv4

import (
	"encoding/hex"
	"hash"
	"io"

	"github.com/minio/sha256-simd"
)

// HashReader passes a body through and compares its SHA-256 with the signed one at the end. Its bytes count only once
// Read has returned io.EOF (V5), so read to the end even when the length is known.
type HashReader struct {
	src  io.Reader
	hash hash.Hash
	want [sha256.Size]byte
	sum  [sha256.Size]byte
	err  error // sticky
}

// NewHashReader reads src, whose SHA-256 must be want.
func NewHashReader(src io.Reader, want [sha256.Size]byte) *HashReader {
	return &HashReader{src: src, hash: sha256.New(), want: want}
}

// Read implements io.Reader. At the end of a body with another hash the error is XAmzContentSHA256Mismatch; errors of
// the source come as they are.
func (r *HashReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.src.Read(p)
	r.hash.Write(p[:n])
	if err == io.EOF {
		r.hash.Sum(r.sum[:0])
		if r.sum != r.want {
			err = errContentMismatch(hex.EncodeToString(r.want[:]), hex.EncodeToString(r.sum[:]))
		}
	}
	r.err = err
	return n, err
}

// Sum returns the SHA-256 of the body, and whether it was read to the end and is right.
func (r *HashReader) Sum() (sum [sha256.Size]byte, ok bool) { return r.sum, r.err == io.EOF }

// BodyReader returns the reader that checks the body of the verified request: a *HashReader, a *ChunkedReader, or src
// itself when nothing is signed.
func (res *Result) BodyReader(src io.Reader) (io.Reader, error) {
	switch {
	case res.Payload.Mode == PayloadHash:
		return NewHashReader(src, res.Payload.SHA256), nil
	case res.Payload.Mode.Framed():
		return NewChunkedReader(src, res.Payload, res.seed)
	case res.Payload.Mode == PayloadUnsigned:
		return src, nil
	}
	return nil, newError(CodeInvalidRequest, "The request has no payload mode.")
}

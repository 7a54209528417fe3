package payload

import (
	"io"

	"minikv/internal/errs"
)

// Reader is a range of a body, verified before it is given. Not for concurrent use. Close it.
type Reader struct{}

// Len is how many bytes are still to come.
func (r *Reader) Len() uint64 { return 0 }

// WriteTo writes all the bytes that are still to come, in pieces of at most 1 MiB, or fails: less than Len bytes never come
// without an error. It implements io.WriterTo and uses no buffer besides the reader's own.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	return 0, errs.E("payload.Reader.WriteTo", errs.Unsupported, "not built yet")
}

// Read implements io.Reader; io.EOF comes only after Len bytes.
func (r *Reader) Read(p []byte) (int, error) {
	return 0, errs.E("payload.Reader.Read", errs.Unsupported, "not built yet")
}

// Close gives the buffers back. It does not fail.
func (r *Reader) Close() error { return nil }

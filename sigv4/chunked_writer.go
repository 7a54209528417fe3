package sigv4

import (
	"errors"
	"io"
	"strconv"

	"github.com/minio/sha256-simd"
)

// ChunkedWriter writes an aws-chunked body in any of the three framed modes. Close writes the zero chunk and the
// trailers.
type ChunkedWriter struct {
	dst   io.Writer
	mode  PayloadMode
	chain chain
	buf   []byte // the chunk being filled
	line  []byte
	err   error // sticky
}

var errWriterClosed = errors.New("sigv4: chunked writer is closed")

// NewChunkedWriter writes chunks of chunkBytes, the last one shorter, to dst. The seed comes from Signer.Sign; it may be
// zero for PayloadChunkedUnsignedTrailer.
func NewChunkedWriter(dst io.Writer, mode PayloadMode, seed Seed, chunkBytes int) (*ChunkedWriter, error) {
	w := &ChunkedWriter{dst: dst, mode: mode}
	if !mode.Framed() || chunkBytes <= 0 || mode.signed() && !w.chain.init(&seed) {
		return nil, errors.New("sigv4: chunked writer needs a framed mode, its seed and a positive chunk size")
	}
	w.buf = make([]byte, 0, chunkBytes)
	return w, nil
}

// Write buffers p and writes the chunks that it fills.
func (w *ChunkedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		k := copy(w.buf[len(w.buf):cap(w.buf)], p)
		w.buf = w.buf[:len(w.buf)+k]
		p = p[k:]
		n += k
		if len(w.buf) == cap(w.buf) {
			w.flush()
		}
	}
	return n, w.err
}

// Close ends the body. Trailers must be those declared in x-amz-trailer; PayloadChunked has none.
func (w *ChunkedWriter) Close(trailers ...Field) error {
	if w.err != nil {
		return w.err
	}
	if len(w.buf) > 0 {
		w.flush()
	}
	w.writeHeader()
	w.line = w.line[:0]
	var signed []byte
	for _, t := range trailers {
		w.line = append(w.line, t.Name+":"+t.Value+"\r\n"...)
		signed = append(signed, t.Name+":"+t.Value+"\n"...)
	}
	if w.mode == PayloadChunkedTrailer {
		sum := sha256.Sum256(signed)
		w.line = append(w.line, trailerSignature+":"...)
		w.line = append(w.line, w.chain.next(chunkTrailer, sum[:])[:]...)
		w.line = append(w.line, "\r\n"...)
	}
	w.line = append(w.line, "\r\n"...)
	w.write(w.line)
	if w.err != nil {
		return w.err
	}
	w.err = errWriterClosed
	return nil
}

// flush writes the buffered chunk.
func (w *ChunkedWriter) flush() {
	w.writeHeader()
	w.write(w.buf)
	w.write([]byte("\r\n"))
	w.buf = w.buf[:0]
}

func (w *ChunkedWriter) writeHeader() {
	w.line = strconv.AppendInt(w.line[:0], int64(len(w.buf)), 16)
	if w.mode.signed() {
		sum := sha256.Sum256(w.buf)
		w.line = append(w.line, ";"+chunkExtension...)
		w.line = append(w.line, w.chain.next(chunkPayload, sum[:])[:]...)
	}
	w.line = append(w.line, "\r\n"...)
	w.write(w.line)
}

func (w *ChunkedWriter) write(p []byte) {
	if w.err == nil {
		_, w.err = w.dst.Write(p)
	}
}

// ChunkedLength returns the bytes that a ChunkedWriter makes of decoded bytes: the Content-Length of such a request.
func ChunkedLength(mode PayloadMode, decoded int64, chunkBytes int, trailers ...Field) int64 {
	perChunk := int64(len("\r\n\r\n"))
	end := int64(len("0\r\n\r\n"))
	if mode.signed() {
		extension := int64(len(";"+chunkExtension) + len(signature{}))
		perChunk += extension
		end += extension
	}
	size := int64(chunkBytes)
	total := decoded/size*(hexDigits(size)+size+perChunk) + end
	if rest := decoded % size; rest > 0 {
		total += hexDigits(rest) + rest + perChunk
	}
	for _, t := range trailers {
		total += int64(len(t.Name) + len(":") + len(t.Value) + len("\r\n"))
	}
	if mode == PayloadChunkedTrailer {
		total += int64(len(trailerSignature+":\r\n") + len(signature{}))
	}
	return total
}

func hexDigits(n int64) int64 { return int64(len(strconv.FormatInt(n, 16))) }

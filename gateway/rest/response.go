package rest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"minikv/internal/errs"
	"minikv/sigv4"
)

// response is the answer: it remembers the status and renews the deadline at every write, so that a slow client lives and a dead
// one does not.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration
	renewed time.Time
	status  int
	bytes   int64
	cause   error  // for the log
	code    string // of the error that was answered; for the log
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// writeMax is how much one deadline covers.
const writeMax = 256 << 10

func (w *response) Write(p []byte) (n int, err error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	for {
		if now := time.Now(); now.Sub(w.renewed) > w.idle/8 {
			_ = w.control.SetWriteDeadline(now.Add(w.idle)) // unsupported only in tests
			w.renewed = now
		}
		m, err := w.ResponseWriter.Write(p[n:min(len(p), n+writeMax)])
		n += m
		w.bytes += int64(m)
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// interrupt makes a write that waits time out.
func (w *response) interrupt() {
	_ = w.control.SetWriteDeadline(time.Unix(1, 0)) // unsupported only in tests
}

// requestBody reads a request's body with a deadline on progress.
type requestBody struct {
	src     io.Reader
	control *http.ResponseController
	idle    time.Duration
	renewed time.Time
	bytes   int64
	armed   bool
	ended   bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.renewed) > b.idle/8 {
		_ = b.control.SetReadDeadline(now.Add(b.idle)) // unsupported only in tests
		b.renewed, b.armed = now, true
	}
	n, err := b.src.Read(p)
	b.bytes += int64(n)
	switch {
	case err == io.EOF:
		b.ended = true
		if b.armed { // the deadline would end the request while it is being decided
			_ = b.control.SetReadDeadline(time.Time{})
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		// The deadline stays, so that net/http does not wait for the rest.
		return n, newError(http.StatusBadRequest, "RequestTimeout", "No byte of the body came for too long.")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, newError(http.StatusBadRequest, "IncompleteBody", "")
	case err != nil && !understood(err): // the transfer coding, or the connection
		return n, &Error{Code: "IncompleteBody", Message: "The body could not be read: " + err.Error() + ".", status: http.StatusBadRequest}
	}
	return n, err
}

// interrupt makes a read that waits time out.
func (b *requestBody) interrupt() {
	_ = b.control.SetReadDeadline(time.Unix(1, 0)) // unsupported only in tests
}

// understood says that errorOf knows what to answer.
func understood(err error) bool {
	var (
		own   *Error
		sig   *sigv4.Error
		large *http.MaxBytesError
	)
	return errors.As(err, &own) || errors.As(err, &sig) || errors.As(err, &large) || errs.KindOf(err) != errs.Other
}

// release bounds the time that net/http spends on what was not read.
func (b *requestBody) release() {
	if !b.ended && !b.armed {
		_ = b.control.SetReadDeadline(time.Now().Add(min(b.idle, 5*time.Second)))
	}
}

// json answers a value.
func (c *call) json(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	h := c.w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	if h["Cache-Control"] == nil {
		h["Cache-Control"] = []string{"no-store"}
	}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		if _, err := c.w.Write(b); err != nil && c.w.cause == nil { // of an error's answer the error is the cause
			c.w.cause = err
		}
	}
	return nil
}

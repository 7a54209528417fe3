package gateway

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"minikv/gateway/iam"
	"minikv/gateway/payload"
	"minikv/gateway/s3"
	"minikv/internal/object"
	"minikv/sigv4"
)

// call is one request on its way. It is the http.ResponseWriter that the router passes through. Not for concurrent use.
type call struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	id    string
	start time.Time

	// Filled in by serve, in this order.
	target  s3.Target
	query   s3.Query
	op      *s3.Operation
	auth    *sigv4.Result
	account *iam.Account // nil: anonymous
	h       http.Header  // the request's header, with the x-amz-* parameters of a presigned URL
	bucket  object.Bucket
	key     object.Key
	version string // versionId, as sent
	region  string // of the bucket, once it was read

	held *payload.Held // memory of the document that was read; nil: none

	status   int // 0: no header sent
	in, out  int64
	code     s3.Code // of the error answered
	cause    error   // why, for the log
	values   [20]string
	nvalues  int
	unusable bool // the connection can't carry another request
}

// Header, WriteHeader and Write implement http.ResponseWriter.
func (c *call) Header() http.Header { return c.w.Header() }

// WriteHeader sends the header.
func (c *call) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
		if expectsNothing(c.r) {
			c.w.WriteHeader(http.StatusContinue)
		}
		c.w.WriteHeader(status)
	}
}

func (c *call) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	c.rollWriteDeadline()
	n, err := c.w.Write(p)
	c.out += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *call) Unwrap() http.ResponseWriter { return c.w }

// rollWriteDeadline gives the next write its time where no guard does.
func (c *call) rollWriteDeadline() {
	if c.guard() == nil {
		_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(c.s.idle)) // not every writer has deadlines
	}
}

// interruptAnswer makes a write of the answer that waits time out.
func (c *call) interruptAnswer() {
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Unix(1, 0)) // not every writer has deadlines
}

// unsent is how much of the answer waits for the client.
func (c *call) unsent() int64 { return Unsent(c.r.Context()) }

func (c *call) guard() *guard {
	g, _ := c.r.Context().Value(guardKey{}).(*guard)
	return g
}

// set writes a response header with exactly this letter case, without allocating.
func (c *call) set(name, value string) {
	if c.nvalues == len(c.values) {
		c.w.Header()[name] = []string{value}
		return
	}
	c.values[c.nvalues] = value
	c.w.Header()[name] = c.values[c.nvalues : c.nvalues+1 : c.nvalues+1]
	c.nvalues++
}

func (c *call) setUint(name string, n uint64) { c.set(name, strconv.FormatUint(n, 10)) }

// get is the first value of a request header, by canonical name.
func (c *call) get(name string) string {
	if v := c.h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// commonHeaders are on every answer (F6). net/http adds Date.
func (c *call) commonHeaders() {
	h := c.w.Header()
	c.set("x-amz-request-id", c.id)
	h["x-amz-id-2"] = c.s.ids.hostValue
	h["Server"] = serverValue
}

var serverValue = []string{"minikv"}

// finish ends a call, however it ended: a panic that is not net/http's own is logged and answered if that can still be done.
func (c *call) finish() {
	p := recover()
	if c.held != nil {
		c.held.Release()
	}
	if p != nil && p != http.ErrAbortHandler {
		c.s.log.Error("panic", zap.String("request_id", c.id), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		if c.status == 0 {
			c.unusable = true
			c.fail(s3.NewError(s3.CodeInternalError, ""))
			p = nil
		} else {
			p = http.ErrAbortHandler
		}
	}
	name := "unknown"
	if c.op != nil {
		name = c.op.Name
	}
	took := time.Since(c.start)
	c.s.metrics.observe(name, c.status, string(c.code), took, c.in, c.out)
	c.logLine(name, took, p != nil)
	if p != nil {
		panic(p)
	}
}

func (c *call) logLine(operation string, took time.Duration, broken bool) {
	level := zap.InfoLevel
	if c.status >= 500 && c.status != http.StatusNotImplemented || broken {
		level = zap.WarnLevel
	}
	entry := c.s.log.Check(level, "request")
	if entry == nil {
		return
	}
	room := logFields.Get().(*[logFieldsMax]zap.Field)
	defer func() {
		clear(room[:]) // they hold on to the request
		logFields.Put(room)
	}()
	fields := append(room[:0], zap.String("request_id", c.id), zap.String("operation", operation), zap.String("method", c.r.Method),
		zap.String("remote", c.r.RemoteAddr), zap.String("bucket", c.target.Bucket), zap.String("key", c.target.Key),
		zap.Int("status", c.status), zap.Duration("took", took), zap.Int64("in", c.in), zap.Int64("out", c.out))
	if c.account != nil {
		fields = append(fields, zap.String("access_key", c.account.AccessKey))
	}
	if c.code != "" {
		fields = append(fields, zap.String("code", string(c.code)))
	}
	if c.cause != nil {
		fields = append(fields, zap.Error(c.cause))
	}
	if broken {
		fields = append(fields, zap.Bool("broken_off", true))
	}
	entry.Write(fields...)
}

// logFieldsMax is how many fields a line of the access log has at most.
const logFieldsMax = 14

// logFields are used again: cores write or copy the fields of an entry, and keep none.
var logFields = sync.Pool{New: func() any { return new([logFieldsMax]zap.Field) }}

// idSource makes request ids: 16 characters, different for every request of every process.
type idSource struct {
	seed      uint64
	n         *atomic.Uint64
	hostValue []string // x-amz-id-2: this process
}

func newIDSource() idSource {
	b := make([]byte, 8+48)
	rand.Read(b) // never fails
	return idSource{binary.BigEndian.Uint64(b), new(atomic.Uint64), []string{base64.StdEncoding.EncodeToString(b[8:])}}
}

func (s *idSource) next() string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	x := (s.seed + s.n.Add(1)) * 0x9E3779B97F4A7C15 // a bijection, so that ids differ
	var b [16]byte
	for i := range b {
		b[i] = digits[x&31]
		x = x>>4 | x<<60
	}
	return string(b[:])
}

// expectsNothing says that a client waits for 100 before it sends an empty body. net/http sends none then, and botocore, which
// got the final answer instead, reads the next answer on the connection wrongly.
func expectsNothing(r *http.Request) bool {
	return r.ContentLength == 0 && r.ProtoMajor == 1 && r.ProtoMinor == 1 && len(r.Header["Expect"]) == 1 &&
		strings.EqualFold(r.Header["Expect"][0], "100-continue")
}

package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"minikv/gateway/s3"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/sigv4"
)

// failure makes the S3 error of whatever went wrong.
func (c *call) failure(err error) *s3.Error {
	var se *s3.Error
	if errors.As(err, &se) {
		return se
	}
	var ve *sigv4.Error
	if errors.As(err, &ve) {
		return signatureError(ve)
	}
	e := s3.ErrorOf(err)
	switch e.Code {
	case s3.CodeNoSuchBucket, s3.CodeBucketAlreadyExists, s3.CodeBucketAlreadyOwnedByYou, s3.CodeBucketNotEmpty:
		e.With("BucketName", string(c.bucket))
	case s3.CodeNoSuchKey:
		e.With("Key", string(c.key))
	case s3.CodeNoSuchUpload:
		e.With("UploadId", c.query.Get("uploadId"))
	case s3.CodePreconditionFailed:
		e.With("Condition", c.falseCondition(err))
	case s3.CodeInvalidPart, s3.CodeEntityTooSmall:
		withPart(e, errs.Message(err))
	}
	return e
}

// withPart adds what a refused complete says of the part that it is refused for.
func withPart(e *s3.Error, refusal string) {
	var number, size uint64
	n, _ := fmt.Sscanf(refusal, "part %d has %d bytes", &number, &size) // what it does not say is left out
	if n == 2 {
		e.With("ProposedSize", strconv.FormatUint(size, 10)).With("MinSizeAllowed", strconv.Itoa(object.PartBytesMin))
	}
	if n > 0 {
		e.With("PartNumber", strconv.FormatUint(number, 10))
	}
}

// conditionNames are how S3 writes the conditions that a store's refusal names, which are in lower case where they are S3's own.
var conditionNames = map[string]string{
	"If-Match": "If-Match", "If-None-Match": "If-None-Match",
	"x-amz-if-match-size": "x-amz-if-match-size", "x-amz-if-match-last-modified-time": "x-amz-if-match-last-modified-time",
	"x-amz-copy-source-if-match":            "x-amz-copy-source-If-Match",
	"x-amz-copy-source-if-none-match":       "x-amz-copy-source-If-None-Match",
	"x-amz-copy-source-if-modified-since":   "x-amz-copy-source-If-Modified-Since",
	"x-amz-copy-source-if-unmodified-since": "x-amz-copy-source-If-Unmodified-Since",
}

// falseCondition names the condition that was refused. A refusal that names none was of one of the request's.
func (c *call) falseCondition(err error) string {
	if name, ok := conditionNames[errs.Message(err)]; ok {
		return name
	}
	for _, name := range []string{"If-None-Match", "If-Match", "X-Amz-If-Match-Size", "X-Amz-If-Match-Last-Modified-Time"} {
		if len(c.h[name]) > 0 {
			return name
		}
	}
	return "If-Match"
}

func signatureError(ve *sigv4.Error) *s3.Error {
	e := &s3.Error{Code: s3.Code(ve.Code), Message: ve.Message, Status: ve.Status()}
	for _, f := range ve.Fields {
		e.With(f.Name, f.Value)
	}
	if ve.Region != "" {
		e.WithHeader("x-amz-bucket-region", ve.Region)
	}
	return e
}

// finalCodes are errors after which the rest of the body is not worth waiting for.
var finalCodes = map[s3.Code]bool{s3.CodeRequestTimeout: true, s3.CodeIncompleteBody: true, s3.CodeRequestHeaderSectionTooLarge: true}

var bufferPool = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// bufferKeptMax is the largest buffer that goes back to the pool, in bytes.
const bufferKeptMax = 1 << 20

func releaseBuffer(p *[]byte, b []byte) {
	if cap(b) <= bufferKeptMax {
		*p = b[:0]
		bufferPool.Put(p)
	}
}

// fail answers with an error; every error goes through here. When the header is gone already it breaks the connection (F5).
func (c *call) fail(err error) {
	e := c.failure(err)
	c.code, c.cause = e.Code, err
	if c.status != 0 {
		panic(http.ErrAbortHandler)
	}
	h := c.w.Header()
	clear(h)
	c.nvalues = 0
	c.commonHeaders()
	for _, f := range e.Header {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	if e.Code == s3.CodeAccessDenied && c.region != "" && c.target.Level == s3.LevelBucket { // SDKs ask for it without credentials
		c.set("x-amz-bucket-region", c.region)
	}
	if e.Code == s3.CodeMethodNotAllowed && len(h["Allow"]) == 0 {
		c.set("Allow", "GET, HEAD, PUT, POST, DELETE")
	}
	if (c.unusable || finalCodes[e.Code]) && c.r.ProtoMajor < 2 {
		c.set("Connection", "close")
	}
	if c.r.Method == http.MethodHead || e.Status == http.StatusNotModified {
		c.WriteHeader(e.Status)
		return
	}
	p := bufferPool.Get().(*[]byte)
	path, _ := sigv4.SplitTarget(c.r.RequestURI)
	body := s3.AppendError((*p)[:0], e, path, c.id, c.s.ids.hostValue[0])
	c.send(e.Status, body)
	releaseBuffer(p, body)
}

// send writes a whole XML answer.
func (c *call) send(status int, body []byte) {
	c.w.Header()["Content-Type"] = xmlType
	c.set("Content-Length", strconv.Itoa(len(body)))
	c.WriteHeader(status)
	if _, err := c.Write(body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

var xmlType = []string{"application/xml"}

// sendXML answers 200 with what appendBody appends.
func (c *call) sendXML(appendBody func(dst []byte) []byte) {
	p := bufferPool.Get().(*[]byte)
	body := appendBody((*p)[:0])
	c.send(http.StatusOK, body)
	releaseBuffer(p, body)
}

// sendEmpty answers without a body.
func (c *call) sendEmpty(status int) {
	if status != http.StatusNoContent && c.r.Method != http.MethodHead {
		c.set("Content-Length", "0")
	}
	c.WriteHeader(status)
}

package gateway

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/payload"
	"minikv/gateway/s3"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// read is a GetObject or HeadObject: what is asked for, then what was decided.
type read struct {
	c          *call
	conditions s3.ReadConditions
	overrides  s3.Overrides
	part       uint32
	checksum   bool
	rangeText  string

	off, n  uint64
	status  int
	partial string // Content-Range
	etag    digest.ETag
}

func (c *call) parseRead() (*read, error) {
	r := &read{c: c, rangeText: c.get("Range")}
	var err error
	if r.conditions, err = s3.ParseReadConditions(c.h); err != nil {
		return nil, err
	}
	if r.overrides, err = s3.ParseOverrides(c.query, c.account != nil); err != nil {
		return nil, err
	}
	if r.part, err = s3.ParsePartNumber(c.query); err != nil {
		return nil, err
	}
	if r.checksum, err = s3.ChecksumMode(c.h); err != nil {
		return nil, err
	}
	if r.part > 0 && r.rangeText != "" {
		return nil, s3.NewError(s3.CodeInvalidRequest, "Cannot specify both Range header and partNumber query parameter")
	}
	return r, nil
}

func (r *read) request(body bool) objects.GetRequest {
	req := objects.GetRequest{Bucket: r.c.bucket, Key: r.c.key, Version: r.c.version, PartNumber: r.part, WantBody: body}
	if body {
		req.ReadOptions = payload.ReadOptions{Account: r.c.account.CanonicalID, Interrupt: r.c.interruptAnswer, Unsent: r.c.unsent}
	}
	if body && r.rangeText != "" { // only a hint of where reading begins
		if span, partial, err := s3.ResolveRange(r.rangeText, math.MaxInt64); err == nil && partial {
			req.Offset = span.Offset
			if strings.HasPrefix(strings.TrimPrefix(r.rangeText, "bytes="), "-") {
				req.FromEnd, req.Offset = true, span.Length
			}
		}
	}
	return req
}

// decide looks at the version that was found: authorization, presence, conditions, range, in this order.
func (r *read) decide(obj *objects.Object) (off, n uint64, err error) {
	c := r.c
	if err := c.authorize(obj.Bucket, iam.GetObject, expectedOwner); err != nil {
		return 0, 0, err
	}
	if err := c.present(obj.Row); err != nil {
		return 0, 0, err
	}
	r.etag = etagOf(obj.Row.Etag, obj.Row.EtagParts)
	if err := r.conditions.Check(r.etag, obj.Row.ModifiedMs); err != nil {
		return 0, 0, r.withValidators(err, obj.Row)
	}
	err = r.span(obj)
	return r.off, r.n, err
}

// span finds which bytes are meant.
func (r *read) span(obj *objects.Object) error {
	r.off, r.n, r.status, r.partial = 0, obj.Size, http.StatusOK, ""
	if r.part > 0 {
		off, n, err := obj.PartRange(r.part)
		if err != nil {
			return s3.InvalidPartNumber(r.part, max(obj.Row.Parts, 1), obj.Size)
		}
		r.off, r.n = off, n
		if n > 0 {
			r.status, r.partial = http.StatusPartialContent, s3.Range{Offset: off, Length: n}.ContentRange(obj.Size)
		}
		return nil
	}
	if r.rangeText == "" || !r.ifRange(obj.Row) {
		return nil
	}
	span, partial, err := s3.ResolveRange(r.rangeText, obj.Size)
	if err != nil || !partial {
		return err
	}
	r.off, r.n = span.Offset, span.Length
	r.status, r.partial = http.StatusPartialContent, span.ContentRange(obj.Size)
	return nil
}

// ifRange says whether the Range header counts. Source: RFC 9110, section 13.1.5.
func (r *read) ifRange(row *metapb.ObjectRow) bool {
	v := r.c.get("If-Range")
	if v == "" {
		return true
	}
	if e, ok := digest.ParseETag(v); ok {
		return e == r.etag
	}
	seconds, ok := s3.ParseHTTPTime(v)
	return ok && seconds == row.ModifiedMs/1000
}

// withValidators adds to a 304 what the client needs to keep its copy.
func (r *read) withValidators(err error, row *metapb.ObjectRow) error {
	e := s3.ErrorOf(err)
	if e.Status != http.StatusNotModified {
		return err
	}
	e.WithHeader("ETag", r.etag.Quoted()).WithHeader("Last-Modified", s3.FormatHTTPTime(row.ModifiedMs))
	if v := row.GetAttributes().GetCacheControl(); v != "" {
		e.WithHeader("Cache-Control", v)
	}
	if v := row.GetAttributes().GetExpires(); v != "" {
		e.WithHeader("Expires", v)
	}
	return e
}

func (c *call) getObject() error {
	r, err := c.parseRead()
	if err != nil {
		return err
	}
	obj, body, err := c.s.objects.Open(c.r.Context(), r.request(true), r.decide)
	if err != nil {
		return err
	}
	defer body.Close()
	r.headers(obj)
	c.WriteHeader(r.status)
	if _, err := body.WriteTo(c); err != nil {
		return err // the header is out: fail breaks the connection (F5)
	}
	return nil
}

func (c *call) headObject() error {
	r, err := c.parseRead()
	if err != nil {
		return err
	}
	obj, err := c.s.objects.Stat(c.r.Context(), r.request(false))
	if err != nil {
		return err
	}
	if _, _, err := r.decide(obj); err != nil {
		return err
	}
	r.headers(obj)
	c.WriteHeader(r.status)
	return nil
}

// headers writes what describes the object and the bytes that follow.
func (r *read) headers(obj *objects.Object) {
	c, h, row := r.c, r.c.w.Header(), obj.Row
	m := metadataOf(row.Attributes)
	m.SetHeader(h)
	r.overrides.Apply(h)
	c.set("ETag", r.etag.Quoted())
	c.set("Last-Modified", s3.FormatHTTPTime(row.ModifiedMs))
	h["Accept-Ranges"] = acceptRanges
	c.setUint("Content-Length", r.n)
	if r.partial != "" {
		c.set("Content-Range", r.partial)
	}
	if n := len(row.Tags); n > 0 {
		c.set("x-amz-tagging-count", strconv.Itoa(n))
	}
	if r.part > 0 && row.Parts > 0 {
		c.setUint("x-amz-mp-parts-count", uint64(row.Parts))
	}
	if r.checksum {
		r.checksumHeaders(obj)
	}
}

var acceptRanges = []string{"bytes"}

// checksumHeaders: only a body that is the whole object, or a whole part, has a checksum that a client can compare.
func (r *read) checksumHeaders(obj *objects.Object) {
	whole := checksumOf(obj.Row.Checksum)
	switch {
	case whole.IsZero():
	case r.part > 0 && obj.Part != nil:
		part := pickChecksum(obj.Part.Checksums, whole.Algorithm)
		if part.IsZero() {
			return
		}
		r.c.set(part.Algorithm.Header(), part.String())
		r.c.set(s3.HeaderChecksumType, whole.Type.String())
	case r.part > 0 || r.partial == "":
		s3.SetChecksumHeader(r.c.w.Header(), whole)
	}
}

func (c *call) getObjectAttributes() error {
	p, err := s3.ParseAttributes(c.h)
	if err != nil {
		return err
	}
	conditions, err := s3.ParseReadConditions(c.h)
	if err != nil {
		return err
	}
	obj, err := c.statOwned(iam.GetObjectAttributes)
	if err != nil {
		return err
	}
	etag := etagOf(obj.Row.Etag, obj.Row.EtagParts)
	if err := conditions.Check(etag, obj.Row.ModifiedMs); err != nil {
		return err
	}
	a := s3.Attributes{Params: &p, ETag: etag, Size: obj.Size, Checksum: checksumOf(obj.Row.Checksum), PartCount: obj.Row.Parts}
	if p.Parts && obj.Row.Parts > 0 {
		if err := c.attributeParts(obj, &a); err != nil {
			return err
		}
	}
	c.set("Last-Modified", s3.FormatHTTPTime(obj.Row.ModifiedMs))
	c.sendXML(func(dst []byte) []byte { return s3.AppendAttributes(dst, &a) })
	return nil
}

func (c *call) attributeParts(obj *objects.Object, a *s3.Attributes) error {
	page, err := obj.Parts(c.r.Context(), a.Params.Marker, uint32(max(a.Params.MaxParts, 1)))
	if err != nil {
		return errs.Wrap("gateway.GetObjectAttributes", err)
	}
	a.Truncated = page.More
	for _, row := range page.Parts {
		if len(a.Parts) == a.Params.MaxParts {
			a.Truncated = true
			break
		}
		a.Parts = append(a.Parts, s3.Part{Number: row.Number, Size: row.Size, ETag: etagOf(row.Etag, 0),
			Checksum: pickChecksum(row.Checksums, a.Checksum.Algorithm)})
	}
	return nil
}

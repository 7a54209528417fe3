package rest

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"minikv/gateway/objects"
	"minikv/gateway/payload"
	"minikv/gateway/s3"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

const (
	actionGet    = "s3:GetObject"
	actionPut    = "s3:PutObject"
	actionDelete = "s3:DeleteObject"
	actionList   = "s3:ListBucket"
)

// stored is the answer to a put.
type stored struct {
	Key      string `json:"key"`
	ETag     string `json:"etag"`
	Size     uint64 `json:"size"`
	Modified string `json:"modified"`
}

func putObject(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	row, err := c.bucket(actionPut, c.key)
	if err != nil {
		return err
	}
	req, actions, err := c.putRequest()
	if err != nil {
		return err
	}
	if actions != actionPut { // If-Match with an ETag tells about the object
		if row, err = c.authorize(c.ctx(), actions, c.key); err != nil {
			return err
		}
	}
	req.Scope = c.scope(row, actions, c.key)
	res, err := c.s.cfg.Store.Put(c.ctx(), req)
	if err != nil {
		return err
	}
	etag := etagOf(res.Etag, res.EtagParts)
	c.w.Header()["ETag"] = []string{etag.Quoted()}
	return c.json(http.StatusOK, stored{string(c.key), etag.String(), res.Size, isoTime(res.ModifiedMs)})
}

// putRequest reads what the headers say of the object.
func (c *call) putRequest() (req objects.PutRequest, actions string, err error) {
	h := c.r.Header
	if len(h["Content-Range"]) > 0 {
		return req, "", newError(http.StatusNotImplemented, "NotImplemented", "Partial puts are not implemented.")
	}
	if c.size > object.PartBytesMax {
		return req, "", newError(http.StatusRequestEntityTooLarge, "EntityTooLarge", "One request takes at most 5 GiB; larger objects are uploaded in parts over S3.")
	}
	conditions, byETag, err := c.writeConditions()
	if err != nil {
		return req, "", err
	}
	meta, err := s3.ParseMetadata(h)
	if err != nil {
		return req, "", err
	}
	sums, err := s3.ParseChecksums(putOperation, h)
	if err != nil {
		return req, "", err
	}
	body, err := c.putBody(&sums)
	if err != nil {
		return req, "", err
	}
	actions = actionPut
	if byETag {
		actions += " " + actionGet
	}
	return objects.PutRequest{
		Key: c.key, Body: body, Conditions: conditions, Attributes: attributesOf(&meta), Owner: c.who.CanonicalID,
		Checksum: sums.Algorithm,
	}, actions, nil
}

// putBody checks Content-MD5 and a checksum header against the body.
func (c *call) putBody(sums *s3.Checksums) (objects.Body, error) {
	if sums.Trailer != digest.None {
		return objects.Body{}, s3.NotImplementedHeader(s3.HeaderTrailer)
	}
	body := objects.Body{Reader: c.body, Size: c.size, Account: c.who.CanonicalID, Interrupt: c.body.interrupt}
	if !sums.Value.IsZero() {
		body.Want = []uint32{uint32(sums.Value.Algorithm)}
	}
	body.Check = func(d objects.Digests) error {
		if sums.HasMD5 && sums.MD5 != d.MD5 {
			return s3.NewError(s3.CodeBadDigest, "")
		}
		if !sums.Value.IsZero() && (len(d.Checksums) != 1 || string(d.Checksums[0].GetValue()) != string(sums.Value.Bytes())) {
			return s3.NewError(s3.CodeBadDigest, "")
		}
		return nil
	}
	return body, nil
}

// putOperation tells s3.ParseChecksums what the headers are about.
var putOperation = func() *s3.Operation {
	for i, op := range s3.Operations() {
		if op.Name == "PutObject" {
			return &s3.Operations()[i]
		}
	}
	return &s3.Operation{Name: "PutObject"}
}()

func getObject(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	cond, err := s3.ParseReadConditions(c.r.Header)
	if err != nil {
		return err
	}
	g := &getter{c: c, cond: &cond}
	req := objects.GetRequest{Bucket: c.s.cfg.Bucket, Key: c.key, WantBody: c.r.Method == http.MethodGet}
	if !req.WantBody {
		obj, err := c.s.cfg.Store.Stat(c.ctx(), req)
		if err != nil {
			return err
		}
		if _, _, err = g.decide(obj); err != nil {
			return err
		}
		c.w.WriteHeader(g.answer(obj))
		return nil
	}
	req.ReadOptions = payload.ReadOptions{Account: c.who.CanonicalID, Interrupt: c.w.interrupt}
	if unsent := c.s.cfg.Unsent; unsent != nil {
		req.Unsent = func() int64 { return unsent(c.r.Context()) }
	}
	obj, body, err := c.s.cfg.Store.Open(c.ctx(), req, g.decide)
	if err != nil {
		return err
	}
	defer body.Close()
	c.w.WriteHeader(g.answer(obj))
	_, err = body.WriteTo(c.w)
	return err // breaks the connection (R3)
}

// getter is a read of an object: it decides on the object's row and then answers its headers.
type getter struct {
	c       *call
	cond    *s3.ReadConditions
	rng     s3.Range
	partial bool
}

// decide authorizes, then evaluates conditions, then the range.
func (g *getter) decide(obj *objects.Object) (off, n uint64, err error) {
	c := g.c
	if err := c.s.cfg.Authorize(c.who, actionGet, obj.Bucket, c.key); err != nil {
		return 0, 0, err
	}
	if obj.Row == nil || obj.Row.DeleteMarker {
		return 0, 0, errs.E("rest.get", errs.NoSuchKey, "")
	}
	etag := etagOf(obj.Row.Etag, obj.Row.EtagParts)
	h := c.w.Header()
	h["ETag"] = []string{etag.Quoted()} // 304 has these too
	h["Last-Modified"] = []string{s3.FormatHTTPTime(obj.Row.ModifiedMs)}
	if err := g.cond.Check(etag, obj.Row.ModifiedMs); err != nil {
		return 0, 0, err
	}
	header := strings.Join(c.r.Header["Range"], ",")
	if !ifRange(c.r.Header["If-Range"], etag, h["Last-Modified"][0]) {
		header = ""
	}
	g.rng, g.partial, err = s3.ResolveRange(header, obj.Size)
	return g.rng.Offset, g.rng.Length, err
}

// ifRange says whether a Range header counts (RFC 9110, section 13.1.5): the tag or date must be exactly the object's.
func ifRange(values []string, etag digest.ETag, modified string) bool {
	if len(values) == 0 {
		return true
	}
	e, ok := digest.ParseETag(values[0])
	return len(values) == 1 && (ok && e == etag || values[0] == modified)
}

// answer sets the headers and gives the status.
func (g *getter) answer(obj *objects.Object) int {
	h := g.c.w.Header()
	meta := metadataOf(obj.Row.Attributes)
	meta.SetHeader(h)
	h["Accept-Ranges"] = []string{"bytes"}
	h["Content-Length"] = []string{strconv.FormatUint(g.rng.Length, 10)}
	// What users store must not run as a page of this origin.
	h["Content-Security-Policy"] = []string{"sandbox; default-src 'none'"}
	if !g.partial {
		return http.StatusOK
	}
	h["Content-Range"] = []string{g.rng.ContentRange(obj.Size)}
	return http.StatusPartialContent
}

func deleteObject(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	row, err := c.bucket(actionDelete, c.key)
	if err != nil {
		return err
	}
	cond, byETag, err := c.writeConditions()
	if err != nil {
		return err
	}
	actions := actionDelete
	if byETag {
		actions += " " + actionGet
		if row, err = c.authorize(c.ctx(), actions, c.key); err != nil {
			return err
		}
	}
	res, err := c.s.cfg.Store.Delete(c.ctx(), c.scope(row, actions, c.key), []*metapb.DeleteKey{
		{Key: string(c.key), Conditions: cond, Strict: cond != nil},
	})
	if err != nil {
		return err
	}
	if r := res.GetResults(); len(r) == 1 && r[0].Failed {
		return errs.E("rest.delete", errs.Kind(r[0].Kind), "%s", r[0].Message)
	} else if len(r) != 1 {
		return errors.New("one delete has one result")
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// writeConditions reads If-Match and If-None-Match of a write; byETag says that a tag is compared. nil: none.
func (c *call) writeConditions() (cond *metapb.Conditions, byETag bool, err error) {
	h := c.r.Header
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		if len(h[name]) > 0 { // R4
			return nil, false, newError(http.StatusNotImplemented, "NotImplemented", name+" is not implemented for writes; use If-Match or If-None-Match.")
		}
	}
	r, err := s3.ParseReadConditions(h)
	if err != nil || !r.Any() {
		return nil, false, err
	}
	cond = &metapb.Conditions{
		IfMatchAny: r.IfMatch.Any, IfMatch: tagsOf(r.IfMatch),
		IfNoneMatchAny: r.IfNoneMatch.Any, IfNoneMatch: tagsOf(r.IfNoneMatch),
	}
	if r.IfMatch.Set && !r.IfMatch.Any && len(cond.IfMatch) == 0 {
		cond.IfMatch = []string{noTag} // the header's tags are none of ours: nothing matches
	}
	return cond, len(cond.IfMatch)+len(cond.IfNoneMatch) > 0, nil
}

// noTag is equal to no object's ETag.
const noTag = "none"

func tagsOf(m s3.Match) []string {
	var out []string
	for _, e := range m.ETags {
		out = append(out, e.String())
	}
	return out
}

func etagOf(sum []byte, parts uint32) digest.ETag {
	e := digest.ETag{Parts: parts}
	copy(e.Sum[:], sum)
	return e
}

func attributesOf(m *s3.Metadata) *metapb.Attributes {
	a := &metapb.Attributes{
		ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, ContentLanguage: m.ContentLanguage,
		ContentDisposition: m.ContentDisposition, CacheControl: m.CacheControl, Expires: m.Expires,
	}
	for _, f := range m.User {
		a.UserMetadata = append(a.UserMetadata, &metapb.Pair{Name: f.Name, Value: f.Value})
	}
	return a
}

func metadataOf(a *metapb.Attributes) *s3.Metadata {
	m := &s3.Metadata{
		ContentType: a.GetContentType(), ContentEncoding: a.GetContentEncoding(), ContentLanguage: a.GetContentLanguage(),
		ContentDisposition: a.GetContentDisposition(), CacheControl: a.GetCacheControl(), Expires: a.GetExpires(),
	}
	for _, p := range a.GetUserMetadata() {
		m.User = append(m.User, s3.Field{Name: p.Name, Value: p.Value})
	}
	return m
}

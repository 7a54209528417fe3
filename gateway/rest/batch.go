package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// batchOp is one operation as the client writes it.
type batchOp struct {
	Op          string  `json:"op"` // put, get, delete
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 *string `json:"value_base64"`
	ContentType string  `json:"content_type"`
	IfMatch     string  `json:"if_match"`      // an ETag, or *
	IfNoneMatch string  `json:"if_none_match"` // an ETag, or *
}

// batchResult answers one operation.
type batchResult struct {
	Op    string `json:"op"`
	Key   string `json:"key"`
	Found *bool  `json:"found,omitempty"` // of get and delete: the key existed
	*item        // of a put, and of a get that found something
}

func batch(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	if err := checkJSONType(c.r.Header.Get("Content-Type")); err != nil {
		return err
	}
	if c.size > batchBodyMax {
		return &http.MaxBytesError{Limit: batchBodyMax}
	}
	text, held, err := c.batchText()
	if held != nil {
		defer held.Release()
	}
	if err != nil {
		return err
	}
	release, err := c.s.batchMemory(c.ctx(), int64(len(text)))
	if err != nil {
		return err
	}
	defer release()
	in, err := parseBatch(text)
	if err != nil {
		return err
	}
	ops, err := c.batchOps(in)
	if err != nil {
		return err
	}
	row, err := c.authorizeBatch(c.ctx(), in)
	if err != nil {
		return err
	}
	sc := objects.Scope{Bucket: objects.RefOf(row), Reauthorize: func(ctx context.Context) (objects.Scope, error) {
		row, err := c.authorizeBatch(ctx, in)
		return objects.Scope{Bucket: objects.RefOf(row)}, err
	}}
	res, err := c.s.cfg.Store.Batch(c.ctx(), sc, ops)
	if err != nil {
		return err
	}
	values := uint64(0)
	for _, r := range res.GetResults() {
		values += min(r.GetRow().GetSize(), batchGetBytesMax)
	}
	free, err := c.s.answerMemory(c.ctx(), values, batchGetBytesMax)
	if err != nil {
		return err
	}
	defer free()
	out, err := c.batchResults(row, in, res)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, map[string]any{"results": out})
}

// batchText reads the whole body. Beyond batchFreeBytes it takes memory from the budget of bodies, once its client has shown that it
// sends: clients that stand still hold what others need no longer than uploads do. held may be there with an error too; nil: none.
func (c *call) batchText() (text []byte, held Held, err error) {
	body := http.MaxBytesReader(nil, io.NopCloser(c.body), batchBodyMax)
	var b bytes.Buffer
	if _, err = io.CopyN(&b, body, batchFreeBytes); err != nil {
		if err == io.EOF {
			err = nil
		}
		return b.Bytes(), nil, err
	}
	size := c.size
	if size < 0 {
		size = batchBodyMax
	}
	if held, err = c.s.cfg.Store.Hold(c.ctx(), c.who.CanonicalID, c.body.interrupt, size); err != nil {
		return nil, nil, err
	}
	_, err = b.ReadFrom(counted{body, held})
	held.Whole()
	return b.Bytes(), held, err
}

// counted tells of the bytes that come.
type counted struct {
	io.Reader
	held Held
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.held.Got(n)
	return n, err
}

// batchMemory waits for the memory that a batch with a text of size bytes takes: its values, its answer. The text is there already, so
// that nobody's client is waited for.
func (s *Server) batchMemory(ctx context.Context, size int64) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	n := 3 * max(size, batchFreeBytes)
	if err := s.batches.Acquire(ctx, n); err != nil {
		return nil, errs.WrapKind("rest.batch", errs.SlowDown, err)
	}
	return func() { s.batches.Release(n) }, nil
}

// answerMemory waits for the memory of an answer with so many bytes of values, of which at most most are answered.
func (s *Server) answerMemory(ctx context.Context, values, most uint64) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	n := int64(answerCopies * min(values, most))
	if err := s.answers.Acquire(ctx, n); err != nil {
		return nil, errs.WrapKind("rest.answer", errs.SlowDown, err)
	}
	return func() { s.answers.Release(n) }, nil
}

func checkJSONType(v string) error {
	if v == "" {
		return nil
	}
	t, _, err := mime.ParseMediaType(v)
	// curl -d without a header says that it sends a form.
	if err != nil || t != "application/json" && !strings.HasSuffix(t, "+json") && t != "application/x-www-form-urlencoded" && t != "text/plain" {
		return newError(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "A batch is application/json.")
	}
	return nil
}

// parseBatch reads a list of operations, or an object with the list as ops. It stops at the first operation too many: text of
// two bytes may make an operation of a hundred.
func parseBatch(text []byte) ([]batchOp, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	t, err := d.Token()
	var list []batchOp
	switch {
	case err == nil && t == json.Delim('['):
		list, err = decodeOps(d)
	case err == nil && t == json.Delim('{'):
		list, err = decodeObject(d)
	case err == nil:
		err = errors.New("it is neither a list nor an object")
	}
	if err != nil {
		return nil, batchError(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed("The body goes on after the batch.")
	}
	if len(list) == 0 {
		return nil, malformed("The batch has no operations.")
	}
	return list, nil
}

// decodeObject reads what follows the brace of {"ops": [...]}.
func decodeObject(d *json.Decoder) (list []batchOp, err error) {
	for seen := false; d.More(); seen = true {
		name, err := d.Token()
		switch {
		case err != nil:
			return nil, err
		case name != "ops" || seen:
			return nil, fmt.Errorf("field %q is unknown or repeated", name)
		}
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return nil, errors.Join(errors.New("ops is not a list"), err)
		}
		if list, err = decodeOps(d); err != nil {
			return nil, err
		}
	}
	_, err = d.Token() // the brace
	return list, err
}

// decodeOps reads what follows the bracket of a list, its end included.
func decodeOps(d *json.Decoder) (list []batchOp, err error) {
	for d.More() {
		if len(list) == batchOpsMax {
			return nil, newError(http.StatusRequestEntityTooLarge, "EntityTooLarge", fmt.Sprintf("The batch has more than %d operations.", batchOpsMax))
		}
		var op batchOp
		if err := d.Decode(&op); err != nil {
			return nil, err
		}
		list = append(list, op)
	}
	_, err = d.Token() // the bracket
	return list, err
}

func batchError(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	var other *json.UnmarshalTypeError
	if errors.As(err, &other) {
		field, takes := other.Field, "a string" // as all fields
		if field == "" {
			field, takes = "an operation", "an object"
		}
		err = fmt.Errorf("%s is %s, not %s", field, takes, other.Value)
	}
	return malformed("The body is not a batch: %s.", strings.TrimPrefix(err.Error(), "json: "))
}

func malformed(format string, args ...any) *Error {
	return newError(http.StatusBadRequest, "MalformedJSON", fmt.Sprintf(format, args...))
}

// checkText refuses what encoding/json would turn into U+FFFD, which makes different keys one: bytes that are not UTF-8 and lone
// surrogates.
func checkText(text []byte) error {
	if !utf8.Valid(text) {
		return malformed("The body is not UTF-8.")
	}
	for i := bytes.IndexByte(text, '\\'); i >= 0 && i+1 < len(text); {
		next := i + 2
		if text[i+1] == 'u' {
			r := hex4(text, i)
			switch {
			case r >= 0xDC00 && r <= 0xDFFF:
				return malformed("The body has a lone surrogate.")
			case r >= 0xD800 && r <= 0xDBFF:
				if low := hex4(text, i+6); low < 0xDC00 || low > 0xDFFF {
					return malformed("The body has a lone surrogate.")
				}
				next = i + 12
			}
		}
		if next >= len(text) {
			return nil
		}
		j := bytes.IndexByte(text[next:], '\\')
		if j < 0 {
			return nil
		}
		i = next + j
	}
	return nil
}

// hex4 is the number of an escape \uXXXX at i, or -1.
func hex4(b []byte, i int) int {
	if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
		return -1
	}
	n := 0
	for _, c := range b[i+2 : i+6] {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if d < 0 {
			return -1
		}
		n = n<<4 | d
	}
	return n
}

// batchOps checks the operations.
func (c *call) batchOps(in []batchOp) ([]objects.BatchOp, error) {
	out := make([]objects.BatchOp, len(in))
	for i := range in {
		if err := c.batchOp(&in[i], &out[i]); err != nil {
			e := errorOf(err)
			e.Op = &i
			return nil, e
		}
	}
	return out, nil
}

func (c *call) batchOp(in *batchOp, out *objects.BatchOp) error {
	key, err := object.ParseKey(in.Key)
	if err != nil {
		return keyError(in.Key, err)
	}
	out.Key = key
	if out.Conditions, err = in.conditions(); err != nil {
		return err
	}
	if (in.Op == "get" || in.Op == "delete") && (in.Value != nil || in.ValueBase64 != nil || in.ContentType != "") {
		return badRequest("Only a put has a value or a content_type.")
	}
	switch in.Op {
	case "put":
		value, err := in.value()
		if err != nil {
			return err
		}
		contentType := in.ContentType
		if contentType == "" {
			contentType = s3.DefaultContentType
		}
		if strings.ContainsFunc(contentType, func(r rune) bool { return r < ' ' || r > '~' }) || len(contentType) > 1024 {
			return badRequest("content_type has characters that a header cannot hold.")
		}
		out.Put = &objects.BatchPut{Value: value, Owner: c.who.CanonicalID, Attributes: &metapb.Attributes{ContentType: contentType}}
	case "get":
		out.Get = true
	case "delete":
		out.Delete = true
	default:
		return badRequest("op: %q is not allowed; allowed: put, get, delete.", in.Op)
	}
	return nil
}

func (in *batchOp) value() ([]byte, error) {
	switch {
	case (in.Value != nil) == (in.ValueBase64 != nil):
		return nil, badRequest("A put has either value or value_base64.")
	case in.Value != nil:
		return []byte(*in.Value), nil
	}
	b, err := base64.StdEncoding.DecodeString(*in.ValueBase64)
	if err != nil {
		return nil, badRequest("value_base64 is not base64.")
	}
	return b, nil
}

func (in *batchOp) conditions() (*metapb.Conditions, error) {
	if in.IfMatch == "" && in.IfNoneMatch == "" {
		return nil, nil
	}
	cond := &metapb.Conditions{IfMatchAny: in.IfMatch == "*", IfNoneMatchAny: in.IfNoneMatch == "*"}
	for _, x := range []struct {
		text string
		any  bool
		tags *[]string
	}{{in.IfMatch, cond.IfMatchAny, &cond.IfMatch}, {in.IfNoneMatch, cond.IfNoneMatchAny, &cond.IfNoneMatch}} {
		if x.text == "" || x.any {
			continue
		}
		e, ok := digest.ParseETag(x.text)
		if !ok {
			return nil, badRequest("%q is no ETag and not *.", x.text)
		}
		*x.tags = []string{e.String()}
	}
	return cond, nil
}

// authorizeBatch authorizes every operation on its key.
func (c *call) authorizeBatch(ctx context.Context, in []batchOp) (*metapb.BucketRow, error) {
	row, err := c.s.cfg.Store.Bucket(ctx, c.s.cfg.Bucket)
	if err != nil {
		return nil, err
	}
	actions := map[string]string{"put": actionPut, "get": actionGet, "delete": actionDelete}
	for i := range in {
		err := c.s.cfg.Authorize(c.who, actions[in[i].Op], row, object.Key(in[i].Key))
		if err == nil && in[i].IfMatch+in[i].IfNoneMatch != "" {
			err = c.s.cfg.Authorize(c.who, actionGet, row, object.Key(in[i].Key))
		}
		if err != nil {
			return nil, err
		}
	}
	return row, nil
}

// batchResults reads the values of the gets; together they are bounded, and what does not fit is left out, since the batch is done.
func (c *call) batchResults(row *metapb.BucketRow, in []batchOp, res *metapb.BatchResult) ([]batchResult, error) {
	if len(res.GetResults()) != len(in) {
		return nil, fmt.Errorf("a batch of %d has %d results", len(in), len(res.GetResults()))
	}
	out := make([]batchResult, len(in))
	left := uint64(batchGetBytesMax)
	for i, r := range res.Results {
		o := &out[i]
		o.Op, o.Key = in[i].Op, in[i].Key
		found := r.Found
		switch in[i].Op {
		case "put":
			p := r.GetPut()
			o.item = &item{Size: p.GetSize(), ETag: etagOf(p.GetEtag(), p.GetEtagParts()).String(), Modified: isoTime(p.GetModifiedMs())}
		case "delete":
			o.Found = &found
		case "get":
			o.Found = &found
			if !found {
				continue
			}
			it := itemOf(in[i].Key, r.Row)
			if err := c.value(c.ctx(), &it, row, r.Row, left); err != nil {
				return nil, err
			}
			o.item = &it
			if o.Omitted == "" {
				left -= o.Size
			}
		}
	}
	return out, nil
}

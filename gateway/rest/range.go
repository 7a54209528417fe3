package rest

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// item is an object in a range or in a batch's results. Of Value and ValueBase64 at most one is there: text as it is, other bytes in
// base64.
type item struct {
	Key         string  `json:"key"`
	Size        uint64  `json:"size"`
	ETag        string  `json:"etag"`
	Modified    string  `json:"modified"`
	ContentType string  `json:"content_type,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Omitted     string  `json:"value_omitted,omitempty"` // why there is no value
}

// page is the answer to GET /range.
type page struct {
	Items      []item `json:"items"`
	Count      int    `json:"count"`
	Truncated  bool   `json:"truncated"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// rangeRequest is GET /range, parsed.
type rangeRequest struct {
	query  *metapb.ListObjectsQuery
	values bool
}

func rangeKeys(c *call) error {
	p, err := c.params("start", "end", "prefix", "limit", "reverse", "include_values", "cursor")
	if err != nil {
		return err
	}
	actions := actionList
	if p["include_values"] != "" {
		actions += " " + actionGet
	}
	row, err := c.bucket(actionList, "")
	if err != nil {
		return err
	}
	if actions != actionList {
		if _, err = c.authorize(c.ctx(), actions, ""); err != nil {
			return err
		}
	}
	req, err := parseRange(p)
	if err != nil {
		return err
	}
	req.query.Bucket = row.GetName()
	list, err := c.s.cfg.Store.List(c.ctx(), req.query)
	if err != nil {
		return err
	}
	if req.values {
		values := uint64(0)
		for _, e := range list.Entries {
			if size := e.Row.GetSize(); size <= rangeValueMax {
				values += size
			}
		}
		free, err := c.s.answerMemory(c.ctx(), values, rangeBytesMax)
		if err != nil {
			return err
		}
		defer free()
	}
	out, err := c.page(list, req)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, out)
}

func parseRange(p map[string]string) (*rangeRequest, error) {
	q := &metapb.ListObjectsQuery{Prefix: p["prefix"], Start: p["start"], End: p["end"], Limit: rangeLimitDefault}
	req := &rangeRequest{query: q}
	for _, name := range []string{"prefix", "start", "end"} {
		if len(p[name]) > object.KeyBytesMax || !utf8.ValidString(p[name]) {
			return nil, badRequest("%s is longer than %d bytes or not UTF-8.", name, object.KeyBytesMax)
		}
	}
	if s, ok := p["limit"]; ok {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil || n == 0 {
			return nil, badRequest("limit: %q is not allowed; allowed: 1 to %d.", s, rangeLimitMax)
		}
		q.Limit = uint32(min(n, rangeLimitMax))
	}
	var err error
	if q.Reverse, err = parseFlag(p, "reverse"); err != nil {
		return nil, err
	}
	if req.values, err = parseFlag(p, "include_values"); err != nil {
		return nil, err
	}
	if s := p["cursor"]; s != "" {
		return req, req.resume(s)
	}
	return req, nil
}

func parseFlag(p map[string]string, name string) (bool, error) {
	s, ok := p[name]
	if !ok {
		return false, nil
	}
	switch s {
	case "true", "1", "":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, badRequest("%s: %q is not allowed; allowed: true or false.", name, s)
}

// A cursor is base64url of a version byte, which says the direction, and the last key of the page. The page after it begins beyond that
// key, whether it still exists or not.
const (
	cursorForward = 'f'
	cursorReverse = 'r'
)

func cursorAfter(key string, reverse bool) string {
	kind := byte(cursorForward)
	if reverse {
		kind = cursorReverse
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{kind}, key...))
}

// resume narrows the query to what lies beyond the cursor.
func (r *rangeRequest) resume(cursor string) error {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	want := byte(cursorForward)
	if r.query.Reverse {
		want = cursorReverse
	}
	if err != nil || len(b) < 2 || len(b) > 1+object.KeyBytesMax || b[0] != want || !utf8.Valid(b) {
		return badRequest("The cursor is not one that this range gave.")
	}
	key := string(b[1:])
	switch {
	case !r.query.Reverse:
		r.query.After = key
	case r.query.End == "" || key < r.query.End:
		r.query.End = key
	}
	return nil
}

// page makes the answer. With values, a page ends early before its bytes exceed the bound, and never without one item.
func (c *call) page(list *objects.ListPage, req *rangeRequest) (*page, error) {
	out := &page{Items: make([]item, 0, len(list.Entries)), Truncated: list.Truncated}
	bytes := uint64(0)
	for _, e := range list.Entries {
		it := itemOf(e.Key, e.Row)
		if req.values {
			if it.Size <= rangeValueMax && bytes+it.Size > rangeBytesMax {
				out.Truncated = true
				break
			}
			if err := c.value(c.ctx(), &it, list.Bucket, e.Row, rangeValueMax); err != nil {
				return nil, err
			}
			if it.Omitted == "" {
				bytes += it.Size
			}
		}
		out.Items = append(out.Items, it)
	}
	out.Count = len(out.Items)
	if out.Truncated && out.Count > 0 {
		out.NextCursor = cursorAfter(out.Items[out.Count-1].Key, req.query.Reverse)
	}
	return out, nil
}

// isoTime is a time as S3's XML has it: 2006-01-02T15:04:05.000Z.
func isoTime(ms int64) string { return string(s3.AppendTime(nil, ms)) }

func itemOf(key string, row *metapb.ObjectRow) item {
	return item{
		Key: key, Size: row.GetSize(), ETag: etagOf(row.GetEtag(), row.GetEtagParts()).String(), Modified: isoTime(row.GetModifiedMs()),
		ContentType: row.GetAttributes().GetContentType(),
	}
}

// value reads an object's bytes into it, if they are at most max.
func (c *call) value(ctx context.Context, it *item, bucket *metapb.BucketRow, row *metapb.ObjectRow, max uint64) error {
	if it.Size > max {
		it.Omitted = "too large"
		return nil
	}
	b := make([]byte, it.Size)
	if it.Size > 0 {
		body, err := c.s.cfg.Store.OpenRow(ctx, bucket, row)
		if err != nil {
			return err
		}
		defer body.Close()
		if _, err := io.ReadFull(body, b); err != nil {
			return err
		}
	}
	if utf8.Valid(b) {
		s := string(b)
		it.Value = &s
		return nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	it.ValueBase64 = &s
	return nil
}

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"minikv/e2e/harness"
	hist "minikv/e2e/history"
)

// restBucket is the bucket that the REST port shows, so that batches and S3 requests meet.
const restBucket = "minikv"

var _ hist.Store = (*s3Store)(nil)

// s3Store is a bucket through S3, and through REST where S3 has no such operation.
type s3Store struct {
	s3     *s3.Client
	http   *http.Client
	rest   string // URL
	bucket string
	// clocks says that a gateway's clock may be wrong: it refuses signatures then, before it does anything.
	clocks bool
	// surprise is told of answers that no request of ours deserves.
	surprise func(format string, args ...any)
}

// outcome says what an error tells of the state: a refused connection, that nothing was done; a 5xx or a broken connection, nothing.
func (s *s3Store) outcome(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", hist.ErrRefused, err)
	}
	st, code := status(err)
	return s.judge(what, st, code, err)
}

func (s *s3Store) judge(what string, st int, code string, err error) error {
	switch {
	case st == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", hist.ErrPrecondition, err)
	case st == http.StatusNotFound && (code == "NoSuchKey" || code == "NotFound"):
		return fmt.Errorf("%w: %w", hist.ErrAbsent, err)
	case st == http.StatusConflict && code == "ConditionalRequestConflict":
		return fmt.Errorf("%w: %w", hist.ErrRefused, err)
	case s.clocks && st == http.StatusForbidden && (code == codeSkewed || code == "Forbidden"): // a HEAD's answer has no code
		return fmt.Errorf("%w: %w", hist.ErrRefused, err)
	case st >= 400 && st < 500:
		s.surprise("%s: %d %s: %v", what, st, code, err)
	}
	return err
}

func bare(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }

func (s *s3Store) Get(ctx context.Context, key string) (hist.Object, error) {
	out, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return hist.Object{}, s.outcome("get", err)
	}
	defer func() { _ = out.Body.Close() }()
	body, err := io.ReadAll(out.Body)
	return hist.Object{Key: key, ETag: bare(out.ETag), Body: body}, err
}

func (s *s3Store) Head(ctx context.Context, key string) (hist.Object, error) {
	out, err := s.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return hist.Object{}, s.outcome("head", err)
	}
	return hist.Object{Key: key, ETag: bare(out.ETag)}, nil
}

func (s *s3Store) Put(ctx context.Context, key string, body []byte, c hist.Condition) error {
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(body)}
	switch c.When {
	case hist.IfAbsent:
		in.IfNoneMatch = aws.String("*")
	case hist.IfMatch:
		in.IfMatch = aws.String(`"` + c.ETag + `"`)
	}
	_, err := s.s3.PutObject(ctx, in)
	return s.outcome("put", err)
}

func (s *s3Store) Delete(ctx context.Context, key string, c hist.Condition) error {
	in := &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}
	if c.When == hist.IfMatch {
		in.IfMatch = aws.String(`"` + c.ETag + `"`)
	}
	_, err := s.s3.DeleteObject(ctx, in)
	return s.outcome("delete", err)
}

func (s *s3Store) Copy(ctx context.Context, from, to string) error {
	source := s.bucket + "/" + url.PathEscape(from)
	_, err := s.s3.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &s.bucket, Key: &to, CopySource: &source})
	return s.outcome("copy", err)
}

func (s *s3Store) List(ctx context.Context, prefix, after string, limit int) (hist.Page, error) {
	out, err := s.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: &prefix, StartAfter: &after, MaxKeys: aws.Int32(int32(limit)),
	})
	if err != nil {
		return hist.Page{}, s.outcome("list", err)
	}
	p := hist.Page{More: aws.ToBool(out.IsTruncated)}
	for _, o := range out.Contents {
		p.Objects = append(p.Objects, hist.Object{Key: aws.ToString(o.Key), ETag: bare(o.ETag)})
	}
	return p, nil
}

// jsonOp and jsonResult are REST's batch.
type (
	jsonOp struct {
		Op          string  `json:"op"`
		Key         string  `json:"key"`
		ValueBase64 *string `json:"value_base64,omitempty"`
		IfMatch     string  `json:"if_match,omitempty"`
		IfNoneMatch string  `json:"if_none_match,omitempty"`
	}
	jsonResult struct {
		Found       *bool   `json:"found"`
		ETag        string  `json:"etag"`
		Value       *string `json:"value"`
		ValueBase64 *string `json:"value_base64"`
	}
)

func (s *s3Store) Batch(ctx context.Context, ops []hist.BatchOp) ([]hist.BatchResult, error) {
	var in []jsonOp
	for _, o := range ops {
		in = append(in, jsonOpOf(o))
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.rest+"/batch", bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(harness.RootUser, harness.RootPassword)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, s.outcome("batch", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, s.batchError(resp.StatusCode, text)
	}
	return batchResults(text, ops)
}

func jsonOpOf(o hist.BatchOp) jsonOp {
	j := jsonOp{Op: strings.ToLower(o.Kind.String()), Key: o.Key}
	switch o.Cond.When {
	case hist.IfAbsent:
		j.IfNoneMatch = "*"
	case hist.IfMatch:
		j.IfMatch = `"` + o.Cond.ETag + `"`
	}
	if o.Kind == hist.Put {
		v := base64.StdEncoding.EncodeToString(o.Body)
		j.ValueBase64 = &v
	}
	return j
}

// batchError: an If-Match on an absent key is a false precondition of the batch, too.
func (s *s3Store) batchError(st int, text []byte) error {
	var e struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(text, &e)
	err := s.judge("batch", st, e.Code, fmt.Errorf("batch: %d: %s", st, text))
	if errors.Is(err, hist.ErrAbsent) {
		return fmt.Errorf("%w: %w", hist.ErrPrecondition, err)
	}
	return err
}

func batchResults(text []byte, ops []hist.BatchOp) ([]hist.BatchResult, error) {
	var out struct {
		Results []jsonResult `json:"results"`
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, err
	}
	var res []hist.BatchResult
	for i, r := range out.Results {
		b := hist.BatchResult{Object: hist.Object{ETag: strings.Trim(r.ETag, `"`)}}
		if i < len(ops) {
			b.Object.Key = ops[i].Key
		}
		if r.Found != nil {
			b.Found = map[bool]hist.Found{true: hist.Yes, false: hist.No}[*r.Found]
		}
		switch {
		case r.Value != nil:
			b.Object.Body = []byte(*r.Value)
		case r.ValueBase64 != nil:
			body, err := base64.StdEncoding.DecodeString(*r.ValueBase64)
			if err != nil {
				return nil, err
			}
			b.Object.Body = body
		}
		res = append(res, b)
	}
	return res, nil
}

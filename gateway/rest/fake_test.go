package rest

import (
	"bytes"
	"context"
	"crypto/md5"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

// fakeStore is a Store in memory, with one bucket.
type fakeStore struct {
	mu     sync.Mutex
	bucket *metapb.BucketRow
	rows   map[string]*metapb.ObjectRow
	bytes  map[string][]byte
	err    error // of every call, when set
	short  bool  // bodies break in the middle
	puts   int

	held     atomic.Int64 // bytes
	holds    atomic.Int64 // calls of Hold
	noMemory bool
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		bucket: &metapb.BucketRow{Name: "minikv", Id: []byte("00000001"), Owner: "root-id"},
		rows:   map[string]*metapb.ObjectRow{}, bytes: map[string][]byte{},
	}
}

func (f *fakeStore) Bucket(context.Context, object.Bucket) (*metapb.BucketRow, error) {
	return f.bucket, f.err
}

// fakeHeld counts what is held.
type fakeHeld struct {
	f    *fakeStore
	n    int64
	got  int
	once sync.Once
}

func (h *fakeHeld) Got(n int) { h.got += n }
func (h *fakeHeld) Whole()    {}
func (h *fakeHeld) Release()  { h.once.Do(func() { h.f.held.Add(-h.n) }) }

func (f *fakeStore) Hold(_ context.Context, account string, interrupt func(), n int64) (Held, error) {
	if account == "" || interrupt == nil {
		return nil, errs.E("fake.Hold", errs.Invalid, "nobody's memory")
	}
	if f.noMemory {
		return nil, errs.E("fake.Hold", errs.SlowDown, "")
	}
	f.held.Add(n)
	f.holds.Add(1)
	return &fakeHeld{f: f, n: n}, nil
}

func (f *fakeStore) Put(_ context.Context, req objects.PutRequest) (*metapb.PutResult, error) {
	b, err := io.ReadAll(req.Body.Reader)
	if err != nil {
		return nil, errs.Wrap("fake.Put", err)
	}
	if f.err != nil {
		return nil, f.err
	}
	d := objects.Digests{Size: uint64(len(b)), MD5: md5.Sum(b)}
	for _, a := range req.Body.Want {
		h := digest.NewHasher(digest.Options{Checksums: digest.SetOf(digest.Algorithm(a))})
		h.Write(b)
		sums := h.Sums()
		c := sums.Checksum(digest.Algorithm(a))
		d.Checksums = append(d.Checksums, &metapb.Checksum{Algorithm: a, Value: c.Bytes()})
	}
	if req.Body.Check != nil {
		if err := req.Body.Check(d); err != nil {
			return nil, errs.Wrap("fake.Put", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(string(req.Key), req.Conditions); err != nil {
		return nil, err
	}
	return f.set(string(req.Key), b, req.Attributes, req.Owner), nil
}

func (f *fakeStore) set(key string, b []byte, a *metapb.Attributes, owner string) *metapb.PutResult {
	sum := md5.Sum(b)
	f.puts++
	row := &metapb.ObjectRow{Size: uint64(len(b)), Etag: sum[:], ModifiedMs: 1700000000123 + int64(f.puts), Attributes: a, Owner: owner, Version: []byte(key)}
	f.rows[key], f.bytes[key] = row, b
	return &metapb.PutResult{Etag: sum[:], Size: row.Size, ModifiedMs: row.ModifiedMs}
}

func (f *fakeStore) check(key string, c *metapb.Conditions) error {
	row := f.rows[key]
	tag := etagOf(row.GetEtag(), 0).String()
	switch {
	case c == nil:
	case row == nil && (c.IfMatchAny || len(c.IfMatch) > 0):
		return errs.E("fake", errs.NoSuchKey, "")
	case row != nil && c.IfNoneMatchAny, row != nil && slices.Contains(c.IfNoneMatch, tag),
		len(c.IfMatch) > 0 && !slices.Contains(c.IfMatch, tag):
		return errs.E("fake", errs.Precondition, "")
	}
	return nil
}

func (f *fakeStore) Stat(_ context.Context, req objects.GetRequest) (*objects.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	row := f.rows[string(req.Key)]
	return &objects.Object{Bucket: f.bucket, Row: row, Size: row.GetSize()}, f.err
}

func (f *fakeStore) Open(ctx context.Context, req objects.GetRequest, decide func(*objects.Object) (uint64, uint64, error)) (*objects.Object, Body, error) {
	obj, err := f.Stat(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	off, n, err := decide(obj)
	if err != nil {
		return obj, nil, err
	}
	return obj, &fakeBody{Reader: bytes.NewReader(f.bytes[string(req.Key)][off : off+n]), short: f.short}, nil
}

func (f *fakeStore) OpenRow(_ context.Context, _ *metapb.BucketRow, row *metapb.ObjectRow) (Body, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &fakeBody{Reader: bytes.NewReader(f.bytes[string(row.Version)])}, nil
}

func (f *fakeStore) Delete(_ context.Context, _ objects.Scope, keys []*metapb.DeleteKey) (*metapb.DeleteResults, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	res := &metapb.DeleteResults{}
	for _, k := range keys {
		r := &metapb.DeleteResult{}
		if err := f.check(k.Key, k.Conditions); err != nil {
			r.Failed, r.Kind = true, uint32(errs.KindOf(err))
		} else {
			delete(f.rows, k.Key)
		}
		res.Results = append(res.Results, r)
	}
	return res, f.err
}

// List is the naive oracle of a range: sort all, filter, cut.
func (f *fakeStore) List(_ context.Context, q *metapb.ListObjectsQuery) (*objects.ListPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var keys []string
	for k := range f.rows {
		if strings.HasPrefix(k, q.Prefix) && k >= q.Start && (q.End == "" || k < q.End) && (q.After == "" || k > q.After) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if q.Reverse {
		slices.Reverse(keys)
	}
	page := &objects.ListPage{Bucket: f.bucket}
	for _, k := range keys {
		if len(page.Entries) == int(q.Limit) {
			page.Truncated = true
			break
		}
		page.Entries = append(page.Entries, objects.ListEntry{Key: k, Row: f.rows[k]})
	}
	return page, f.err
}

func (f *fakeStore) Batch(_ context.Context, _ objects.Scope, ops []objects.BatchOp) (*metapb.BatchResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, op := range ops {
		if err := f.check(string(op.Key), op.Conditions); err != nil {
			return nil, &objects.BatchError{Op: i, Err: err}
		}
	}
	res := &metapb.BatchResult{}
	for _, op := range ops {
		row := f.rows[string(op.Key)]
		r := &metapb.BatchOpResult{Found: row != nil}
		switch {
		case op.Put != nil:
			r.Put = f.set(string(op.Key), op.Put.Value, op.Put.Attributes, op.Put.Owner)
		case op.Get:
			r.Row = row
		case op.Delete:
			delete(f.rows, string(op.Key))
		}
		res.Results = append(res.Results, r)
	}
	return res, f.err
}

type fakeBody struct {
	*bytes.Reader
	short bool
}

func (b *fakeBody) Close() error { return nil }

func (b *fakeBody) WriteTo(w io.Writer) (int64, error) {
	if !b.short {
		return b.Reader.WriteTo(w)
	}
	n, _ := io.CopyN(w, b.Reader, int64(b.Len()/2))
	return n, errs.E("fake", errs.Corrupt, "")
}

const (
	rootKey, rootSecret = "rootkey", "root-secret-0123"
	bobKey, bobSecret   = "bob", "bob-secret-01234"
)

type fixture struct {
	t      *testing.T
	store  *fakeStore
	server *Server
	url    string
	remote string // shown as the client's address, when set
}

func newFixture(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, store: newFakeStore()}
	dir := iam.NewDirectory([]iam.User{
		{Account: iam.Account{AccessKey: rootKey, CanonicalID: "root-id", Root: true}, SecretKey: rootSecret},
		{Account: iam.Account{AccessKey: bobKey, CanonicalID: "bob-id"}, SecretKey: bobSecret},
	})
	cfg := Config{Store: f.store, Bucket: "minikv", Directory: dir, Verifier: sigv4.NewVerifier(sigv4.Options{Keys: dir}), IdleTimeout: time.Minute}
	for _, c := range change {
		c(&cfg)
	}
	f.server = New(cfg).Root(dir.ByKey(rootKey))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.remote != "" {
			r.RemoteAddr = f.remote
		}
		f.server.ServeHTTP(w, r)
	})
	s := httptest.NewUnstartedServer(h)
	s.Start()
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

type answer struct {
	*http.Response
	text string
}

// do sends a request as root; pairs are header names and values.
func (f *fixture) do(method, path, body string, pairs ...string) answer {
	f.t.Helper()
	return f.doAs(rootKey, rootSecret, method, path, body, pairs...)
}

func (f *fixture) doAs(key, secret, method, path, body string, pairs ...string) answer {
	f.t.Helper()
	req, err := http.NewRequest(method, f.url, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.URL.Opaque = path // as on the wire
	if i := strings.IndexByte(path, '?'); i >= 0 {
		req.URL.Opaque, req.URL.RawQuery = path[:i], path[i+1:]
	}
	if strings.HasPrefix(path, "//") { // else net/url takes it for an authority
		req.URL.Opaque = "//" + req.URL.Host + path
	}
	if key != "" {
		req.SetBasicAuth(key, secret)
	}
	for i := 0; i < len(pairs); i += 2 {
		req.Header[pairs[i]] = append(req.Header[pairs[i]], pairs[i+1])
		if pairs[i] == "Host" {
			req.Host = pairs[i+1]
		}
	}
	return f.send(req)
}

func (f *fixture) send(req *http.Request) answer {
	f.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	if resp.Header.Get("x-amz-request-id") == "" {
		f.t.Errorf("%s %s: no request id", req.Method, req.URL)
	}
	return answer{resp, string(b)}
}

// raw sends bytes on a connection and gives what comes back until it closes.
func (f *fixture) raw(text string) string {
	f.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		f.t.Fatal(err)
	}
	b, _ := io.ReadAll(conn) // a reset is an answer too
	return string(b)
}

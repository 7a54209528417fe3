package doctor

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake is an S3 server of one key that does as its flags say.
type fake struct {
	mu   sync.Mutex
	body *string
	seen *string // what a stale server takes for the body
	puts int

	ignores   bool // conditions
	stale     bool // judges conditions by what was read last
	loses     bool // reads go back to what was there before
	lies      bool // refuses a write that it did
	silent    bool // does some writes and says 503, or does not and says so
	noIfMatch bool
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	io.WriteString(w, `<?xml version="1.0"?><Error><Code>`+code+`</Code></Error>`)
}

func etagOf(b string) string {
	sum := md5.Sum([]byte(b))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (f *fake) allowed(h http.Header) bool {
	if f.ignores {
		return true
	}
	body := f.body
	if f.stale && f.puts > 40 {
		body = f.seen
	}
	if h.Get("If-None-Match") == "*" && body != nil {
		return false
	}
	m := h.Get("If-Match")
	return m == "" || f.noIfMatch || body != nil && etagOf(*body) == m
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.Count(r.URL.Path, "/") > 1
	switch {
	case !key:
	case r.Method == http.MethodDelete:
		f.body, f.seen = nil, nil
		w.WriteHeader(204)
	case r.Method == http.MethodGet && f.loses && f.puts > 40 && f.seen != nil:
		w.Header().Set("ETag", etagOf(*f.seen))
		f.body = f.seen
		io.WriteString(w, *f.seen)
	case r.Method == http.MethodGet && f.body == nil:
		refuse(w, 404, "NoSuchKey")
	case r.Method == http.MethodGet:
		f.seen = f.body
		w.Header().Set("ETag", etagOf(*f.body))
		io.WriteString(w, *f.body)
	case r.Method == http.MethodPut:
		f.put(w, r, string(b))
	}
}

func (f *fake) put(w http.ResponseWriter, r *http.Request, body string) {
	ok := f.allowed(r.Header)
	f.puts++
	switch {
	case !ok:
		refuse(w, 412, "PreconditionFailed")
	case f.silent && f.puts%3 == 0:
		if f.puts%2 == 0 {
			f.body = &body
		}
		w.WriteHeader(503)
	default:
		f.body = &body
		w.Header().Set("ETag", etagOf(body))
		if f.lies && f.puts > 40 {
			w.WriteHeader(412)
		}
	}
}

func check(t *testing.T, f *fake) (Report, error) {
	t.Helper()
	s := httptest.NewServer(f)
	defer s.Close()
	return CAS(t.Context(), Config{
		Endpoints: []string{s.URL, s.URL}, AccessKey: "a", SecretKey: "s", Region: "us-east-1", Writers: 8, Generations: 25, Timeout: time.Minute,
	})
}

func TestAGoodServerPasses(t *testing.T) {
	r, err := check(t, &fake{})
	require.NoError(t, err)
	require.Equal(t, 25, r.Generations)
	require.Equal(t, 25, r.Succeeded)
	require.Equal(t, 25*7, r.Refused)
	require.Empty(t, r.Violations)
	require.Equal(t, Sound, r.Verdict)
}

// TestUnansweredWritesAreNoViolation, whether they happened or not.
func TestUnansweredWritesAreNoViolation(t *testing.T) {
	r, err := check(t, &fake{silent: true})
	require.NoError(t, err, "%v", r.Violations)
	require.Positive(t, r.Unknown)
	require.Equal(t, 25, r.Generations)
}

func TestBrokenServersAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		f    *fake
		err  error
		says string
	}{
		"conditions are ignored": {&fake{ignores: true}, ErrIgnored, "If-None-Match If-Match"},
		"one of them is ignored": {&fake{noIfMatch: true}, ErrIgnored, "[If-Match]"},
		"look, then write":       {&fake{stale: true}, ErrBroken, "replaced the same version"},
		"updates are lost":       {&fake{loses: true}, ErrBroken, "is lost"},
		"it lies":                {&fake{lies: true}, ErrBroken, "was refused, and the key holds it"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := check(t, c.f)
			require.ErrorIs(t, err, c.err)
			require.NotEmpty(t, r.Violations)
			require.Equal(t, c.err == ErrIgnored, r.Verdict == Ignored)
			require.Contains(t, err.Error()+strings.Join(r.Violations, "\n"), c.says)
		})
	}
}

// TestWhatIsNoS3Server: it is told why, nothing but a read was asked of it, and nothing sounds like a success.
func TestWhatIsNoS3Server(t *testing.T) {
	answer := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for says, h := range map[string]http.HandlerFunc{
		"answers 403":               answer(403, "text/plain", ""),
		"answers 501":               answer(501, "text/plain", ""),
		`answers 200 ("text/html")`: answer(200, "text/html", "<html><Code>NoSuchKey</Code></html>"),
		`answers 404 ("text/html; charset=utf-8")`: answer(404, "text/html; charset=utf-8", "<html>Not found</html>"),
		"is it the REST port?":                     answer(404, "application/json", `{"code":"NoSuchKey"}`),
		"403 InvalidAccessKeyId":                   func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "InvalidAccessKeyId") },
	} {
		var asked atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1); r.Method != http.MethodGet {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			h(w, r)
		}))
		r, err := CAS(t.Context(), Config{Endpoints: []string{s.URL}, AccessKey: "a", SecretKey: "s", Writers: 2, Generations: 1, Timeout: time.Minute})
		s.Close()
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, says)
		require.Equal(t, NotChecked, r.Verdict)
		require.EqualValues(t, 1, asked.Load())
	}
	_, err := CAS(t.Context(), Config{Endpoints: []string{"ftp://x"}, Writers: 2})
	require.ErrorContains(t, err, "ftp://x")
}

// TestNothingDoneIsNoSuccess: no time, no bucket, no answer.
func TestNothingDoneIsNoSuccess(t *testing.T) {
	s := httptest.NewServer(&fake{})
	defer s.Close()
	cfg := Config{Endpoints: []string{s.URL}, AccessKey: "a", SecretKey: "s", Writers: 2, Generations: 5, Timeout: time.Minute}
	short := cfg
	short.Duration = 1
	r, err := CAS(t.Context(), short)
	require.ErrorIs(t, err, ErrUnavailable)
	require.Equal(t, NotChecked, r.Verdict)
	require.Contains(t, r.Error, "0 generations")

	absent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "NoSuchBucket") }))
	defer absent.Close()
	for _, bucket := range []string{"", "there"} { // made and refused; named and absent
		c := cfg
		c.Endpoints, c.Bucket = []string{absent.URL}, bucket
		_, err = CAS(t.Context(), c)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "404 NoSuchBucket")
	}
}

// TestEndpointsOfTwoStores are told apart from a broken store.
func TestEndpointsOfTwoStores(t *testing.T) {
	a, b := httptest.NewServer(&fake{}), httptest.NewServer(&fake{})
	defer a.Close()
	defer b.Close()
	_, err := CAS(t.Context(), Config{Endpoints: []string{a.URL, b.URL}, AccessKey: "a", SecretKey: "s", Writers: 2, Generations: 5, Timeout: time.Minute})
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "was written at "+a.URL+" and reads at "+b.URL+" as 404 NoSuchKey")
}

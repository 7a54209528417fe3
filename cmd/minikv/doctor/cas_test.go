package doctor

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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
		w.WriteHeader(404)
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
		w.WriteHeader(412)
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
		Endpoints: []string{s.URL, s.URL}, AccessKey: "a", SecretKey: "s", Region: "us-east-1", Writers: 8, Generations: 25, Timeout: 10 * time.Second,
	})
}

func TestAGoodServerPasses(t *testing.T) {
	r, err := check(t, &fake{})
	require.NoError(t, err)
	require.Equal(t, 25, r.Generations)
	require.Equal(t, 25, r.Succeeded)
	require.Equal(t, 25*7, r.Refused)
	require.Empty(t, r.Violations)
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
			require.Contains(t, err.Error()+strings.Join(r.Violations, "\n"), c.says)
		})
	}
}

func TestWhatIsNoS3Server(t *testing.T) {
	for _, h := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
		func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(501) },
		func(w http.ResponseWriter, r *http.Request) {},
	} {
		s := httptest.NewServer(h)
		_, err := CAS(t.Context(), Config{Endpoints: []string{s.URL}, AccessKey: "a", SecretKey: "s", Writers: 2, Generations: 1, Timeout: 5 * time.Second})
		s.Close()
		require.True(t, errors.Is(err, ErrUnavailable) || errors.Is(err, ErrIgnored), "%v", err)
	}
	_, err := CAS(t.Context(), Config{Endpoints: []string{"ftp://x"}, Writers: 2})
	require.ErrorContains(t, err, "ftp://x")
}

package client

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const helloTag = `"5d41402abc4b2a76b9719d911017c592"`

func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(Config{Endpoint: s.URL, AccessKey: "key", SecretKey: "secret"})
	require.NoError(t, err)
	return c
}

func TestDamageIsNoticedBothWays(t *testing.T) {
	body := "hello"
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", helloTag)
		if r.Method == http.MethodGet {
			io.WriteString(w, body)
		}
		io.Copy(io.Discard, r.Body)
	})
	_, err := c.Put(t.Context(), "k", strings.NewReader("hello"), 5, nil)
	require.NoError(t, err)
	_, err = c.Put(t.Context(), "k", strings.NewReader("hallo"), -1, nil)
	require.ErrorIs(t, err, ErrDamaged)
	for text, want := range map[string]error{"hello": nil, "hallo": ErrDamaged} {
		body = text
		o, err := c.Get(t.Context(), "k", nil)
		require.NoError(t, err)
		_, err = io.ReadAll(o.Body)
		require.ErrorIs(t, err, want)
	}
}

// lateReader gives the rest once it is time.
type lateReader struct {
	first, rest string
	time        <-chan struct{}
}

func (r *lateReader) Read(p []byte) (int, error) {
	if r.first == "" {
		<-r.time
		return copy(p, r.rest), io.EOF
	}
	n := copy(p, r.first)
	r.first = r.first[n:]
	return n, nil
}

// TestAnEarlyAnswerIsOfAPart: the bytes are compared once all of them were read, also where the answer was there before, and no others.
func TestAnEarlyAnswerIsOfAPart(t *testing.T) {
	answered := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		w.Header().Set("ETag", helloTag)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		close(answered)
	})
	_, err := c.Put(t.Context(), "k", &lateReader{"hello", " world", answered}, -1, nil)
	require.ErrorIs(t, err, ErrDamaged)
	answered = make(chan struct{})
	stored, err := c.Put(t.Context(), "k", &lateReader{"hello", " world", answered}, 5, nil)
	require.NoError(t, err)
	require.EqualValues(t, 5, stored.Size)
}

func TestKeysTravelAsTheyAre(t *testing.T) {
	var path, auth string
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { path, auth = r.RequestURI, r.Header.Get("Authorization") })
	for key, want := range map[string]string{
		"a/b": "/kv/a/b", "//x/../.": "/kv///x/../.", "a b+c%d": "/kv/a%20b%2Bc%25d", "ü?#": "/kv/%C3%BC%3F%23", "range": "/kv/range",
	} {
		require.NoError(t, c.Delete(t.Context(), key, nil))
		require.Equal(t, want, path)
		require.Contains(t, auth, "AWS4-HMAC-SHA256")
		require.NotContains(t, auth, "secret")
	}
}

func TestAnswersBecomeErrors(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "json"):
			w.WriteHeader(412)
			io.WriteString(w, `{"code":"PreconditionFailed","message":"No.","request_id":"R1","op":3}`)
		case strings.HasSuffix(r.URL.Path, "moved"):
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		default:
			http.Error(w, "<html>", http.StatusBadGateway)
		}
	})
	var e *Error
	require.ErrorAs(t, c.Delete(t.Context(), "json", nil), &e)
	require.Equal(t, "operation 3: No. (412 PreconditionFailed, request R1)", e.Error())
	require.ErrorAs(t, c.Delete(t.Context(), "other", nil), &e)
	require.Equal(t, 502, e.Status)
	require.ErrorAs(t, c.Delete(t.Context(), "moved", nil), &e)
	require.Equal(t, 302, e.Status, "signed requests follow nobody")
}

func TestEndpoints(t *testing.T) {
	for _, bad := range []string{"", "host:5000", "ftp://x", "http://", "http://x/path", "http://u:p@x", "http://[::1"} {
		_, err := New(Config{Endpoint: bad})
		require.Error(t, err, bad)
	}
	for endpoint, want := range map[string]bool{"http://127.0.0.1:1": true, "http://localhost": true, "https://[::1]:1": true, "http://10.0.0.1": false, "http://localhost.evil.example": false} {
		require.Equal(t, want, Loopback(endpoint), endpoint)
	}
}

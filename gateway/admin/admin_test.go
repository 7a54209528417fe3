package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/ops"
)

// caller does what its function says.
type caller func(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error)

func (c caller) Operate(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	return c(ctx, op, request, sink)
}

func ask(t *testing.T, c caller, method, name, body string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, "/admin/v1/status", strings.NewReader(body))
	return w, New(c).Serve(w, r, name, r.Body)
}

func TestAnAnswerIsOneValue(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		w, err := ask(t, func(_ context.Context, op ops.Spec, request []byte, _ ops.Sink) ([]byte, error) {
			require.Equal(t, "status", op.Name)
			return []byte(`{"ok":true}`), nil
		}, method, "status", "")
		require.NoError(t, err)
		require.Equal(t, `{"ok":true}`+"\n", w.Body.String())
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	}
}

func TestRefusals(t *testing.T) {
	never := caller(func(context.Context, ops.Spec, []byte, ops.Sink) ([]byte, error) {
		t.Error("the operation ran")
		return nil, nil
	})
	for _, c := range []struct {
		method, name, body string
		status             int
	}{
		{"GET", "no/such", "", 404}, {"GET", "raft/add", "", 405}, {"PUT", "status", "", 405}, {"DELETE", "raft/add", "", 405},
	} {
		_, err := ask(t, never, c.method, c.name, c.body)
		var e *Error
		require.ErrorAs(t, err, &e, "%+v", c)
		require.Equal(t, c.status, e.Status, "%+v", c)
	}
	_, err := ask(t, never, "POST", "raft/add", strings.Repeat("x", ops.RequestMax+1))
	require.Equal(t, errs.LimitExceeded, errs.KindOf(err))
}

// TestAJobIsLines: events as they come, then the result; a failure after the first is a line, and before it an answer of its own.
func TestAJobIsLines(t *testing.T) {
	spec := ops.Spec{Name: "some/job", Kind: ops.Job}
	run := func(c caller) (*httptest.ResponseRecorder, error) {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
		return w, New(c).job(w, r, spec, nil)
	}
	w, err := run(func(_ context.Context, _ ops.Spec, _ []byte, s ops.Sink) ([]byte, error) {
		return []byte(`"done"`), errors.Join(s.Event([]byte("1")), s.Event([]byte("2")))
	})
	require.NoError(t, err)
	require.Equal(t, `{"event":1}`+"\n"+`{"event":2}`+"\n"+`{"result":"done"}`+"\n", w.Body.String())

	broken := errs.E("x", errs.Conflict, "someone else does")
	w, err = run(func(_ context.Context, _ ops.Spec, _ []byte, s ops.Sink) ([]byte, error) {
		return nil, errors.Join(s.Event([]byte("1")), broken)
	})
	require.NoError(t, err)
	_, last, _ := strings.Cut(w.Body.String(), "\n")
	var l line
	require.NoError(t, json.Unmarshal([]byte(last), &l))
	require.Equal(t, Failure{http.StatusConflict, "OperationAborted", "someone else does"}, *l.Error)

	_, err = run(func(context.Context, ops.Spec, []byte, ops.Sink) ([]byte, error) { return nil, broken })
	require.ErrorIs(t, err, broken)
}

func TestOnlySoManyAtOnce(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	h := New(caller(func(context.Context, ops.Spec, []byte, ops.Sink) ([]byte, error) {
		begun <- struct{}{}
		<-end
		return []byte("1"), nil
	}))
	request := func() error {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		return h.Serve(httptest.NewRecorder(), r, "status", r.Body)
	}
	done := make(chan error, runningMax)
	for range runningMax {
		go func() { done <- request() }()
		<-begun
	}
	require.Equal(t, errs.SlowDown, errs.KindOf(request()))
	close(end)
	for range runningMax {
		require.NoError(t, <-done)
	}
}

package rest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/gateway/admin"
	"minikv/internal/errs"
	"minikv/internal/ops"
)

type operates func(op ops.Spec, request []byte, sink ops.Sink) ([]byte, error)

func (o operates) Operate(_ context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	return o(op, request, sink)
}

// TestOperations of root: the answer, and failures with all there is to say.
func TestOperations(t *testing.T) {
	var fail error
	f := newFixture(t)
	f.server.Admin(admin.New(operates(func(op ops.Spec, request []byte, _ ops.Sink) ([]byte, error) {
		return []byte(`{"op":"` + op.Name + `","request":` + string(request) + `}`), fail
	})))
	a := f.do("POST", "/admin/v1/raft/add", `{"address":"h:1"}`)
	require.Equal(t, 200, a.StatusCode, a.text)
	require.JSONEq(t, `{"op":"raft/add","request":{"address":"h:1"}}`, a.text)

	for _, c := range []struct {
		err    error
		status int
		code   string
		text   string
	}{
		{errs.E("x", errs.Conflict, "the last quorum"), 409, "OperationAborted", "the last quorum"},
		{errs.E("x", errs.Invalid, "address is missing"), 400, "InvalidArgument", "address is missing"},
		{errs.Wrap("x", errors.New("a disk broke")), 500, "InternalError", "a disk broke"},
		{errs.E("x", errs.NotProposed, "no leader"), 503, "ServiceUnavailable", "no leader"},
	} {
		fail = c.err
		a := f.do("POST", "/admin/v1/raft/add", "{}")
		require.Equal(t, c.status, a.StatusCode)
		require.Equal(t, c.code, errorCode(t, a))
		require.Contains(t, a.text, c.text)
	}
	a = f.do("GET", "/admin/v1/raft/add", "")
	require.Equal(t, 405, a.StatusCode)
	require.Equal(t, "POST", a.Header.Get("Allow"))
	require.Equal(t, 404, f.do("GET", "/admin/v1/", "").StatusCode)
	require.Equal(t, 400, f.do("GET", "/admin/v1/status?x=1", "").StatusCode)
}

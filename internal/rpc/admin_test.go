package rpc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/ops"
)

type gathered struct {
	events []string
	chunks string
	fail   error
}

func (g *gathered) Event(b []byte) error { g.events = append(g.events, string(b)); return g.fail }
func (g *gathered) Chunk(b []byte) error { g.chunks += string(b); return g.fail }

// probeDo is some operation of the leader that changes something.
var probeDo = ops.RaftAdd.Spec

func TestTheLeaderDoesOperations(t *testing.T) {
	c := newTrio(t)
	for i, n := range c.nodes {
		n.operate = func(_ context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
			require.NoError(t, sink.Event([]byte(`"on its way"`)))
			require.NoError(t, sink.Chunk([]byte("bytes")))
			return []byte(op.Name + " " + string(request) + " at " + string(rune('0'+i))), nil
		}
	}
	client := c.client(t)
	for _, hints := range []bool{true, false} {
		c.hints = hints
		for _, leads := range []int{2, 0, 1, 1} {
			c.leads.Store(int64(leads))
			var g gathered
			answer, err := client.Operate(t.Context(), probeDo, []byte("{}"), &g)
			require.NoError(t, err)
			require.Equal(t, "raft/add {} at "+string(rune('0'+leads)), string(answer))
			require.Equal(t, []string{`"on its way"`}, g.events)
			require.Equal(t, "bytes", g.chunks)
		}
	}
	c.leads.Store(-1)
	_, err := client.Operate(t.Context(), probeDo, nil, &gathered{})
	require.Equal(t, errs.NotProposed, errs.KindOf(err), "%v", err)
}

// TestOperationsThatFail: what the handler says arrives as it left; who does not listen any more ends it.
func TestOperationsThatFail(t *testing.T) {
	c := newTrio(t)
	c.nodes[0].operate = func(ctx context.Context, _ ops.Spec, _ []byte, sink ops.Sink) ([]byte, error) {
		if err := sink.Event([]byte("1")); err != nil {
			return nil, err
		}
		return nil, errs.E("test", errs.Conflict, "the last quorum")
	}
	_, err := c.client(t).Operate(t.Context(), probeDo, nil, &gathered{})
	require.Equal(t, errs.Conflict, errs.KindOf(err))
	require.Equal(t, "the last quorum", errs.Message(err))

	gone := errors.New("gone")
	_, err = c.client(t).Operate(t.Context(), probeDo, nil, &gathered{fail: gone})
	require.ErrorIs(t, err, gone)

	spec := probeDo
	spec.Name = "test/unknown"
	_, err = c.client(t).Operate(t.Context(), spec, nil, &gathered{})
	require.Equal(t, errs.Unsupported, errs.KindOf(err))
}

// TestALeaderThatIsLost: an operation that may have begun is not done again elsewhere, unless asking twice is asking once.
func TestALeaderThatIsLost(t *testing.T) {
	c := newTrio(t)
	var begun atomic.Int64
	c.nodes[0].status = nil // says that it leads
	asking, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i, n := range c.nodes {
		n.operate = func(ctx context.Context, _ ops.Spec, _ []byte, _ ops.Sink) ([]byte, error) {
			begun.Add(1)
			if i == 0 {
				cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []byte("1"), nil
		}
	}
	_, err := c.client(t).Operate(asking, probeDo, nil, &gathered{})
	require.Equal(t, errs.IndeterminateResult, errs.KindOf(err), "%v", err)
	require.Equal(t, int64(1), begun.Load())
}

// TestAnOperationThatWasCutShort at the leader, whose deadline is the caller's, may have been done, unless it changes nothing.
func TestAnOperationThatWasCutShort(t *testing.T) {
	for _, kind := range []errs.Kind{errs.Timeout, errs.Canceled} {
		for _, x := range []struct {
			op   ops.Spec
			told errs.Kind
		}{{probeDo, errs.IndeterminateResult}, {ops.RaftList.Spec, kind}} {
			c := newTrio(t)
			c.nodes[0].operate = func(context.Context, ops.Spec, []byte, ops.Sink) ([]byte, error) {
				return nil, errs.E("test", kind, "cut short")
			}
			_, err := c.client(t).Operate(t.Context(), x.op, nil, &gathered{})
			require.Equal(t, x.told, errs.KindOf(err), "%s: %v", x.op.Name, err)
			require.Equal(t, "cut short", errs.Message(err))
		}
	}
}

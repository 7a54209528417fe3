package ops

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

type sink struct{ events, chunks []string }

func (s *sink) Event(b []byte) error { s.events = append(s.events, string(b)); return nil }
func (s *sink) Chunk(b []byte) error { s.chunks = append(s.chunks, string(b)); return nil }

func TestRequestsAreRead(t *testing.T) {
	table := NewTable(RaftAdd.Handle(func(_ context.Context, q *RaftAddRequest, progress Progress) (*RaftMembers, error) {
		require.NoError(t, progress(map[string]int{"n": 1}))
		return &RaftMembers{Members: []RaftMember{{Address: q.Address}}}, nil
	}))
	var s sink
	b, err := table.Run(t.Context(), "raft/add", []byte(`{"address":"h:1"}`), &s)
	require.NoError(t, err)
	require.Equal(t, []string{`{"n":1}`}, s.events)
	var a RaftMembers
	require.NoError(t, json.Unmarshal(b, &a))
	require.Equal(t, "h:1", a.Members[0].Address)

	for request, kind := range map[string]errs.Kind{
		"": errs.Invalid, "{}": errs.Invalid, `{"address":""}`: errs.Invalid, `{"adress":"h:1"}`: errs.Invalid, `{"address":1}`: errs.Invalid,
		`{"address":"h:1"}{}`: errs.Invalid, `{"address":"h:1"`: errs.Invalid, `[]`: errs.Invalid,
		`{"address":"` + strings.Repeat("x", RequestMax) + `"}`: errs.LimitExceeded,
	} {
		_, err := table.Run(t.Context(), "raft/add", []byte(request), &s)
		require.Equal(t, kind, errs.KindOf(err), "%.40s: %v", request, err)
	}
	_, err = table.Run(t.Context(), "raft/list", nil, &s)
	require.Equal(t, errs.Unsupported, errs.KindOf(err))
}

func TestBytesComeInPieces(t *testing.T) {
	spec := Op[None, None]{Spec{Name: "bytes", Kind: Bytes, Timeout: TimeoutDefault}}
	var s sink
	want := strings.Repeat("abc", ChunkMax)
	_, err := NewTable(spec.HandleBytes(func(_ context.Context, _ *None, w io.Writer) error {
		_, err := io.WriteString(w, want)
		return err
	})).Run(t.Context(), "bytes", nil, &s)
	require.NoError(t, err)
	require.Equal(t, want, strings.Join(s.chunks, ""))
	require.Len(t, s.chunks, 3)
}

func TestEveryOperationHasADeadline(t *testing.T) {
	require.NotEmpty(t, All())
	for _, s := range All() {
		require.Positive(t, s.Timeout, s.Name)
		found, ok := Find(s.Name)
		require.True(t, ok)
		require.Equal(t, s, found)
	}
}

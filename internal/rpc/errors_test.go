package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"minikv/internal/errs"
)

// kinds are all that exist: their names end where "kind N" begins.
func kinds() []errs.Kind {
	var out []errs.Kind
	for k := errs.Kind(0); k.String() != fmt.Sprintf("kind %d", k); k++ {
		out = append(out, k)
	}
	return out
}

func TestEveryKindTravels(t *testing.T) {
	require.Greater(t, len(kinds()), 40)
	for _, k := range kinds() {
		require.Contains(t, codeOf, k, "%s has no row in the table", k)
		require.NotEqual(t, codes.OK, codeOf[k], k)
		sent := errs.Wrap("outer.Op", errs.E("inner.Op", k, "because of %d", 7))
		r, got := decode(context.Background(), methodRead, "host:1", encode(sent, "leader:1"))
		require.Equal(t, k, errs.KindOf(got))
		require.True(t, r.ran)
		require.Equal(t, "because of 7", errs.Message(got))
		require.Contains(t, got.Error(), "host:1")
		if k == errs.NotLeader {
			require.Equal(t, "leader:1", r.leader)
		} else {
			require.Empty(t, r.leader)
		}
	}
	require.Len(t, codeOf, len(kinds()))
}

func TestKindsOfTomorrowTravel(t *testing.T) {
	_, got := decode(context.Background(), methodRead, "h", encode(errs.E("op", errs.Kind(999), "new"), ""))
	require.Equal(t, errs.Kind(999), errs.KindOf(got))
}

func TestForeignErrorsAndTextsTravel(t *testing.T) {
	_, got := decode(context.Background(), methodRead, "h", encode(errors.New("disk \xff on fire"), ""))
	require.Equal(t, errs.Other, errs.KindOf(got))
	require.Contains(t, got.Error(), "on fire")
	_, got = decode(context.Background(), methodRead, "h", encode(errs.E("op", errs.Invalid, "%s", strings.Repeat("é", 1<<20)), ""))
	require.True(t, errs.Is(got, errs.Invalid))
	require.Less(t, len(got.Error()), 4*causeMax)
}

func TestStatusesOfTheTransport(t *testing.T) {
	for code, kind := range map[codes.Code]errs.Kind{
		codes.Unavailable: errs.Unavailable, codes.Unauthenticated: errs.AccessDenied, codes.PermissionDenied: errs.AccessDenied,
		codes.DeadlineExceeded: errs.Timeout, codes.Canceled: errs.Canceled, codes.Unimplemented: errs.Unsupported,
		codes.ResourceExhausted: errs.SlowDown, codes.Internal: errs.Other, codes.Unknown: errs.Other,
	} {
		r, got := decode(context.Background(), methodRead, "h", status.Error(code, "x"))
		require.Equal(t, kind, errs.KindOf(got), code)
		require.False(t, r.ran, code)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, got := decode(ctx, methodRead, "h", status.Error(codes.Unavailable, "x"))
	require.ErrorIs(t, got, context.Canceled)
}

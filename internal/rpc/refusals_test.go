package rpc

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"minikv/internal/certs"
)

// TestACrowdDoesNotFillTheLog: of many who are refused some are told, and of the others how many they were.
func TestACrowdDoesNotFillTheLog(t *testing.T) {
	core, lines := observer.New(zap.DebugLevel)
	r := NewRefusals(zap.New(core))
	at := time.Now()
	r.now = func() time.Time { return at }
	for range 1000 {
		r.Warn("refused")
	}
	require.Equal(t, refusalLines, lines.Len())
	at = at.Add(refusalSpan)
	r.Warn("refused")
	r.Warn("refused")
	all := lines.All()
	require.Len(t, all, refusalLines+2)
	require.EqualValues(t, 1000-refusalLines, all[refusalLines].ContextMap()["others_not_logged"])
	require.Empty(t, all[refusalLines+1].ContextMap())
}

// TestRefusedHellosDoNotFillTheLog over a real port.
func TestRefusedHellosDoNotFillTheLog(t *testing.T) {
	core, lines := observer.New(zap.WarnLevel)
	began := time.Now()
	addr := serve(t, ServerConfig{Security: node(t, nil, "n1", certs.AllRoles), Log: zap.New(core)}, func(*Server) {})
	for range 3 * refusalLines {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		require.NoError(t, err)
		_, _ = conn.Read(make([]byte, 1)) // it ends
		_ = conn.Close()
	}
	require.NotZero(t, lines.Len())
	spans := 1 + int(time.Since(began)/refusalSpan) // more than one on a machine that stalls
	require.LessOrEqual(t, lines.Len(), (1+spans)*refusalLines, "of %d spans", spans)
}

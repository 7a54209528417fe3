package rest

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"minikv/internal/errs"
)

// The line of a request that failed says why: the code of its answer, and what the answer may not tell.
func TestLogTellsWhy(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	f := newFixture(t, func(c *Config) { c.Log = zap.New(core) })
	f.do("PUT", "/k", "x")
	f.store.err = errs.E("volume.Prepare", errs.Unavailable, "volume 3 did not sync")
	require.Equal(t, http.StatusServiceUnavailable, f.do("PUT", "/k", "x").StatusCode)
	f.store.err = nil
	require.Equal(t, http.StatusNotFound, f.do("GET", "/absent", "").StatusCode)
	require.Eventually(t, func() bool { return logs.FilterMessage("request").Len() == 3 }, time.Minute, time.Millisecond) // after the answers

	lines := logs.FilterMessage("request").All()
	require.NotContains(t, lines[0].ContextMap(), "code")
	require.NotContains(t, lines[0].ContextMap(), "error")
	require.Equal(t, "ServiceUnavailable", lines[1].ContextMap()["code"])
	require.Contains(t, lines[1].ContextMap()["error"], "volume 3 did not sync")
	require.Equal(t, zapcore.WarnLevel, lines[1].Level)
	require.Equal(t, "NoSuchKey", lines[2].ContextMap()["code"])
}

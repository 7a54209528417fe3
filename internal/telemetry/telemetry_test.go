package telemetry

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestLoggerFormatsAndLevels(t *testing.T) {
	var b bytes.Buffer
	l, err := NewLogger(&b, "warn", "json")
	require.NoError(t, err)
	l.Info("quiet")
	l.Warn("loud", zap.Int("n", 7))
	var line map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &line), "one line only: %s", b.String())
	require.Equal(t, "loud", line["message"])
	require.EqualValues(t, 7, line["n"])

	b.Reset()
	l, err = NewLogger(&b, "info", "console")
	require.NoError(t, err)
	l.Info("hello")
	require.NoError(t, l.Sync())
	require.Contains(t, b.String(), "INFO\thello")

	_, err = NewLogger(&b, "loud", "json")
	require.Error(t, err)
	_, err = NewLogger(&b, "info", "xml")
	require.Error(t, err)
}

func TestMetricsPage(t *testing.T) {
	r := NewRegistry()
	q := NewRequests(r, "rest")
	r.MustRegister(&Gauges{Samples: func() []Sample {
		return []Sample{{Name: "minikv_volume_blobs", Help: "Blobs.", Value: 3, Labels: map[string]string{"volume": "1"}}}
	}})
	q.Begin()
	q.End("get", 200, time.Millisecond, 0, 10)
	w := httptest.NewRecorder()
	MetricsHandler(r).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code)
	for _, want := range []string{
		"minikv_build_info{", "go_goroutines", "process_resident_memory_bytes", `minikv_volume_blobs{volume="1"} 3`,
		`minikv_rest_requests_running 0`, `minikv_rest_bytes_total{direction="out"} 10`,
	} {
		require.Contains(t, w.Body.String(), want)
	}
}

package telemetry

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestCallsAreCounted(t *testing.T) {
	r := prometheus.NewRegistry()
	c := NewCalls(r)
	c.Ended("10.0.0.1:5001", "/minikv.volume.v1.Volume/Prepare", 3*time.Millisecond, "")
	c.Ended("10.0.0.1:5001", "/minikv.volume.v1.Volume/Prepare", time.Second, "unavailable")
	w := httptest.NewRecorder()
	MetricsHandler(r).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	require.Contains(t, w.Body.String(), `minikv_rpc_seconds_count{method="Volume/Prepare",peer="10.0.0.1:5001"} 2`)
	require.Contains(t, w.Body.String(), `minikv_rpc_errors_total{kind="unavailable",method="Volume/Prepare",peer="10.0.0.1:5001"} 1`)
}

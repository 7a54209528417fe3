package gateway

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the front door.
type metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	running  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "minikv_s3_requests_total", Help: "S3 requests by operation, status and error code.",
		}, []string{"operation", "status", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "minikv_s3_request_seconds", Help: "Time from the head of a request to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"operation"}),
		bytes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "minikv_s3_bytes_total", Help: "Bytes of bodies."}, []string{"direction"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "minikv_s3_requests_running", Help: "Requests that are being answered."}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.latency, m.bytes, m.running} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe counts a request that ended.
func (m *metrics) observe(operation string, status int, code string, took time.Duration, in, out int64) {
	m.running.Dec()
	m.requests.WithLabelValues(operation, statusText(status), code).Inc()
	m.latency.WithLabelValues(operation).Observe(took.Seconds())
	m.bytes.WithLabelValues("in").Add(float64(max(in, 0)))
	m.bytes.WithLabelValues("out").Add(float64(max(out, 0)))
}

func statusText(status int) string {
	switch status {
	case 200:
		return "200"
	case 204:
		return "204"
	case 206:
		return "206"
	}
	return strconv.Itoa(status)
}

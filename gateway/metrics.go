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
	bytesIn  prometheus.Counter
	bytesOut prometheus.Counter
	inFlight prometheus.Gauge
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
		bytesIn:  prometheus.NewCounter(prometheus.CounterOpts{Name: "minikv_s3_received_bytes_total", Help: "Bytes of request bodies."}),
		bytesOut: prometheus.NewCounter(prometheus.CounterOpts{Name: "minikv_s3_sent_bytes_total", Help: "Bytes of answers' bodies."}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "minikv_s3_requests_in_flight", Help: "Requests being answered."}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.latency, m.bytesIn, m.bytesOut, m.inFlight} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe counts a request that ended.
func (m *metrics) observe(operation string, status int, code string, took time.Duration, in, out int64) {
	m.inFlight.Dec()
	m.requests.WithLabelValues(operation, statusText(status), code).Inc()
	m.latency.WithLabelValues(operation).Observe(took.Seconds())
	if in > 0 {
		m.bytesIn.Add(float64(in))
	}
	if out > 0 {
		m.bytesOut.Add(float64(out))
	}
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

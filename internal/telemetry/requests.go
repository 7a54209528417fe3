package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests counts the requests of a listener.
type Requests struct {
	seconds *prometheus.HistogramVec
	bytes   *prometheus.CounterVec
	running prometheus.Gauge
}

// NewRequests registers the metrics of a listener: api is a word, as in minikv_rest_request_seconds.
func NewRequests(r prometheus.Registerer, api string) *Requests {
	q := &Requests{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "minikv_" + api + "_request_seconds", Help: "Time from the head of a request to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"operation", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "minikv_" + api + "_bytes_total", Help: "Bytes of bodies.",
		}, []string{"direction"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "minikv_" + api + "_requests_running", Help: "Requests that are being answered.",
		}),
	}
	r.MustRegister(q.seconds, q.bytes, q.running)
	return q
}

// Begin counts a request that begins.
func (q *Requests) Begin() { q.running.Inc() }

// End counts a request that ended. operation must come from a fixed set of names.
func (q *Requests) End(operation string, status int, took time.Duration, in, out int64) {
	q.running.Dec()
	q.seconds.WithLabelValues(operation, strconv.Itoa(status)).Observe(took.Seconds())
	q.bytes.WithLabelValues("in").Add(float64(in))
	q.bytes.WithLabelValues("out").Add(float64(out))
}

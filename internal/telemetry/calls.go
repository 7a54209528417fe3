package telemetry

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Calls counts the calls that this process makes to other nodes.
type Calls struct {
	seconds *prometheus.HistogramVec
	errors  *prometheus.CounterVec
}

// NewCalls registers the metrics of calls between nodes.
func NewCalls(r prometheus.Registerer) *Calls {
	c := &Calls{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "minikv_rpc_seconds", Help: "Time of calls to other nodes, from the caller's side.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"peer", "method"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "minikv_rpc_errors_total", Help: "Calls to other nodes that failed, by the kind of failure.",
		}, []string{"peer", "method", "kind"}),
	}
	r.MustRegister(c.seconds, c.errors)
	return c
}

// Ended counts a call: peer is host:port of a node, of which there are few; method is gRPC's name of it; kind is the kind of failure,
// empty for none.
func (c *Calls) Ended(peer, method string, took time.Duration, kind string) {
	name := method[strings.LastIndexByte(method, '.')+1:] // Volume/Prepare
	c.seconds.WithLabelValues(peer, name).Observe(took.Seconds())
	if kind != "" {
		c.errors.WithLabelValues(peer, name, kind).Inc()
	}
}

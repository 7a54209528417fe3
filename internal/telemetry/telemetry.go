// Package telemetry is what minikv tells its operator: the log, the metrics, the profiles. It knows nothing of the parts it
// reports on; they hand over numbers through Gauges.
//
//	T1 A secret never reaches a log: callers give no field that holds one, and credential types print without it.
//	T2 Metrics live in a registry of their own, not in the global one.
package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"minikv/internal/buildinfo"
)

// NewLogger makes a logger to w. level is debug, info, warn or error; format is console or json.
func NewLogger(w io.Writer, level, format string) (*zap.Logger, error) {
	lvl, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("log-level: %w", err)
	}
	var enc zapcore.Encoder
	switch format {
	case "json":
		enc = zapcore.NewJSONEncoder(encoderConfig())
	case "console":
		enc = newConsole(encoderConfig())
	default:
		return nil, fmt.Errorf("log-format: %q is not console or json", format)
	}
	return zap.New(newBuffered(enc, w, lvl)), nil
}

func encoderConfig() zapcore.EncoderConfig {
	ec := zap.NewProductionEncoderConfig()
	ec.EncodeTime = zapcore.TimeEncoderOfLayout(timeLayout)
	ec.EncodeDuration = zapcore.StringDurationEncoder
	ec.TimeKey, ec.MessageKey = "time", "message"
	return ec
}

// NewRegistry makes a registry with the collectors of the Go runtime, the process and the build.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	version, commit := buildinfo.Get()
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "minikv_build_info", Help: "Always 1; the labels say which minikv this is.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit},
	}, func() float64 { return 1 })
	r.MustRegister(collectors.NewGoCollector(), info,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// MetricsHandler serves the registry in the Prometheus text form.
func MetricsHandler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// PprofHandler serves the profiles below /debug/pprof/. The caller authenticates.
func PprofHandler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/debug/pprof/", pprof.Index)
	m.HandleFunc("/debug/pprof/profile", pprof.Profile)
	m.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return m // the command line is left out: it is nobody's business
}

// Sample is one number of a part at one moment.
type Sample struct {
	Name    string // as in minikv_volume_blobs
	Help    string
	Counter bool // it only grows; else a gauge
	Value   float64
	Labels  map[string]string // the same names at every call
}

// Gauges is a collector that asks a part for its numbers when metrics are read. Samples must not block.
type Gauges struct {
	Samples func() []Sample
	mu      sync.Mutex
}

// Describe sends nothing: the collector is unchecked, since the part decides what it tells.
func (g *Gauges) Describe(chan<- *prometheus.Desc) {}

// Collect asks the part.
func (g *Gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock() // one reader at a time
	defer g.mu.Unlock()
	for _, s := range g.Samples() {
		kind := prometheus.GaugeValue
		if s.Counter {
			kind = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(s.Name, s.Help, nil, s.Labels), kind, s.Value)
	}
}

var _ prometheus.Collector = (*Gauges)(nil)

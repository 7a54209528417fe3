// Package gateway is the S3 front door: an HTTP server over gateway/objects.
//
// A request passes, in this order: the guard (one way to read it), the target and its query, the signature, the operation
// table, headers that ask for what is not there, names, the length and digests of the body, the bucket's owner, and only then
// conditions and bytes.
//
//	F1 Nothing is done for a request whose signature was not verified, whatever its operation; anonymous is denied, but for the
//	   question after health.
//	F2 The path and query that are acted on are those that were signed.
//	F3 No byte of a body is read before the request is authenticated, authorized and its headers are found good.
//	F4 Nothing is stored of a body that is not what was signed or declared.
//	F5 An answer is whole or visibly broken: after its headers a failure ends the connection.
//	F6 Every answer has a request id, which the log has too.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/sigv4"
)

// Config of a Server. Objects and Directory are required.
type Config struct {
	Objects   *objects.Objects
	Directory *iam.Directory
	Region    string   // us-east-1 if empty
	Domains   []string // for virtual-host style: bucket.<domain>
	Log       *zap.Logger
	Metrics   prometheus.Registerer // nil: none
	Now       func() time.Time      // for signatures; time.Now if nil

	// IdleTimeout ends a body or an answer of which not one byte has moved for so long. 60 s if zero.
	IdleTimeout time.Duration
	// TrustedProxies may say in X-Forwarded-Host which Host the client signed.
	TrustedProxies []netip.Prefix
	// Bound names a bucket that can't be deleted, since the native API shows it. "": none.
	Bound string
	// Ready says whether requests are served, for who asks after health. nil: as long as the server runs.
	Ready func(context.Context) error
	// TLS, if set, is what Serve speaks. Its NextProtos are replaced.
	TLS *tls.Config
}

// Timeouts of connections.
const (
	idleTimeoutDefault = 60 * time.Second
	headTimeout        = 30 * time.Second
	keepAliveTimeout   = 3 * time.Minute
	afterCutTimeout    = 5 * time.Second
)

// Server answers S3 requests. Safe for concurrent use.
type Server struct {
	objects   *objects.Objects
	directory *iam.Directory
	verifier  *sigv4.Verifier
	region    string
	domains   []string
	log       *zap.Logger
	metrics   *metrics
	idle      time.Duration
	proxies   []netip.Prefix
	bound     string
	ready     func(context.Context) error
	tls       *tls.Config
	router    *mux.Router
	http      *http.Server
	ids       idSource
	running   sync.WaitGroup // requests, which may outlive their connections
}

// New makes a Server; call Serve, or use it as an http.Handler.
func New(cfg Config) (*Server, error) {
	if cfg.Objects == nil || cfg.Directory == nil {
		return nil, errors.New("gateway: Objects and Directory are required")
	}
	s := &Server{
		objects: cfg.Objects, directory: cfg.Directory, region: cfg.Region, log: cfg.Log,
		idle: cfg.IdleTimeout, proxies: cfg.TrustedProxies, bound: cfg.Bound, ready: cfg.Ready, ids: newIDSource(),
	}
	if s.region == "" {
		s.region = "us-east-1"
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.idle <= 0 {
		s.idle = idleTimeoutDefault
	}
	for _, d := range cfg.Domains {
		s.domains = append(s.domains, strings.ToLower(strings.Trim(d, ".")))
	}
	var err error
	if s.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	s.verifier = sigv4.NewVerifier(sigv4.Options{Keys: cfg.Directory, Region: s.region, Clock: cfg.Now})
	if cfg.TLS != nil {
		s.tls = cfg.TLS.Clone()
		s.tls.NextProtos = []string{"http/1.1", "h2"}
	}
	s.router = s.newRouter()
	s.http = s.newHTTP()
	return s, nil
}

// newRouter sends everything, wrong methods included, to one handler: only the operation table knows what is what, and names are
// taken from what was signed. Routes with variables would cost a regular expression and two copies of the request, for nothing.
func (s *Server) newRouter() *mux.Router {
	h := http.HandlerFunc(serveCall)
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.PathPrefix("/").Handler(h)
	r.NotFoundHandler = h
	r.MethodNotAllowedHandler = h
	return r
}

func (s *Server) newHTTP() *http.Server {
	return &http.Server{
		Handler:                      s,
		TLSConfig:                    s.tls,
		ReadHeaderTimeout:            headTimeout,
		IdleTimeout:                  keepAliveTimeout,
		MaxHeaderBytes:               2 * (requestLineMax + headerSectionMax), // the guard is stricter
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     s.errorLog(),
		ConnContext:                  ConnContext,
	}
}

// errorLog takes what net/http has to say about connections.
func (s *Server) errorLog() *log.Logger {
	l, err := zap.NewStdLogAt(s.log, zap.DebugLevel)
	if err != nil { // only an unknown level
		return zap.NewStdLog(s.log)
	}
	return l
}

type guardKey struct{}

// Serve answers on the listener until Shutdown, and then gives http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	if s.tls != nil {
		return s.http.Serve(newTLSListener(l, s.tls, s.idle))
	}
	return s.http.Serve(&guardListener{l, s.idle})
}

// Shutdown stops accepting and waits for the requests that run, at most as long as ctx lets it; then it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close() // the first error says it
		s.await(afterCutTimeout)
	}
	return err
}

// await waits for the requests that were cut off to notice it.
func (s *Server) await(most time.Duration) {
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(most):
		s.log.Warn("requests go on after their connections were closed")
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, w: w, r: r, start: time.Now(), id: s.ids.next()}
	s.metrics.running.Inc()
	s.running.Add(1)
	defer s.running.Done()
	defer c.finish()
	var m mux.RouteMatch
	s.router.Match(r, &m)     // always: there is a handler for what is not found
	m.Handler.ServeHTTP(c, r) // not router.ServeHTTP, which puts variables and route into copies of the request
}

// serveCall is where every route ends: mux gave us back our own writer.
func serveCall(w http.ResponseWriter, r *http.Request) {
	c := w.(*call)
	c.r = r
	c.serve()
}

package rest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"minikv/gateway/admin"
	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/telemetry"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

// Store is what the API does with objects; see the methods of objects.Objects, and Over.
type Store interface {
	Bucket(ctx context.Context, name object.Bucket) (*metapb.BucketRow, error)
	Put(ctx context.Context, req objects.PutRequest) (*metapb.PutResult, error)
	Stat(ctx context.Context, req objects.GetRequest) (*objects.Object, error)
	Open(ctx context.Context, req objects.GetRequest, decide func(*objects.Object) (off, n uint64, err error)) (*objects.Object, Body, error)
	OpenRow(ctx context.Context, bucket *metapb.BucketRow, row *metapb.ObjectRow) (Body, error)
	Delete(ctx context.Context, sc objects.Scope, keys []*metapb.DeleteKey) (*metapb.DeleteResults, error)
	List(ctx context.Context, q *metapb.ListObjectsQuery) (*objects.ListPage, error)
	Batch(ctx context.Context, sc objects.Scope, ops []objects.BatchOp) (*metapb.BatchResult, error)
	// Hold takes memory for a document that is read as a whole; see objects.Objects.
	Hold(ctx context.Context, account string, interrupt func(), n int64) (Held, error)
}

// Held is memory for a document; see payload.Held.
type Held interface {
	Got(n int)
	Whole()
	Release()
}

// Body is verified bytes of an object; see payload.Reader.
type Body interface {
	io.ReadCloser
	io.WriterTo
}

// Config of a Server. Bucket, Directory and Verifier are required.
type Config struct {
	Store     Store         // nil: until Start, only health answers
	Bucket    object.Bucket // that the API shows
	Directory *iam.Directory
	Verifier  *sigv4.Verifier
	// Authorize says whether an account may do an S3 action ("s3:GetObject") on a key ("": the bucket). nil: the bucket's owner may.
	Authorize func(a *iam.Account, action string, bucket *metapb.BucketRow, key object.Key) error

	// Open lets requests without credentials act as root. Only for loopback.
	Open bool
	// PlaintextBasic accepts HTTP Basic without TLS from other machines.
	PlaintextBasic bool
	// PublicMetrics serves /metrics to other machines without authentication.
	PublicMetrics bool

	// Refused says of a request that it stands in for one that could be read in two ways, and why it was refused. nil: none.
	Refused func(r *http.Request) (code, message string, refused bool)

	// ConnContext is http.Server's. nil: none.
	ConnContext func(ctx context.Context, c net.Conn) context.Context
	// Unsent tells how many bytes of the answer to a request with this context its client has yet to take. nil: nothing is known.
	Unsent func(ctx context.Context) int64

	// Spare says of a connection that it is beyond what the port may have, for one request of health or metrics only. nil: none.
	Spare func(c net.Conn) bool

	// Waiting is what the start waits for, told to root and to this machine before Start. nil: nothing is told.
	Waiting func() []string

	Ready   func(ctx context.Context) error        // nil: always ready
	Status  func(ctx context.Context) (any, error) // JSON of /admin/status; nil: none
	Metrics http.Handler                           // nil: none
	Pprof   http.Handler                           // nil: none

	Log         *zap.Logger         // nil: silent
	Requests    *telemetry.Requests // nil: uncounted
	IdleTimeout time.Duration       // no byte for this long ends a request; 0: 60 s
}

// Server answers the native API.
type Server struct {
	cfg      Config
	root     *iam.Account // of an open server
	admin    atomic.Pointer[admin.Handler]
	http     *http.Server
	handler  http.Handler
	origin   *http.CrossOriginProtection
	started  atomic.Bool // cfg does not change any more
	draining atomic.Bool
	batches  *semaphore.Weighted // bytes
	answers  *semaphore.Weighted // bytes; taken after batches
	running  sync.WaitGroup      // requests, which may outlive their connections
}

// New makes a server. Serve it, then Shutdown.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = time.Minute
	}
	if cfg.Authorize == nil {
		cfg.Authorize = ownerOnly
	}
	s := &Server{cfg: cfg, origin: http.NewCrossOriginProtection(), batches: semaphore.NewWeighted(batchMemoryMax),
		answers: semaphore.NewWeighted(answerMemoryMax)}
	s.started.Store(cfg.Store != nil)
	s.handler = s.routes()
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: min(cfg.IdleTimeout, 20*time.Second),
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    requestHeadMax,
		ErrorLog:          zap.NewStdLog(cfg.Log.Named("http")),
	}
	s.http.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if cfg.ConnContext != nil {
			ctx = cfg.ConnContext(ctx, c)
		}
		if cfg.Spare != nil && cfg.Spare(c) {
			ctx = context.WithValue(ctx, spareKey{}, true)
		}
		return ctx
	}
	return s
}

// Start opens a server that was made without a Store to all requests. It may be serving already.
func (s *Server) Start(store Store, ready func(context.Context) error, status func(context.Context) (any, error)) {
	s.cfg.Store, s.cfg.Ready, s.cfg.Status = store, ready, status
	s.started.Store(true)
}

// spareKey marks requests on spare connections.
type spareKey struct{}

// watching are the operations that are answered on spare connections.
var watching = map[string]bool{"live": true, "ready": true, "metrics": true}

// Root sets the account that requests without credentials act as, on an open server.
func (s *Server) Root(a *iam.Account) *Server {
	s.root = a
	return s
}

// Serve answers on l until Shutdown; it then returns nil. For TLS, l is a TLS listener with http/1.1 before h2.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return errs.Wrap("rest.Serve", err)
	}
	return nil
}

// Drain makes /health/ready answer 503, so that balancers look elsewhere.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown stops accepting and waits for running requests, until ctx ends; then it breaks them.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // the first error says it
		s.await(afterCutTimeout)
		return errs.Wrap("rest.Shutdown", err)
	}
	return nil
}

// afterCutTimeout is how long requests may take to notice that they were cut off.
const afterCutTimeout = 5 * time.Second

func (s *Server) await(most time.Duration) {
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(most):
		s.cfg.Log.Warn("requests go on after their connections were closed")
	}
}

func ownerOnly(a *iam.Account, _ string, bucket *metapb.BucketRow, _ object.Key) error {
	if a == nil || a.CanonicalID != bucket.GetOwner() {
		return errs.E("rest.authorize", errs.AccessDenied, "")
	}
	return nil
}

// handlerFunc answers a request, or gives the error to answer.
type handlerFunc func(c *call) error

// routes is the table of the API. mux sees the escaped path, never cleaned.
func (s *Server) routes() http.Handler {
	m := mux.NewRouter().SkipClean(true).UseEncodedPath()
	add := func(path, operation string, h handlerFunc, methods ...string) {
		m.Path(path).Methods(methods...).Handler(s.bind(operation, h))
		m.Path(path).Handler(s.bind(operation, methodNotAllowed(methods)))
	}
	const get, head = http.MethodGet, http.MethodHead
	add("/", "index", index, get, head)
	add("/health/live", "live", live, get, head)
	add("/health/ready", "ready", ready, get, head)
	add("/metrics", "metrics", metrics, get, head)
	add("/admin/status", "status", status, get, head)
	m.PathPrefix(admin.Prefix).Handler(s.bind("admin", operate))
	add("/range", "range", rangeKeys, get)
	add("/batch", "batch", batch, http.MethodPost)
	if s.cfg.Pprof != nil {
		m.PathPrefix("/debug/pprof/").Methods(get, http.MethodPost).Handler(s.bind("pprof", profiles))
	}
	for _, prefix := range []string{"/kv/", "/"} {
		for method, h := range map[string]handlerFunc{
			get: getObject, head: getObject, http.MethodPut: putObject, http.MethodDelete: deleteObject,
		} {
			m.PathPrefix(prefix).Methods(method).Handler(s.bind(operationNames[method], withKey(prefix, h)))
		}
		m.PathPrefix(prefix).Handler(s.bind("other", methodNotAllowed([]string{get, head, http.MethodPut, http.MethodDelete})))
	}
	notFound := s.bind("other", func(*call) error { return newError(http.StatusBadRequest, "InvalidURI", "") })
	m.NotFoundHandler, m.MethodNotAllowedHandler = notFound, notFound
	return m
}

var operationNames = map[string]string{
	http.MethodGet: "get", http.MethodHead: "head", http.MethodPut: "put", http.MethodDelete: "delete",
}

// Package node wires the parts of minikv into one process: coordinator, volume, gateways, REST. It is the only place, besides the
// end-to-end tests, that sees them all.
//
//	N1 Nothing but /health is answered before the store behind it answers.
//	N2 On the way down everything stops in the reverse order of its start, within shutdown-timeout: listeners first, so that
//	   what was acknowledged is safe and nothing else is promised.
//	N3 What makes going on unsafe ends the process at once, with the reason.
package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"minikv/cmd/minikv/datadir"
	"minikv/gateway"
	"minikv/gateway/admin"
	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/rest"
	"minikv/internal/certs"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/telemetry"
	"minikv/internal/vfs"
	"minikv/sigv4"
)

// Options of a Node beyond its configuration.
type Options struct {
	Out  io.Writer   // for people: where it listens, credentials made
	Log  io.Writer   // the log; nil: standard error
	Exit func(error) // ends the process on a fatal error; nil: print and exit with status 1
}

// Node is a running minikv.
type Node struct {
	cfg   *config.Config
	opt   Options
	log   *zap.Logger
	dir   *datadir.Dir
	users []iam.User // root first
	made  bool       // root's credentials were made by this start
	kept  bool       // root's credentials are those of the data directory
	tlsc  *tls.Config

	storage  backend
	s3       *gateway.Server
	rest     *rest.Server
	s3L      net.Listener
	restL    net.Listener
	restDone chan error    // of rest.Serve
	refused  atomic.Uint64 // connections
	entering atomic.Pointer[cluster]
	closers  []closer // in the order of their start
}

type closer struct {
	name  string
	close func() error
}

// startTimeout bounds the wait for the coordinator, which may have a log to replay.
const startTimeout = 10 * time.Minute

// Run serves until ctx ends, then drains. nil: a clean end.
func Run(ctx context.Context, cfg *config.Config, opt Options) error {
	n := &Node{cfg: cfg, opt: opt}
	if err := n.prepare(); err != nil {
		return errors.Join(n.explained(err), n.close())
	}
	if err := n.start(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil // told to end before it was ready
		}
		return errors.Join(n.explained(err), n.close())
	}
	return errors.Join(n.serve(ctx), n.close())
}

// explained says of what failed for want of space where that is and what helps.
func (n *Node) explained(err error) error {
	if err == nil || !vfs.IsNoSpace(err) && !errs.Is(err, errs.StorageFull) {
		return err
	}
	path := n.cfg.Data
	if abs, absErr := filepath.Abs(path); absErr == nil {
		path = abs
	}
	return fmt.Errorf("data: no room on the disk of %s: free some space there, or name another folder with --data "+
		"(a start needs some 64 MiB, and at first ballast.size, %d MiB, besides): %w", path, n.cfg.Ballast>>20, err)
}

func (n *Node) onClose(name string, f func() error) { n.closers = append(n.closers, closer{name, f}) }

// close stops in reverse order (N2).
func (n *Node) close() error {
	var all []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		if err := n.closers[i].close(); err != nil {
			all = append(all, errs.Wrap("closing "+n.closers[i].name, err))
		}
	}
	n.closers = nil
	return errors.Join(all...)
}

// prepare does what needs no store: log, data directory, sockets, credentials.
func (n *Node) prepare() (err error) {
	if n.opt.Log == nil {
		n.opt.Log = os.Stderr
	}
	if n.log, err = telemetry.NewLogger(n.opt.Log, n.cfg.LogLevel, n.cfg.LogFormat); err != nil {
		return err
	}
	n.onClose("the log", func() error { _ = n.log.Sync(); return nil })
	if n.opt.Exit == nil {
		n.opt.Exit = n.exit
	}
	limitMemory(n.cfg.MemoryLimit, n.log)
	if writesLogs(n.cfg) {
		spareProcessor()
	}
	if n.dir, err = datadir.Open(vfs.OS(), n.cfg.Data); err != nil {
		return err
	}
	n.onClose("the data directory", n.dir.Close)
	if err := n.listen(); err != nil {
		return err
	}
	if n.tlsc, err = n.tls(); err != nil {
		return err
	}
	return n.accounts()
}

// SettingError is a setting whose value no start can use, as one that package config refuses.
type SettingError struct{ error }

func (e SettingError) Unwrap() error { return e.error }

func badSetting(format string, args ...any) error { return SettingError{fmt.Errorf(format, args...)} }

// exit is for failures after which not even closing is safe (N3).
func (n *Node) exit(err error) {
	err = n.explained(err)
	n.log.Error("fatal", zap.Error(err))
	fmt.Fprintln(os.Stderr, "minikv: fatal:", err)
	os.Exit(1)
}

// listen takes the ports, so that a busy one is known before anything else happens. Nothing is accepted yet (N1).
func (n *Node) listen() error {
	s3Max, restMax := connectionShares(descriptors())
	for _, l := range []struct {
		key, addr string
		max       int
		into      *net.Listener
	}{{"s3", n.cfg.S3, s3Max, &n.s3L}, {"rest", n.cfg.REST, restMax, &n.restL}} {
		if l.key == "s3" && !n.cfg.Has(config.RoleGateway) {
			continue
		}
		inner, err := net.Listen("tcp", l.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", l.key, err)
		}
		limits := connectionLimits{total: l.max, perAddress: n.cfg.ConnectionsPerAddress, exempt: n.cfg.ConnectionsExempt,
			log: n.log.With(zap.String("port", l.key)), refused: &n.refused}
		if l.key == "rest" {
			limits.spare = spareConnections
		}
		ln := newLimitListener(inner, limits)
		*l.into = ln
		n.onClose("listener "+l.key, func() error {
			if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
	}
	return nil
}

func (n *Node) start(ctx context.Context) error {
	registry, directory := telemetry.NewRegistry(), iam.NewDirectory(n.users)
	n.serveREST(directory, registry, n.tlsc)
	if err := n.openBackend(ctx, registry); err != nil {
		return err
	}
	n.onClose("the store", n.storage.Close)
	if err := registry.Register(&telemetry.Gauges{Samples: n.storage.samples}); err != nil {
		return err
	}
	operator := newGatewayOperator(n.storage.operations())
	n.rest.Admin(admin.New(operator))
	if err := n.storage.enter(ctx); err != nil {
		return err
	}
	if n.storage.metadata() == nil {
		n.rest.Start(noGateway{}, n.storage.ready, n.status)
		return nil
	}
	obj := objects.New(n.storage.metadata(), n.storage, objects.Options{
		BudgetBytes: n.cfg.BodyBudget, WriteLimit: n.writeLimit(), OnBadReplica: n.storage.badReplica,
	})
	n.onClose("objects", func() error { obj.Close(); return nil })
	operator.objects.Store(obj)
	if err := registry.Register(&telemetry.Gauges{Samples: func() []telemetry.Sample { return n.gatewaySamples(obj) }}); err != nil {
		return err
	}
	if err := n.buckets(ctx, obj); err != nil {
		return err
	}
	var err error
	n.s3, err = gateway.New(gateway.Config{
		Objects: obj, Directory: directory, Region: n.cfg.Region, Domains: n.cfg.Domains, Log: n.log.Named("s3"),
		Metrics: registry, IdleTimeout: n.cfg.IdleTimeout, TLS: n.tlsc, Bound: n.cfg.RESTBucket, Ready: n.storage.ready,
	})
	if err != nil {
		return err
	}
	n.rest.Start(rest.Over(obj), n.storage.ready, n.status)
	return nil
}

func (n *Node) gatewaySamples(obj *objects.Objects) []telemetry.Sample {
	m := obj.Memory()
	body := func(direction string, v int64) telemetry.Sample {
		return telemetry.Sample{Name: "minikv_gateway_body_bytes", Help: "Memory that bodies hold.", Value: float64(v), Labels: map[string]string{"direction": direction}}
	}
	return []telemetry.Sample{
		body("in", m.Writes), body("out", m.Reads),
		{Name: "minikv_gateway_bodies_stalled_total", Help: "Bodies ended because they stood still while others waited for memory.", Counter: true, Value: float64(m.Stalled)},
		{Name: "minikv_gateway_downloads_stalled_total", Help: "Answers ended because their client took nothing while others waited for memory.", Counter: true, Value: float64(m.StalledReads)},
		{Name: "minikv_gateway_connections_refused_total", Help: "Connections closed because their address had too many.", Counter: true, Value: float64(n.refused.Load())},
	}
}

func (n *Node) openBackend(ctx context.Context, registry metricsRegistry) error {
	s3 := ""
	if n.s3L != nil {
		s3 = n.s3L.Addr().String()
	}
	if !n.cfg.Clustered() {
		s, err := openStorage(ctx, n.cfg, n.dir, n.log, n.opt.Exit, newAbout(nil, s3, n.restL.Addr().String(), n.users))
		n.storage = s
		return err
	}
	id, err := n.dir.NodeID()
	if err != nil {
		return err
	}
	s, err := openCluster(ctx, n.cfg, n.dir, n.log, n.opt.Exit, telemetry.NewCalls(registry), newAbout(id, s3, n.restL.Addr().String(), n.users))
	n.storage = s
	if err == nil {
		n.entering.Store(s)
	}
	return err
}

// waiting is what the start waits for; empty: nothing that is known.
func (n *Node) waiting() []string {
	if c := n.entering.Load(); c != nil {
		return c.waiting()
	}
	return nil
}

// serveREST begins to answer /health: opening a large store takes a while.
func (n *Node) serveREST(directory *iam.Directory, registry metricsRegistry, tlsConfig *tls.Config) {
	rc := rest.Config{
		Bucket: n.restBucket(), Directory: directory,
		Verifier: sigv4.NewVerifier(sigv4.Options{Keys: directory, Region: n.cfg.Region}),
		Refused:  gateway.RefusedHead, ConnContext: gateway.ConnContext, Unsent: gateway.Unsent,
		Spare: func(c net.Conn) bool { return isSpare(gateway.Underlying(c)) },
		Open:  n.cfg.Dev, PlaintextBasic: n.cfg.PlaintextBasic, PublicMetrics: n.cfg.PublicMetrics,
		Waiting: n.waiting,
		Metrics: telemetry.MetricsHandler(registry), Log: n.log.Named("rest"), Requests: telemetry.NewRequests(registry, "rest"), IdleTimeout: n.cfg.IdleTimeout,
	}
	if n.cfg.Pprof {
		rc.Pprof = telemetry.PprofHandler()
	}
	n.rest = rest.New(rc).Root(directory.ByKey(n.users[0].AccessKey))
	guarded := gateway.Guard(n.restL, tlsConfig, 0)
	n.restDone = make(chan error, 1)
	go func() { n.restDone <- n.rest.Serve(guarded) }()
	n.onClose("REST", func() error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // after a drain there is nothing to wait for
		_ = n.rest.Shutdown(ctx)
		return <-n.restDone
	})
}

// writeLimit keeps one request shorter than half of the time in which the horizon gives its blobs up.
func (n *Node) writeLimit() time.Duration {
	return min(24*time.Hour, n.cfg.EpochInterval*time.Duration(n.cfg.HorizonLag)/2)
}

func (n *Node) tls() (*tls.Config, error) {
	if !n.cfg.TLS() {
		return nil, nil
	}
	pair, err := certs.OpenReloader(n.cfg.TLSCert, n.cfg.TLSKey, func(leaf *x509.Certificate, err error) {
		if err != nil {
			n.log.Error("the changed TLS certificate can't be used; the old one stays", zap.Error(err))
			return
		}
		n.log.Info("new TLS certificate", zap.Stringer("serial", leaf.SerialNumber), zap.Time("not_after", leaf.NotAfter))
	})
	if err != nil {
		return nil, badSetting("tls-cert %q and tls-key %q: %w", n.cfg.TLSCert, n.cfg.TLSKey, err)
	}
	return &tls.Config{GetCertificate: pair.GetCertificate, MinVersion: tls.VersionTLS12}, nil
}

// serve answers until ctx ends or a listener fails, then drains.
func (n *Node) serve(ctx context.Context) error {
	g, gctx := errgroup.WithContext(context.WithoutCancel(ctx))
	if n.s3 != nil {
		g.Go(func() error { return ended(n.s3.Serve(n.s3L)) })
	}
	n.announce()
	select {
	case <-ctx.Done():
		n.log.Info("shutting down", zap.Duration("within", n.cfg.ShutdownTimeout))
	case <-gctx.Done():
	case err := <-n.restDone:
		n.restDone <- nil
		return errors.Join(err, n.drain(), g.Wait())
	}
	err := n.drain()
	return errors.Join(err, g.Wait())
}

func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// drain lets running requests end, for a bounded time; what is left is broken, which is not a failure of the shutdown.
func (n *Node) drain() error {
	n.rest.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.ShutdownTimeout)
	defer cancel()
	g := new(errgroup.Group)
	if n.s3 != nil {
		g.Go(func() error { return n.s3.Shutdown(ctx) })
	}
	g.Go(func() error { return n.rest.Shutdown(ctx) })
	err := g.Wait()
	if ctx.Err() != nil {
		n.log.Warn("requests were broken off", zap.Error(err))
		return nil
	}
	return err
}

func (n *Node) announce() {
	scheme := "http"
	if n.cfg.TLS() {
		scheme = "https"
	}
	if n.s3 == nil {
		fmt.Fprintf(n.opt.Out, "REST  %s://%s\n", scheme, n.restL.Addr())
		n.log.Info("ready", zap.Strings("roles", n.cfg.Roles), zap.String("rest", n.restL.Addr().String()), zap.String("data", n.dir.Path))
		return
	}
	switch {
	case n.made:
		n.printCredentials()
	case n.cfg.Dev:
		fmt.Fprintf(n.opt.Out, "Root credentials: %s with the secret %s, which everybody knows (--dev)\n", config.DevAccessKey, config.DevSecretKey)
	case n.kept:
		fmt.Fprintf(n.opt.Out, "Root credentials: %s\n", n.dir.CredentialsFile())
	}
	fmt.Fprintf(n.opt.Out, "S3    %s://%s\nREST  %s://%s\n", scheme, n.s3L.Addr(), scheme, n.restL.Addr())
	n.log.Info("ready", zap.String("s3", n.s3L.Addr().String()), zap.String("rest", n.restL.Addr().String()),
		zap.String("data", n.dir.Path), zap.String("fsync", n.cfg.Fsync))
}

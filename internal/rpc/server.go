package rpc

import (
	"context"
	"net"
	"runtime"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"

	"minikv/internal/errs"
	"minikv/internal/rpc/secure"
)

// Sizes of the transport, in bytes. Windows of 8 MiB let a whole blob be on its way; buffers of 256 KiB save system calls.
const (
	windowStream = 8 << 20
	windowConn   = 16 << 20
	bufferSize   = 256 << 10
	requestMax   = 8 << 20  // an operation has at most 2 MiB, a frame 1 MiB
	answerMax    = 64 << 20 // a page of 1,000 keys with all their metadata and tags is about 8 MiB
	headersMax   = 16 << 10
)

// Times and bounds of the transport.
const (
	keepaliveEvery   = 10 * time.Second // gRPC's least
	keepaliveTimeout = 5 * time.Second
	keepaliveServer  = 30 * time.Second
	streamsMaxConn   = 1024 // running calls of one connection
	stopGrace        = 10 * time.Second
	strangersMax     = 512 // connections that have proved nothing; many calls at once make many for blobs
	strangersFor     = 10 * time.Second
	stopLate         = 5 * time.Second
)

// ServerConfig of a Server. Security must be set.
type ServerConfig struct {
	Security   *secure.Config
	Log        *zap.Logger // nil: none
	StreamsMax uint32      // running calls of one connection; 0: 1,024

	strangersFor time.Duration // of tests; 0: 10 s
}

// Server answers calls of other nodes.
type Server struct {
	cfg  ServerConfig
	grpc *grpc.Server
	data *dataServer
	door *secure.Door
}

// NewServer makes a server without services.
func NewServer(cfg ServerConfig) (*Server, error) {
	const op = "rpc.NewServer"
	if cfg.Security == nil {
		return nil, errs.E(op, errs.Invalid, "no security")
	}
	if err := cfg.Security.Check(); err != nil {
		return nil, errs.Wrap(op, err)
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.StreamsMax == 0 {
		cfg.StreamsMax = streamsMaxConn
	}
	if cfg.strangersFor == 0 {
		cfg.strangersFor = strangersFor
	}
	refusals := NewRefusals(cfg.Log)
	s := &Server{cfg: cfg, data: newDataServer(cfg.Log, refusals), door: secure.NewDoor(strangersMax, cfg.strangersFor)}
	s.grpc = grpc.NewServer(s.options(refusals)...)
	return s, nil
}

func (s *Server) options(refusals *Refusals) []grpc.ServerOption {
	unary := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (resp any, err error) {
		defer recovered(s.cfg.Log, info.FullMethod, &err)
		return unaryServer(ctx, req, info, h)
	}
	streaming := func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
		defer recovered(s.cfg.Log, info.FullMethod, &err)
		return streamServer(srv, ss, info, h)
	}
	return []grpc.ServerOption{
		grpc.Creds(&creds{cfg: s.cfg.Security, log: refusals, data: s.data, door: s.door}),
		grpc.InTapHandle(gate{refusals}.tap),
		grpc.UnaryInterceptor(unary),
		grpc.StreamInterceptor(streaming),
		grpc.ForceServerCodecV2(codec{}),
		grpc.StaticStreamWindowSize(windowStream), grpc.StaticConnWindowSize(windowConn),
		grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize),
		grpc.NumStreamWorkers(uint32(4 * runtime.GOMAXPROCS(0))),
		grpc.MaxRecvMsgSize(requestMax), grpc.MaxSendMsgSize(answerMax), grpc.MaxHeaderListSize(headersMax),
		grpc.MaxConcurrentStreams(s.cfg.StreamsMax),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveServer, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveEvery / 2, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // a handler must not outlive the volume that it uses
		experimental.BufferPool(&buffers),
	}
}

// Serve answers on l until Stop. A listener off loopback without TLS needs Security.AllowPlaintext: errs.Invalid.
func (s *Server) Serve(l net.Listener) error {
	const op = "rpc.Serve"
	if err := s.cfg.Security.CheckListener(l.Addr()); err != nil {
		return errs.Wrap(op, err)
	}
	return errs.Wrap(op, s.grpc.Serve(l))
}

// Stop takes no more calls and waits for running ones, until ctx ends or 10 s have passed; then their contexts end. errs.Timeout:
// a handler did not come back within 5 s of that.
func (s *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.door.Close() // else gRPC waits for handshakes
		s.data.drain()
		s.grpc.GracefulStop()
		s.data.wait()
	}()
	select {
	case <-done:
		s.data.kill()
		return nil
	case <-ctx.Done():
	}
	s.data.kill()
	go s.grpc.Stop()
	late := time.NewTimer(stopLate)
	defer late.Stop()
	select {
	case <-done:
		return nil
	case <-late.C:
		return errs.E("rpc.Stop", errs.Timeout, "a handler does not end")
	}
}

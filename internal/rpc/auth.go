package rpc

import (
	"context"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"minikv/internal/certs"
	"minikv/internal/errs"
)

// gate decides who may call what (R1). It stands where a stream begins, before any message of it is read.
type gate struct{ log *Refusals }

type callerKey struct{}

// Caller is who makes the call that a handler's ctx belongs to.
func Caller(ctx context.Context) (certs.Identity, bool) {
	id, ok := ctx.Value(callerKey{}).(certs.Identity)
	return id, ok
}

// tap lets a stream begin, with its caller in ctx.
func (g gate) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	id, err := g.decide(ctx, info)
	if err != nil {
		where := ""
		if p, ok := peer.FromContext(ctx); ok {
			where = p.Addr.String()
		}
		g.log.Warn("a call was refused", zap.String("method", info.FullMethodName), zap.String("remote", where),
			zap.Stringer("caller", id), zap.Error(err))
		return nil, err
	}
	return context.WithValue(ctx, callerKey{}, id), nil
}

func (g gate) decide(ctx context.Context, info *tap.Info) (certs.Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return certs.Identity{}, status.Error(codes.Unauthenticated, "no connection")
	}
	a, ok := p.AuthInfo.(authInfo)
	if !ok {
		return certs.Identity{}, status.Error(codes.Unauthenticated, "no handshake")
	}
	proof := info.Header[proofHeader]
	if len(proof) != 1 || !a.session.CheckCall(info.FullMethodName, []byte(proof[0])) {
		return a.session.Peer, status.Error(codes.Unauthenticated, "no proof of the cluster secret")
	}
	a.guest.Leave()
	r, ok := rules[info.FullMethodName]
	if !ok {
		return a.session.Peer, status.Error(codes.PermissionDenied, "no one may call this method")
	}
	if !a.session.Peer.Roles.Any(r.roles) {
		return a.session.Peer, status.Errorf(codes.PermissionDenied, "only %s may call this method", r.roles)
	}
	return a.session.Peer, nil
}

// begin is what every handler starts with: the gate was passed, and there is a deadline (R2).
func begin(ctx context.Context, method string) (context.Context, context.CancelFunc, error) {
	if _, ok := Caller(ctx); !ok {
		return nil, nil, status.Error(codes.Unauthenticated, "the gate was not passed")
	}
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(method))
	return ctx, cancel, nil
}

func unaryServer(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, cancel, err := begin(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return handler(ctx, req)
}

func streamServer(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel, err := begin(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	defer cancel()
	return handler(srv, stream{ss, ctx})
}

// stream is a server stream with another context.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }

// recovered makes a panic of a handler an error: one broken request must not end the node.
func recovered(log *zap.Logger, method string, err *error) {
	if r := recover(); r != nil {
		log.Error("a handler panicked", zap.String("method", method), zap.Any("panic", r), zap.Stack("stack"))
		*err = encode(errs.E(opOf(method), errs.Other, "the handler panicked"), "")
	}
}

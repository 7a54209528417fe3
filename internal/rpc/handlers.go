package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"minikv/internal/crc32c"
	"minikv/internal/errs"
)

// unaryOf makes a typed method a handler of gRPC: decode, call, encode.
func unaryOf[S any, Q any, R proto.Message, QP interface {
	*Q
	proto.Message
}](method string, do func(s S, ctx context.Context, req QP) (R, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		req := QP(new(Q))
		if err := dec(req); err != nil {
			return nil, err
		}
		handler := func(ctx context.Context, req any) (any, error) {
			resp, err := do(srv.(S), ctx, req.(QP))
			if err != nil {
				return nil, encode(err, leaderOf(srv))
			}
			return resp, nil
		}
		return interceptor(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, handler)
	}
}

// leaderHint is a service that knows who leads.
type leaderHint interface{ leaderAddress() string }

func leaderOf(srv any) string {
	if h, ok := srv.(leaderHint); ok {
		return h.leaderAddress()
	}
	return ""
}

func checksum(b []byte) uint32 { return crc32c.Checksum(b) }

func updateCRC(crc uint32, b []byte) uint32 { return crc32c.Update(crc, b) }

// streamOf makes a typed streaming method a handler of gRPC; its errors are encoded.
func streamOf[S any](do func(s S, ctx context.Context, ss grpc.ServerStream) error) grpc.StreamHandler {
	return func(srv any, ss grpc.ServerStream) error {
		return encode(do(srv.(S), ss.Context(), ss), leaderOf(srv))
	}
}

// brokenOff classifies why a handler got no message: the caller has gone, or sends nonsense.
func brokenOff(op string, err error) error {
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		return errs.WrapKind(op, errs.Canceled, err)
	}
	return errs.WrapKind(op, errs.Invalid, err)
}

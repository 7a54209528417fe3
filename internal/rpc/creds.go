package rpc

import (
	"context"
	"net"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"minikv/internal/errs"
	"minikv/internal/rpc/secure"
)

// authInfo is a connection's session as gRPC carries it along.
type authInfo struct {
	credentials.CommonAuthInfo
	session *secure.Session
	guest   *secure.Guest // server: until a call proves the secret
}

func (authInfo) AuthType() string { return "minikv" }

// creds makes gRPC use our handshake.
type creds struct {
	cfg    *secure.Config
	expect secure.Expect   // client
	told   func(err error) // client: how the last handshake ended
	log    *Refusals       // server
	data   *dataServer     // server: gets the connections of its protocol
	door   *secure.Door    // server
}

var _ credentials.TransportCredentials = (*creds)(nil)

func (c *creds) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	out, session, err := c.cfg.Client(ctx, conn, secure.GRPC, c.expect)
	c.told(err)
	if err != nil {
		return nil, nil, err
	}
	return out, newAuthInfo(session, nil), nil
}

func (c *creds) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	remote := conn.RemoteAddr().String()
	guest, err := c.door.Enter(conn)
	if err != nil {
		return nil, nil, err
	}
	out, session, err := c.cfg.Server(context.Background(), conn, secure.GRPC, secure.Accept{Also: secure.Data})
	if err != nil {
		guest.Leave()
		if errs.Is(err, errs.AccessDenied) {
			c.log.Warn("a connection was refused", zap.String("remote", remote), zap.Error(err))
		}
		return nil, nil, err
	}
	if session.Protocol == secure.Data {
		guest.Leave()
		c.data.take(out, session)
		return nil, nil, credentials.ErrConnDispatched
	}
	return out, newAuthInfo(session, guest), nil
}

func newAuthInfo(s *secure.Session, g *secure.Guest) authInfo {
	a := authInfo{session: s, guest: g}
	a.SecurityLevel = credentials.NoSecurity
	if s.TLS {
		a.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	return a
}

func (c *creds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "minikv"}
}

func (c *creds) Clone() credentials.TransportCredentials { d := *c; return &d }

func (c *creds) OverrideServerName(string) error { return nil }

// proofHeader carries the proof that goes with each call.
const proofHeader = "mkv-proof-bin"

// callProof adds the proof of the connection that the call goes out on.
type callProof struct{}

var _ credentials.PerRPCCredentials = callProof{}

func (callProof) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	const op = "rpc.callProof"
	ri, ok := credentials.RequestInfoFromContext(ctx)
	if !ok {
		return nil, errs.E(op, errs.Other, "a call without a connection")
	}
	a, ok := ri.AuthInfo.(authInfo)
	if !ok {
		return nil, errs.E(op, errs.Other, "a connection without our handshake")
	}
	return map[string]string{proofHeader: string(a.session.CallProof(ri.Method))}, nil
}

// RequireTransportSecurity is false: the handshake decides where plaintext may be spoken.
func (callProof) RequireTransportSecurity() bool { return false }

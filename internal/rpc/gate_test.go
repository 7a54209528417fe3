package rpc

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/rpc/secure"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
	"minikv/proto/volumepb"
)

// TestServicesAreThoseOfTheProtoFiles: the descriptions of services are written by hand.
func TestServicesAreThoseOfTheProtoFiles(t *testing.T) {
	declared := map[string]bool{}
	for _, f := range []protoreflect.FileDescriptor{volumepb.File_volume_proto, coordpb.File_coordinator_proto} {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				declared["/"+string(m.Parent().FullName())+"/"+string(m.Name())] = true
			}
		}
	}
	served := map[string]bool{}
	for _, d := range []*grpc.ServiceDesc{&volumeDesc, &coordinatorDesc} {
		for _, m := range d.Methods {
			served["/"+d.ServiceName+"/"+m.MethodName] = true
		}
		for _, m := range d.Streams {
			served["/"+d.ServiceName+"/"+m.StreamName] = true
		}
	}
	ruled := map[string]bool{}
	for m, r := range rules {
		ruled[m] = true
		require.True(t, r.roles.Valid(), m)
		require.Positive(t, r.timeout, m)
	}
	require.Equal(t, declared, served)
	require.Equal(t, declared, ruled)
}

// guarded is a server of everything, TLS or not, which counts the handlers that run.
type guarded struct {
	addr string
	ca   *testCA
	vol  *memVolume
	co   *memCoordinator
	// rogue counts calls of a service that the table does not know.
	rogue   atomic.Int64
	methods []string
}

const rogueService = "minikv.rogue.v1.Rogue"

func newGuarded(t *testing.T, ca *testCA) *guarded {
	t.Helper()
	g := &guarded{ca: ca, vol: newMemVolume(), co: &memCoordinator{}}
	g.addr = serve(t, ServerConfig{Security: node(t, ca, "n1", certs.AllRoles)}, func(s *Server) {
		RegisterVolumes(s, g.vol.local())
		RegisterCoordinator(s, g.co.local())
		s.grpc.RegisterService(&grpc.ServiceDesc{ServiceName: rogueService, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Do", ServerStreams: true, ClientStreams: true,
			Handler: func(any, grpc.ServerStream) error { g.rogue.Add(1); return nil },
		}}}, nil)
		for name, info := range s.grpc.GetServiceInfo() {
			for _, m := range info.Methods {
				g.methods = append(g.methods, "/"+name+"/"+m.Name)
			}
		}
	})
	return g
}

func (g *guarded) ran() int64 { return g.vol.calls.Load() + g.co.calls.Load() + g.rogue.Load() }

// knock calls a method as a stranger's gRPC would, with a message that every method can parse, and gives the code.
func knock(t *testing.T, conn *grpc.ClientConn, method string) codes.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ss, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(codec{}))
	if err != nil {
		return status.Code(err)
	}
	var m any = &coordpb.StatusRequest{}
	switch method {
	case methodPrepare, methodSmall:
		f := newOutFrame(0)
		f.seal(frameHeader{id: blobID(1)}, 0, 0)
		m = f
	case methodReadAt, methodStat:
		id := blobID(1)
		m = &volumepb.ReadRequest{Id: id[:]}
	case methodPropSome:
		m = &coordpb.ProposeSomeRequest{Commands: []*metapb.Command{{Session: []byte("s"), Sequence: 1}}}
	case methodReadSome:
		m = &coordpb.ReadSomeRequest{Queries: []*metapb.Query{{Q: &metapb.Query_GetBucket{GetBucket: &metapb.GetBucketQuery{Name: "b"}}}}}
	case methodDigests:
		m = &volumepb.DigestsRequest{Shards: 1}
	case methodList:
		m = &volumepb.ListRequest{Limit: 1}
	}
	ss.SendMsg(m)
	ss.CloseSend()
	for {
		var any coordpb.ConfirmReply
		if err := ss.RecvMsg(&any); err != nil {
			return status.Code(err)
		}
	}
}

// stranger is a client built of parts that Pool would refuse to put together.
type stranger struct {
	cfg   *secure.Config
	creds credentials.TransportCredentials // nil: ours
	proof credentials.PerRPCCredentials    // nil: none
}

func (s stranger) dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	if s.creds == nil {
		s.creds = &creds{cfg: s.cfg, told: func(error) {}}
	}
	o := []grpc.DialOption{grpc.WithTransportCredentials(s.creds)}
	if s.proof != nil {
		o = append(o, grpc.WithPerRPCCredentials(s.proof))
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, o...)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// fixedProof sends the same bytes with every call.
type fixedProof string

func (f fixedProof) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{proofHeader: string(f)}, nil
}

func (fixedProof) RequireTransportSecurity() bool { return false }

// stolenProof makes the proof of another method of the same connection.
type stolenProof struct{ of string }

func (p stolenProof) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	ri, _ := credentials.RequestInfoFromContext(ctx)
	of := p.of
	if ri.Method == of {
		of = methodStatus
	}
	return map[string]string{proofHeader: string(ri.AuthInfo.(authInfo).session.CallProof(of))}, nil
}

func (stolenProof) RequireTransportSecurity() bool { return false }

// TestEveryMethodIsGuarded walks all methods that a server of everything has, and all ways not to be allowed to call them.
func TestEveryMethodIsGuarded(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		g := newGuarded(t, ca)
		require.Len(t, g.methods, len(rules)+1)
		all := node(t, ca, "x", certs.AllRoles)
		wrongSecret := *all
		wrongSecret.Secret = secretOf(t, "another secret, long enough")
		strangers := map[string]struct {
			stranger
			code codes.Code
		}{
			"no proof of the secret":       {stranger{cfg: all}, codes.Unauthenticated},
			"an empty proof":               {stranger{cfg: all, proof: fixedProof("")}, codes.Unauthenticated},
			"a proof of zeros":             {stranger{cfg: all, proof: fixedProof(make([]byte, 32))}, codes.Unauthenticated},
			"the proof of another method":  {stranger{cfg: all, proof: stolenProof{methodRead}}, codes.Unauthenticated},
			"no secret":                    {stranger{creds: careless{insecureCreds(), clientTLS(t, ca)}, proof: fixedProof(randomBytes(32))}, codes.Unauthenticated},
			"no secret and no proof":       {stranger{creds: careless{insecureCreds(), clientTLS(t, ca)}}, codes.Unauthenticated},
			"another secret, and it looks": {stranger{cfg: &wrongSecret, proof: callProof{}}, codes.Unavailable},
			"gRPC without our handshake":   {stranger{creds: insecureCreds()}, codes.Unavailable},
		}
		if ca != nil {
			other := newTestCA(t)
			wrongCA := *all
			wrongCA.TLS = other.source(t, all.Self, ca) // trusts ours, is of another
			noCert := *all
			noCert.TLS = nil
			strangers["another CA"] = struct {
				stranger
				code codes.Code
			}{stranger{cfg: &wrongCA, proof: callProof{}}, codes.Unavailable}
			strangers["no TLS"] = struct {
				stranger
				code codes.Code
			}{stranger{cfg: &noCert, proof: callProof{}}, codes.Unavailable}
			strangers["no certificate"] = struct {
				stranger
				code codes.Code
			}{stranger{creds: careless{insecureCreds(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}}, codes.Unavailable}
		}
		for name, s := range strangers {
			t.Run(name, func(t *testing.T) {
				conn := s.dial(t, g.addr)
				for _, m := range append(g.methods, "/no.such.Service/Method", "/"+volumeService+"/NoSuch") {
					require.Equal(t, s.code, knock(t, conn, m), m)
				}
				require.Zero(t, g.ran())
			})
		}
		for _, role := range []certs.Role{certs.Gateway, certs.Coordinator, certs.Volume} {
			t.Run("role "+role.String(), func(t *testing.T) {
				conn := stranger{cfg: node(t, ca, "r", certs.RolesOf(role)), proof: callProof{}}.dial(t, g.addr)
				for _, m := range g.methods {
					before := g.ran()
					code := knock(t, conn, m)
					if rules[m].roles.Has(role) {
						require.Equal(t, before+1, g.ran(), "%s: %s", m, code)
						continue
					}
					require.Equal(t, codes.PermissionDenied, code, m)
					require.Equal(t, before, g.ran(), m)
				}
				require.Zero(t, g.rogue.Load())
			})
		}
	})
}

// careless is a client that does not know the secret and does not care who the server is: it says hello as the documentation
// draws it and goes on whatever the answer is.
type careless struct {
	credentials.TransportCredentials
	tls *tls.Config
}

func (c careless) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if c.tls != nil {
		t := tls.Client(conn, c.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, nil, err
		}
		conn = t
	}
	hello := append([]byte("mkvhello\x01\x01\x07\x01\x00\x00\x00\x00"), make([]byte, 32)...)
	if _, err := conn.Write(append(hello, 'x')); err != nil {
		return nil, nil, err
	}
	_, err := io.ReadFull(conn, make([]byte, 80))
	return conn, credentials.TLSInfo{}, err
}

func (c careless) Clone() credentials.TransportCredentials { return c }

// TestDistrustIsToldFromAbsence: who dials learns that it is not trusted, not only that nothing answers.
func TestDistrustIsToldFromAbsence(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *testCA) {
		g := newGuarded(t, ca)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cfg := *node(t, ca, "x", certs.AllRoles)
		cfg.Secret = secretOf(t, "another secret, long enough")
		c, err := NewVolumeClient(newPool(t, &cfg), g.addr, "", VolumeRef{})
		require.NoError(t, err)
		for range 10 { // also when the peer is no longer asked, for it has not answered of late
			_, err = c.Stats(ctx)
			require.True(t, errs.Is(err, errs.AccessDenied), "%v", err)
			require.ErrorContains(t, err, "another cluster secret")
		}

		if ca == nil {
			return
		}
		right := node(t, ca, "x", certs.AllRoles)
		c, err = NewVolumeClient(newPool(t, right), g.addr, "another-node", VolumeRef{})
		require.NoError(t, err)
		_, err = c.Stats(ctx)
		require.True(t, errs.Is(err, errs.AccessDenied), "%v", err)
	})
}

func TestPlaintextStaysOnLoopback(t *testing.T) {
	cfg := node(t, nil, "n", certs.AllRoles)
	s, err := NewServer(ServerConfig{Security: cfg})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	defer l.Close()
	require.True(t, errs.Is(s.Serve(l), errs.Invalid))
	require.NoError(t, s.Stop(context.Background()))
	allowed := *cfg
	allowed.AllowPlaintext = true
	require.NoError(t, allowed.CheckListener(l.Addr()))
	withTLS := node(t, newTestCA(t), "n", certs.AllRoles)
	require.NoError(t, withTLS.CheckListener(l.Addr()))
}

func TestNoSecurityNoServer(t *testing.T) {
	for _, cfg := range []*secure.Config{nil, {}, {Self: certs.Identity{Node: "n", Roles: certs.AllRoles}}, {Secret: secretOf(t, goodSecret)}} {
		_, err := NewServer(ServerConfig{Security: cfg})
		require.True(t, errs.Is(err, errs.Invalid), "%v", err)
		_, err = NewPool(cfg)
		require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	}
}

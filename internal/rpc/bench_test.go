package rpc

import (
	"context"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"minikv/internal/certs"
	"minikv/internal/object"
	"minikv/internal/rpc/secure"
	"minikv/proto/metapb"
	"minikv/proto/volumepb"
)

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perGB reports the CPU seconds of both ends together for each 10^9 bytes.
func perGB(b *testing.B, size int, run func() error) {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	if err := run(); err != nil { // connects, warms pools
		b.Fatal(err)
	}
	began := cpuTime()
	for b.Loop() {
		if err := run(); err != nil {
			b.Fatal(err)
		}
	}
	used := cpuTime() - began
	b.ReportMetric(used.Seconds()/(float64(b.N)*float64(size)/1e9), "cpu-s/GB")
}

// sink takes blobs and keeps nothing; it reads zeros.
type sink struct{ *memVolume }

func (sink) Prepare(context.Context, object.BlobID, object.Epochs, [][]byte) (bool, error) {
	return true, nil
}

func (sink) ReadAt(_ context.Context, _ object.BlobID, dst []byte, _ int64) (int, error) {
	return len(dst), nil
}

func benchVolume(b *testing.B, ca *testCA) *VolumeClient {
	v := newMemVolume().local()
	v.Volume = sink{newMemVolume()}
	addr := serve(b, ServerConfig{Security: node(b, ca, "v1", volume)}, func(s *Server) { RegisterVolumes(s, v) })
	c, err := NewVolumeClient(newPool(b, node(b, ca, "g1", gateway)), addr, "", VolumeRef{Number: 1})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkStream compares the raw codec with protobuf in gRPC's default transport, on loopback, both ends in this process.
func BenchmarkStream(b *testing.B) {
	ctx := context.Background()
	for _, size := range []int{64 << 10, 1 << 20, 4 << 20} {
		data := randomBytes(size)
		b.Run(fmt.Sprintf("prepare/raw/%dKiB", size>>10), func(b *testing.B) {
			c := benchVolume(b, nil)
			perGB(b, size, func() error {
				_, err := c.Prepare(ctx, blobID(1), object.Epochs{}, [][]byte{data})
				return err
			})
		})
		b.Run(fmt.Sprintf("prepare/raw-tls/%dKiB", size>>10), func(b *testing.B) {
			c := benchVolume(b, newTestCA(b))
			perGB(b, size, func() error {
				_, err := c.Prepare(ctx, blobID(1), object.Epochs{}, [][]byte{data})
				return err
			})
		})
		b.Run(fmt.Sprintf("prepare/proto/%dKiB", size>>10), func(b *testing.B) {
			conn := protoPeer(b)
			perGB(b, size, func() error { return protoPrepare(ctx, conn, data) })
		})
		b.Run(fmt.Sprintf("read/raw/%dKiB", size>>10), func(b *testing.B) {
			c := benchVolume(b, nil)
			dst := make([]byte, size)
			perGB(b, size, func() error {
				_, err := c.ReadAt(ctx, blobID(1), dst, 0)
				return err
			})
		})
	}
}

// protoPeer is a plain gRPC server and client that move blobs as protobuf, as one would without package rpc.
func protoPeer(b *testing.B) *grpc.ClientConn {
	desc := grpc.ServiceDesc{ServiceName: "bench", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: "Prepare", ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
			for {
				var f volumepb.Frame
				if err := ss.RecvMsg(&f); err == io.EOF {
					return ss.SendMsg(&volumepb.PrepareReply{Durable: true})
				} else if err != nil {
					return err
				}
			}
		},
	}}}
	l := listen(b)
	s := grpc.NewServer()
	s.RegisterService(&desc, nil)
	go s.Serve(l)
	b.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecureCreds()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

func protoPrepare(ctx context.Context, conn *grpc.ClientConn, data []byte) error {
	ss, err := conn.NewStream(ctx, prepareDesc, "/bench/Prepare")
	if err != nil {
		return err
	}
	id := blobID(1)
	for off := 0; off < len(data); off += FrameMax {
		piece := data[off:min(off+FrameMax, len(data))]
		if err := ss.SendMsg(&volumepb.Frame{Id: id[:], Data: piece, Offset: uint64(off), Crc32C: checksum(piece)}); err != nil {
			return err
		}
	}
	if err := ss.CloseSend(); err != nil {
		return err
	}
	return ss.RecvMsg(&volumepb.PrepareReply{})
}

// BenchmarkPropose is a small call there and back, 16 callers.
func BenchmarkPropose(b *testing.B) {
	addr := serve(b, ServerConfig{Security: node(b, nil, "c1", coordinator)}, func(s *Server) {
		RegisterCoordinator(s, (&memCoordinator{}).local())
	})
	c := NewCoordinatorClient(newPool(b, node(b, nil, "g1", gateway)), CoordinatorConfig{}, addr)
	cmd := &metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: &metapb.CreateBucket{Name: string(make([]byte, 300))}}}
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Propose(context.Background(), cmd); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHandshake is what a new connection costs both ends.
func BenchmarkHandshake(b *testing.B) {
	for name, ca := range map[string]*testCA{"plaintext": nil, "tls": newTestCA(b)} {
		b.Run(name, func(b *testing.B) {
			server, client := node(b, ca, "c1", coordinator), node(b, ca, "g1", gateway)
			for b.Loop() {
				s, c := tcpPair(b)
				go server.Server(context.Background(), s, secure.GRPC, secure.Accept{})
				if _, _, err := client.Client(context.Background(), c, secure.GRPC, secure.Expect{Roles: certs.Roles(certs.Coordinator)}); err != nil {
					b.Fatal(err)
				}
				c.Close()
				s.Close()
			}
		})
	}
}

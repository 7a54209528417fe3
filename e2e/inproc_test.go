package e2e

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"minikv/coordinator"
	"minikv/coordinator/kv"
	"minikv/gateway"
	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/internal/metaclient"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
	"minikv/volume"
	"minikv/volume/store"
)

// inproc is the front door over a real coordinator in this process, on a loopback port, and a
// real volume in memory.
type inproc struct {
	t       *testing.T
	URL     string
	volume  *countingVolume
	gateway *gateway.Server
	instead objects.Volume // of volume; nil: none
}

const (
	inprocKey, inprocSecret = "AKINPROC", "inproc-secret"
	otherKey, otherSecret   = "AKOTHER", "other-secret"
)

func startInproc(t *testing.T) *inproc { return startInprocOver(t, nil) }

// startInprocOver has another volume instead, if it is not nil.
func startInprocOver(t *testing.T, instead objects.Volume) *inproc {
	t.Helper()
	log := zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))
	cfg := coordinator.Config{
		FS: vfs.NewMem(), Dir: "/meta", Log: log, Fatal: func(err error) { t.Errorf("fatal: %v", err) },
		Pool:         coordinator.Pool{Shards: 16},
		Volumes:      []*metapb.VolumeRow{{Number: 1, Id: make([]byte, 16)}},
		BallastBytes: -1,
		Space:        func() (free, total uint64, err error) { return 1 << 40, 1 << 40, nil },
		KV:           kv.Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10},
	}
	cfg.Raft.SegmentBytes = 1 << 20
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	coord, err := coordinator.Open(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = coord.Close() })
	require.NoError(t, coord.WaitReady(ctx))
	meta, err := metaclient.New(ctx, coord, metaclient.Config{RetryFor: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { _ = meta.Close() })
	vol, err := volume.Open("/volume", volume.Config{Store: store.Options{FS: vfs.NewMem(), Reserve: -1, Ballast: -1}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = vol.Close() })
	p := &inproc{t: t, volume: &countingVolume{Server: vol}, instead: instead}
	objs := objects.New(meta, p, objects.Options{})
	t.Cleanup(objs.Close)
	p.gateway, err = gateway.New(gateway.Config{Objects: objs, Log: log, Directory: iam.NewDirectory([]iam.User{
		{Account: iam.Account{AccessKey: inprocKey, CanonicalID: "inproc-id", AccountID: "111111111111", DisplayName: "inproc", Root: true}, SecretKey: inprocSecret},
		{Account: iam.Account{AccessKey: otherKey, CanonicalID: "other-id", AccountID: "222222222222", DisplayName: "other"}, SecretKey: otherSecret},
	})})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.URL = "http://" + l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- p.gateway.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = p.gateway.Shutdown(ctx)
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return p
}

// Volume implements objects.Volumes.
func (p *inproc) Volume(n uint32) (objects.Volume, bool) {
	if p.instead != nil {
		return p.instead, n == 1
	}
	return p.volume, n == 1
}

func (p *inproc) client(key, secret string) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(p.URL), UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
	})
}

// bucket makes a client and a bucket.
func (p *inproc) bucket() (*s3.Client, *string) {
	p.t.Helper()
	c := p.client(inprocKey, inprocSecret)
	name := aws.String("bucket")
	_, err := c.CreateBucket(p.t.Context(), &s3.CreateBucketInput{Bucket: name})
	require.NoError(p.t, err)
	return c, name
}

// countingVolume is a real volume that counts the blobs it was given.
type countingVolume struct {
	*volume.Server
	prepared atomic.Int64
}

// Prepare implements objects.Volume.
func (v *countingVolume) Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (bool, error) {
	v.prepared.Add(1)
	return v.Server.Prepare(ctx, id, ep, data)
}

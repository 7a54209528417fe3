package coordinator_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"testing"
	"time"

	"minikv/coordinator"
	"minikv/coordinator/kv"
	"minikv/internal/metaclient"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testConfig(t testing.TB, fs vfs.FS, dir string) coordinator.Config {
	c := coordinator.Config{
		FS: fs, Dir: dir, Fatal: func(err error) { t.Errorf("fatal: %v", err) },
		Pool:         coordinator.Pool{Shards: 16},
		Volumes:      []*metapb.VolumeRow{{Number: 1, Id: make([]byte, 16)}},
		BallastBytes: -1,
		KV:           kv.Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10},
	}
	c.Raft.SegmentBytes, c.Raft.AppendHangMax = 256<<10, time.Minute // a busy disk is not the subject
	return c
}

func open(t testing.TB, cfg coordinator.Config) *coordinator.Coordinator {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := coordinator.Open(ctx, cfg)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.WaitReady(ctx))
	return c
}

func connect(t testing.TB, c metaclient.Coordinator) *metaclient.Client {
	t.Helper()
	m, err := metaclient.New(t.Context(), c, metaclient.Config{})
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func createBucket(t testing.TB, m *metaclient.Client, name string) *metapb.BucketRef {
	t.Helper()
	r, err := m.Do(t.Context(), &metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: &metapb.CreateBucket{Name: name, Owner: "o"}}})
	must(t, err)
	return &metapb.BucketRef{Name: name, Id: r.GetBucket().GetId()}
}

// put stores an object without bytes: metadata only.
func put(ctx context.Context, m *metaclient.Client, b *metapb.BucketRef, key string) error {
	sum := md5.Sum(nil)
	_, err := m.Do(ctx, &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
		Bucket: b, Key: key, Object: &metapb.NewObject{Etag: sum[:], Owner: "o"},
	}}})
	return err
}

func exists(t testing.TB, m *metaclient.Client, bucket, key string) bool {
	t.Helper()
	a, err := m.Read(t.Context(), &metapb.Query{Q: &metapb.Query_GetObject{GetObject: &metapb.GetObjectQuery{Bucket: bucket, Key: key}}})
	must(t, err)
	return a.GetGetObject().GetRow() != nil
}

func TestWhatWasAcknowledgedIsThereAfterReopening(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"os": vfs.OS(), "mem": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, fs, t.TempDir())
			c := open(t, cfg)
			m := connect(t, c)
			b := createBucket(t, m, "bucket")
			for i := range 50 {
				must(t, put(t.Context(), m, b, fmt.Sprintf("key-%d", i)))
			}
			before, err := c.Hash()
			must(t, err)
			must(t, m.Close())
			must(t, c.Close())

			c = open(t, cfg)
			after, err := c.Hash()
			must(t, err)
			if before != after {
				t.Fatal("the state differs after reopening")
			}
			m = connect(t, c)
			for i := range 50 {
				if !exists(t, m, "bucket", fmt.Sprintf("key-%d", i)) {
					t.Fatalf("key-%d is gone", i)
				}
			}
		})
	}
}

// createBucketOnce creates the bucket unless it is there.
func createBucketOnce(t testing.TB, m *metaclient.Client) *metapb.BucketRef {
	t.Helper()
	a, err := m.Read(t.Context(), &metapb.Query{Q: &metapb.Query_GetBucket{GetBucket: &metapb.GetBucketQuery{Name: "bucket"}}})
	if err == nil && a.GetBucket() != nil {
		return &metapb.BucketRef{Name: "bucket", Id: a.GetBucket().Id}
	}
	return createBucket(t, m, "bucket")
}

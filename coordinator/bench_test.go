package coordinator_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"minikv/coordinator"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

func benchCoordinator(b *testing.B) *coordinator.Coordinator {
	cfg := testConfig(b, vfs.OS(), b.TempDir())
	cfg.KV.CacheBytes, cfg.KV.MemTableBytes, cfg.Raft.SegmentBytes = 0, 0, 0
	return open(b, cfg)
}

// BenchmarkRaftApply is one durable metadata write on one node, by concurrent proposers.
func BenchmarkRaftApply(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("proposers=%d", n), func(b *testing.B) {
			c := benchCoordinator(b)
			m := connect(b, c)
			bucket := createBucket(b, m, "bucket")
			var next atomic.Int64
			b.SetParallelism((n + 1) / 2) // times GOMAXPROCS, 2 where it is measured
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := put(b.Context(), m, bucket, fmt.Sprintf("key-%d", next.Add(1))); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

// BenchmarkReadIndex is one linearizable read of a row on one node.
func BenchmarkReadIndex(b *testing.B) {
	c := benchCoordinator(b)
	m := connect(b, c)
	bucket := createBucket(b, m, "bucket")
	must(b, put(b.Context(), m, bucket, "key"))
	q := &metapb.Query{Q: &metapb.Query_GetObject{GetObject: &metapb.GetObjectQuery{Bucket: "bucket", Key: "key"}}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Read(b.Context(), q); err != nil {
				b.Error(err)
			}
		}
	})
}

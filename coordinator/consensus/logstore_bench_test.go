package consensus

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"minikv/internal/vfs"
)

// BenchmarkLogAppend is one durable entry in a segment that was filled with zeros before, and in one that was only reserved.
func BenchmarkLogAppend(b *testing.B) {
	for _, filled := range []bool{true, false, false, true} {
		name := map[bool]string{true: "filled", false: "reserved"}[filled]
		b.Run(name, func(b *testing.B) {
			o := logOptions{
				fs: vfs.OS(), dir: b.TempDir(), logger: hclog.NewNullLogger(), fatal: func(err error) { b.Error(err) },
				segmentBytes: walSegmentBytes, cacheBytes: logCacheBytesMax, hangMax: appendHangMax, reserveOnly: !filled,
			}
			s, err := openLog(o)
			must(b, err)
			defer s.Close()
			data := make([]byte, 600)
			i := uint64(0)
			for b.Loop() {
				i++
				must(b, s.StoreLog(&raft.Log{Index: i, Term: 1, Data: data}))
			}
		})
	}
}

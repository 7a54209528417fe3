package consensus

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/kv"
	"minikv/internal/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// smallKV keeps tests light.
var smallKV = kv.Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10}

// testOptions are those of a single voter on fs.
func testOptions(t testing.TB, fs vfs.FS, dir string) Options {
	return Options{
		FS: fs, Dir: dir, Log: zap.NewNop(), KV: smallKV, Bootstrap: true, SegmentBytes: 256 << 10, AppendHangMax: time.Minute,
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
}

func openNode(t testing.TB, o Options) *Node {
	t.Helper()
	n, err := Open(o)
	must(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func awaitReady(t testing.TB, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		changed := n.Changed()
		if _, err := n.Ready(); err == nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("never ready")
		}
	}
}

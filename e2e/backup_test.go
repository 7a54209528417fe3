package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

// writing puts key after key until it is stopped, and knows how many were acknowledged.
type writing struct {
	done  atomic.Int64
	stop  context.CancelFunc
	ended sync.WaitGroup
}

func writeOn(t *testing.T, n *harness.Node, bucket string) *writing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writing{stop: cancel}
	client := n.AWS(harness.Retries)
	w.ended.Go(func() {
		for i := int64(0); ctx.Err() == nil; i++ {
			if err := putKey(ctx, client, bucket, keyOf(i), valueOf(i)); err != nil {
				if ctx.Err() == nil {
					t.Errorf("put: %v", err)
				}
				return
			}
			w.done.Add(1)
		}
	})
	t.Cleanup(w.end)
	return w
}

func (w *writing) end() { w.stop(); w.ended.Wait() }

func keyOf(i int64) string   { return fmt.Sprintf("k-%06d", i) }
func valueOf(i int64) []byte { return []byte(fmt.Sprintf("value %d of the backup test", i)) }

// wantFirst reads the first n keys.
func wantFirst(t *testing.T, node *harness.Node, bucket string, n int64) {
	t.Helper()
	client := node.AWS(harness.Retries)
	listed := map[string]bool{}
	for _, key := range listAll(t, client, bucket) {
		listed[key] = true
	}
	for i := range n {
		require.True(t, listed[keyOf(i)], keyOf(i))
		require.Equal(t, string(valueOf(i)), string(get(t, client, bucket, keyOf(i))))
	}
}

// backedUp makes a backup while writes go on, and says how many of them were acknowledged before it began.
func backedUp(t *testing.T, n *harness.Node, w *writing) (file string, before int64) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "some writes", func() error {
		if w.done.Load() < 30 {
			return fmt.Errorf("%d", w.done.Load())
		}
		return nil
	})
	before = w.done.Load()
	file = filepath.Join(t.TempDir(), "backup")
	r := n.Ask(t, "backup", file)
	require.Zero(t, r.Code, r.Err)
	require.Contains(t, r.Out, "objects in")
	after := w.done.Load()
	harness.Eventually(t, 2*time.Minute, "writes after it", func() error {
		if w.done.Load() < after+5 {
			return fmt.Errorf("%d", w.done.Load())
		}
		return nil
	})
	w.end()
	return file, before
}

// TestBackup of a single process, made while writing, restored beside the volume that was kept.
func TestBackup(t *testing.T) {
	if harness.Tiers() {
		t.Skip("looks into the data directory of a single process")
	}
	n := harness.Start(t, harness.Options{})
	bucket := n.Bucket(t)
	file, before := backedUp(t, n, writeOn(t, n, bucket))
	require.NoError(t, n.Stop())

	data := filepath.Join(t.TempDir(), "restored")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	cut := filepath.Join(t.TempDir(), "cut")
	for _, size := range []int{0, 5, 100, len(whole) / 2, len(whole) - 1} {
		require.NoError(t, os.WriteFile(cut, whole[:size], 0o600))
		r := harness.Command(t, nil, "restore", cut, "--data", data)
		require.Equal(t, 1, r.Code)
		require.Contains(t, r.Err, "cut short")
		require.NoDirExists(t, filepath.Join(data, "coordinator"))
		r = harness.Command(t, map[string]string{"MINIKV_ROOT_USER": harness.RootUser, "MINIKV_ROOT_PASSWORD": harness.RootPassword},
			"serve", "--data", data, "--s3", harness.FreePort(t), "--rest", harness.FreePort(t))
		require.Equal(t, 1, r.Code, "an empty store was served: %+v", r)
		require.Contains(t, r.Err, "cut short")
		require.Contains(t, r.Err, "Run minikv restore again")
	}
	r := harness.Command(t, nil, "restore", file, "--data", n.Data)
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "there already")

	r = harness.Command(t, nil, "restore", file, "--data", data)
	require.Zero(t, r.Code, r.Err)
	require.NoError(t, os.Rename(filepath.Join(n.Data, "volume-1"), filepath.Join(data, "volume-1")))
	again := harness.Start(t, harness.Options{Data: data})
	wantFirst(t, again, bucket, before)
	require.NoError(t, putKey(t.Context(), again.AWS(), bucket, "new", []byte("v")))
	again.Kill() // and it stays
	again.Restart()
	wantFirst(t, again, bucket, before)
	require.Equal(t, "v", string(get(t, again.AWS(), bucket, "new")))
	harness.Eventually(t, 2*time.Minute, "a healthy store", func() error {
		st, _ := statusOf(t, again)
		if st.Health != ops.Healthy {
			return fmt.Errorf("%v", st.Reasons)
		}
		require.Greater(t, st.Epoch, uint64(1<<16))
		return nil
	})
}

// TestBackupOfACluster: all coordinators are lost; one comes back from the backup, the others join it, the volumes are kept.
func TestBackupOfACluster(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	file, before := backedUp(t, c.Nodes[1], writeOn(t, c.Nodes[0], bucket))
	was := statusShows(t, c.Nodes[0], "the cluster", func(st ops.StatusAnswer) bool { return st.Cluster != "" })
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		require.NoError(t, os.RemoveAll(filepath.Join(n.Data, "coordinator")))
	}
	r := harness.Command(t, nil, "restore", file, "--data", c.Nodes[1].Data)
	require.Zero(t, r.Code, r.Err)
	for _, n := range c.Nodes {
		require.NoError(t, n.Launch())
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	wantFirst(t, c.Nodes[2], bucket, before)
	harness.Eventually(t, 2*time.Minute, "a healthy cluster", func() error {
		st, _ := statusOf(t, c.Nodes[0])
		if st.Cluster == "" || st.Health != ops.Healthy || len(st.Coordinators) != 3 {
			return fmt.Errorf("%v %+v", st.Reasons, st.Coordinators)
		}
		if st.Cluster == was.Cluster {
			t.Fatal("the restored cluster passes for the old one")
		}
		return nil
	})
	for i, n := range c.Nodes {
		require.NoError(t, putKey(t.Context(), n.AWS(harness.Retries), bucket, fmt.Sprint("new-", i), []byte("v")))
	}
	c.Nodes[1].Kill() // the one that was restored is not needed any more
	harness.Eventually(t, 2*time.Minute, "the others go on", func() error {
		return putKey(t.Context(), c.Nodes[0].AWS(), bucket, "later", []byte("v"))
	})
}

func listAll(t *testing.T, client *s3.Client, bucket string) (keys []string) {
	t.Helper()
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	return keys
}

package coordinator_test

import (
	"bytes"
	"fmt"
	"testing"

	"minikv/coordinator"
	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

func layoutOf(t *testing.T, c *coordinator.Coordinator) *metapb.Layout {
	t.Helper()
	a, err := c.Read(t.Context(), &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	must(t, err)
	return a.GetLayout()
}

// TestABackupIsRestored: what was there is, as another cluster with higher epochs and no sessions; a crash of the machine right after
// the restore, and one after the first start, lose nothing.
func TestABackupIsRestored(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, testConfig(t, fs, "/c"))
	m := connect(t, c)
	b := createBucket(t, m, "bucket")
	for i := range 20 {
		must(t, put(t.Context(), m, b, fmt.Sprint("k", i)))
	}
	var file bytes.Buffer
	must(t, c.Backup(t.Context(), &file))
	must(t, put(t.Context(), m, b, "later"))
	if left, err := fs.List("/c"); err != nil || bytes.Contains([]byte(fmt.Sprint(left)), []byte("backup")) {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	was := layoutOf(t, c)

	r, err := coordinator.Restore(fs, "/r", bytes.NewReader(file.Bytes()))
	must(t, err)
	if r.Objects != 20 || r.Buckets != 1 {
		t.Fatalf("%+v", r)
	}
	crashed := fs.CrashClone(vfs.Survival{})
	again := open(t, testConfig(t, crashed, "/r"))
	now := layoutOf(t, again)
	if bytes.Equal(now.Cluster.Id, was.Cluster.Id) || now.Cluster.Epoch <= was.Cluster.Epoch+1000 || now.Shards[0].Epoch <= was.Shards[0].Epoch {
		t.Fatalf("it passes for the old cluster: %v", now.Cluster)
	}
	m = connect(t, again)
	for i := range 20 {
		if !exists(t, m, "bucket", fmt.Sprint("k", i)) {
			t.Fatalf("k%d is lost", i)
		}
	}
	if exists(t, m, "bucket", "later") {
		t.Fatal("a backup holds what came after it")
	}
	must(t, put(t.Context(), m, b, "new"))
	third := open(t, testConfig(t, crashed.CrashClone(vfs.Survival{}), "/r"))
	if m := connect(t, third); !exists(t, m, "bucket", "new") || !exists(t, m, "bucket", "k7") {
		t.Fatal("lost after the second start")
	}
	must(t, third.TickOnce(t.Context()))
}

// TestRestoreRefuses what is there, and what is cut short or damaged; then nothing is left.
func TestRestoreRefuses(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, testConfig(t, fs, "/c"))
	var file bytes.Buffer
	must(t, c.Backup(t.Context(), &file))
	_, err := coordinator.Restore(fs, "/c", bytes.NewReader(file.Bytes()))
	if !errs.Is(err, errs.Conflict) {
		t.Fatalf("over a coordinator: %v", err)
	}
	for n := 0; n < file.Len(); n += 1 + file.Len()/50 {
		_, err := coordinator.Restore(fs, "/r", bytes.NewReader(file.Bytes()[:n]))
		if !errs.Is(err, errs.Corrupt) {
			t.Fatalf("cut after %d: %v", n, err)
		}
	}
	flipped := bytes.Clone(file.Bytes())
	flipped[len(flipped)/2] ^= 1
	if _, err := coordinator.Restore(fs, "/r", bytes.NewReader(flipped)); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("damaged: %v", err)
	}
	for _, name := range []string{"/r", "/r.tmp"} {
		if _, err := fs.Stat(name); !vfs.IsNotExist(err) {
			t.Fatalf("%s is left: %v", name, err)
		}
	}
}

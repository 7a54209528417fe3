package consensus

import (
	"bytes"
	"io"
	"testing"

	"minikv/internal/vfs"
)

// TestARestoredGroupTakesItsFirstCommands: Raft counts entries that never reach the state machine, so the rows of a backup may say of
// a snapshot above the last entry that changed them. The restored log goes on behind that one; else its first entries would be taken for
// known ones and left out.
func TestARestoredGroupTakesItsFirstCommands(t *testing.T) {
	o := testOptions(t, vfs.NewMem(), testDir)
	n := openNode(t, o)
	awaitReady(t, n)
	foundCluster(t, n)
	for range 3 { // each term begins with such entries
		must(t, n.Close())
		n = openNode(t, o)
		awaitReady(t, n)
	}
	must(t, n.Snapshot())
	if at := n.newestSnapshot(); at <= n.Applied() {
		t.Fatalf("the snapshot is at %d, the state machine at %d", at, n.Applied())
	}
	var stream bytes.Buffer
	must(t, n.Backup(t.Context(), func(_ Checkpointed, tar io.Reader) error {
		_, err := stream.ReadFrom(tar)
		return err
	}))

	r := testOptions(t, vfs.NewMem(), testDir)
	if _, err := Restore(r.FS, testDir, &stream, smallKV, nil); err != nil {
		t.Fatal(err)
	}
	restored := openNode(t, r)
	awaitReady(t, restored)
	for _, name := range []string{"one", "two", "three"} {
		createBucket(t, restored, name)
	}
}

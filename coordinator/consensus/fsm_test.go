package consensus

import (
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/meta"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

func bucketEntry(t testing.TB, index uint64, op *metapb.Command) *raft.Log {
	t.Helper()
	op.Level, op.TimeMs, op.Seed = meta.Level, 1, make([]byte, seedBytes)
	b, err := proto.Marshal(&metapb.Entry{Level: meta.Level, Commands: []*metapb.Command{op}})
	must(t, err)
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: b}
}

// TestEntriesAreAppliedOnce (C2): what Raft applies again after a start is skipped, and the applied index never goes back.
func TestEntriesAreAppliedOnce(t *testing.T) {
	n := openNode(t, testOptions(t, vfs.NewMem(), testDir))
	awaitReady(t, n)
	foundCluster(t, n)
	at := n.fsm.applied.Load()
	create := bucketEntry(t, at+1, &metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: &metapb.CreateBucket{Name: "bucket", Owner: "o"}}})
	remove := bucketEntry(t, at+2, &metapb.Command{Op: &metapb.Command_DeleteBucket{DeleteBucket: &metapb.DeleteBucket{Bucket: &metapb.BucketRef{Name: "bucket"}}}})
	config := &raft.Log{Index: at + 3, Term: 1, Type: raft.LogConfiguration}
	for _, r := range n.fsm.ApplyBatch([]*raft.Log{create, remove, config}) {
		must(t, r.(entryResult).err)
	}
	before := hash(t, n)
	for _, logs := range [][]*raft.Log{{create}, {remove}, {create, remove, config}} {
		for _, r := range n.fsm.ApplyBatch(logs) {
			if r := r.(entryResult); r.err != nil || r.results != nil {
				t.Fatalf("an old entry gave %v", r)
			}
		}
		index, term, err := n.state.db.Applied()
		must(t, err)
		if index != at+3 || term != 1 || hash(t, n) != before {
			t.Fatalf("applied is %d in term %d", index, term)
		}
	}
}

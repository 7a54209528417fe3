package meta

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func (h *harness) batchPut(key string, size uint64, c *metapb.Conditions) *metapb.BatchOp {
	return &metapb.BatchOp{Key: key, Conditions: c, Op: &metapb.BatchOp_Put{Put: &metapb.BatchPut{Object: newObject(key, size), Written: h.written(size)}}}
}

func batchDelete(key string) *metapb.BatchOp {
	return &metapb.BatchOp{Key: key, Op: &metapb.BatchOp_Delete{Delete: true}}
}

func batchGet(key string) *metapb.BatchOp {
	return &metapb.BatchOp{Key: key, Op: &metapb.BatchOp_Get{Get: true}}
}

func batchCommand(b *metapb.BucketRef, ops ...*metapb.BatchOp) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_Batch{Batch: &metapb.Batch{Bucket: b, Ops: ops}}}
}

func TestBatchSeesItsOwnWrites(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("kv")
	h.put(b, "old", 5)
	absent := &metapb.Conditions{IfNoneMatchAny: true}
	rs := h.do(batchCommand(b,
		batchGet("old"), batchDelete("old"), batchGet("old"), batchDelete("old"),
		h.batchPut("new", 3, absent), batchGet("new"), h.batchPut("new", 4, &metapb.Conditions{IfMatchAny: true}), batchGet("new"),
	)).GetBatch().Results
	var found []bool
	for _, r := range rs {
		found = append(found, r.Found)
	}
	require.Equal(t, []bool{true, true, false, false, false, true, false, true}, found)
	require.Equal(t, uint64(5), rs[0].Row.Size)
	require.Equal(t, uint64(3), rs[5].Row.Size)
	require.Equal(t, uint64(4), rs[7].Row.Size)
	require.NotEqual(t, rs[4].Put.Version, rs[6].Put.Version)
	s := h.stats()
	require.Equal(t, []uint64{1, 4, 2}, []uint64{s.Objects, s.Bytes, s.Queued})
}

func TestBatchIsAllOrNothing(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("kv")
	h.put(b, "old", 5)
	w := h.batchPut("new", 3, nil)
	r := h.refused(errs.Precondition, batchCommand(b, batchDelete("old"), w, h.batchPut("new", 3, &metapb.Conditions{IfNoneMatchAny: true}), batchGet("x")))
	require.Equal(t, uint32(2), r.FailedOp)
	require.Nil(t, h.get(b, "new"))
	require.NotNil(t, h.get(b, "old"))
	require.Equal(t, uint32(RunNone), h.state(w.GetPut().Written))
	h.do(batchCommand(b, w)) // the same blobs under another decision

	r = h.refused(errs.Invalid, batchCommand(b, batchDelete("old"), &metapb.BatchOp{Key: "x"}))
	require.Equal(t, uint32(1), r.FailedOp)
	h.refused(errs.NoSuchBucket, batchCommand(&metapb.BucketRef{Name: "nix"}, batchGet("x")))
}

func TestBatchPublishesARunOnce(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("kv")
	op := h.batchPut("a", 3, nil)
	twice := h.batchPut("b", 3, nil)
	twice.GetPut().Written = op.GetPut().Written
	h.refused(errs.Conflict, batchCommand(b, op, twice))
}

func TestLargeBatch(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("kv")
	var ops []*metapb.BatchOp
	for i := range 1000 {
		ops = append(ops, h.batchPut(string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)), 3, nil))
	}
	h.do(batchCommand(b, ops...))
	require.Equal(t, uint64(1000), h.stats().Objects)
	for i := range ops {
		ops[i] = batchDelete(ops[i].Key)
	}
	h.do(batchCommand(b, ops...))
	require.Zero(t, h.stats().Objects)
	h.drain()
	require.Zero(t, h.rows(tableRuns))
}

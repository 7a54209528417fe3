package meta

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
	"minikv/proto/metapb"
)

// TestAudit: a sound state has nothing dangling; of one with rows taken out, each row that pointed there is told.
func TestAudit(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	var runs [][]byte
	for i := range 7 {
		w := h.written(testBlobSize)
		o := newObject("x", testBlobSize)
		if i < 3 {
			o.Checksum = crc64("x")
		}
		h.do(putCommand(b, "k"+string(rune('a'+i)), o, w, nil))
		runs = append(runs, w.Run.Base)
	}
	h.do(putCommand(b, "empty", newObject("", 0), nil, nil))
	audit := func(limit uint32) (total metapb.AuditAnswer) {
		q := &metapb.AuditQuery{Limit: limit, Sums: true}
		for {
			a := h.read(&metapb.Query{Q: &metapb.Query_Audit{Audit: q}}).GetAudit()
			total.Objects += a.Objects
			total.Dangling = append(total.Dangling, a.Dangling...)
			total.Sums = append(total.Sums, a.Sums...)
			if q.After = a.Next; len(a.Next) == 0 {
				return
			}
		}
	}
	for _, limit := range []uint32{1, 3, 0} {
		a := audit(limit)
		require.EqualValues(t, 8, a.Objects)
		require.Empty(t, a.Dangling)
		require.Len(t, a.Sums, 3)
		require.EqualValues(t, digest.CRC64NVME, a.Sums[0].Checksum.Algorithm)
	}
	batch := h.db.NewBatch()
	require.NoError(t, batch.Delete(runKey(runs[2])))
	require.NoError(t, batch.SetApplied(h.index, 1))
	require.NoError(t, batch.Commit())
	a := audit(2)
	require.Len(t, a.Dangling, 1)
	require.Contains(t, a.Dangling[0].Row, `"kc"`)
	require.Len(t, a.Sums, 2)
}

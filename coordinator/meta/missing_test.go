package meta

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func report(rows ...*metapb.MissingRow) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_ReportMissing{ReportMissing: &metapb.ReportMissing{Rows: rows}}}
}

func (h *harness) missingPage(q *metapb.MissingQuery) *metapb.MissingAnswer {
	h.t.Helper()
	return h.read(&metapb.Query{Q: &metapb.Query_Missing{Missing: q}}).GetMissing()
}

// TestReportedReplicas: only blobs that are alive, on replicas of their shard, get a row, once; a report does not touch a row that
// is known, and the row goes with its run.
func TestReportedReplicas(t *testing.T) {
	h := newHarness(t, 3)
	b := h.bucket("photos")
	size := uint64(3 * testBlobSize)
	w := h.written(size, 2)
	h.do(putCommand(b, "k", newObject("x", size), w, nil))
	dead := h.written(size)
	h.do(putCommand(b, "gone", newObject("x", size), dead, nil))
	h.remove(b, "gone")
	row := func(w *metapb.Written, counter, volume uint32) *metapb.MissingRow {
		id := object.RunBase(w.Run.Base).Blob(counter)
		return &metapb.MissingRow{Blob: id[:], Volume: volume, Reason: MissingDamaged}
	}
	before := h.missingPage(&metapb.MissingQuery{}).Rows
	require.Len(t, before, 3)
	require.EqualValues(t, testTime, before[0].SinceMs)
	r := h.do(report(
		row(w, 0, 1), row(w, 0, 1), // twice
		row(w, 1, 2),            // known already
		row(w, 3, 1),            // not a blob of the run
		row(w, 0, 4),            // no replica
		row(dead, 0, 1),         // dying
		row(h.written(9), 0, 1), // never published
		row(w, 2, 3),
	))
	require.EqualValues(t, 2, r.GetReleased().Released)
	require.EqualValues(t, 5, h.stats().Missing)
	require.Equal(t, 5, h.rows(tableMissing))
	for _, x := range h.missingPage(&metapb.MissingQuery{}).Rows {
		want := uint32(MissingDamaged)
		if x.Volume == 2 {
			want = MissingUnconfirmed
		}
		require.Equal(t, want, x.Reason, "%v", x)
	}
	h.refused(errs.Invalid, report(&metapb.MissingRow{Blob: []byte{1}, Volume: 1}))
	h.refused(errs.Invalid, report(&metapb.MissingRow{Blob: w.Run.Base, Volume: 1, Reason: 3}))
	h.remove(b, "k")
	h.drain()
	require.Zero(t, h.stats().Missing)
	require.Zero(t, h.rows(tableMissing))
}

// TestPagesOfMissingRows: pages that leave volumes out say where they ended, and all of them together give every other row.
func TestPagesOfMissingRows(t *testing.T) {
	h := newHarness(t, 3)
	b := h.bucket("photos")
	for i := range 20 {
		size := uint64(2 * testBlobSize)
		h.do(putCommand(b, "k"+string(rune('a'+i)), newObject("x", size), h.written(size, uint32(1+i%3)), nil))
	}
	q := &metapb.MissingQuery{Limit: 3, Skip: []uint32{1, 3}}
	got := 0
	for pages := 1; ; pages++ {
		a := h.missingPage(q)
		for _, row := range a.Rows {
			require.EqualValues(t, 2, row.Volume)
			got++
		}
		if a.Next == nil {
			require.Greater(t, pages, 40/3)
			break
		}
		q.After = a.Next
	}
	require.Equal(t, 14, got)
}

// TestPagesOfRuns give every living run once, bounded by rows and by blobs.
func TestPagesOfRuns(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	alive := map[string]bool{}
	for i := range 12 {
		size := uint64(1+i%4) * testBlobSize
		w := h.written(size)
		key := "k" + string(rune('a'+i))
		h.do(putCommand(b, key, newObject("x", size), w, nil))
		if i%3 == 0 {
			h.remove(b, key)
		} else {
			alive[string(w.Run.Base)] = true
		}
	}
	for _, q := range []*metapb.RunsQuery{{Limit: 5}, {Blobs: 3}, {}} {
		seen := map[string]bool{}
		for {
			a := h.read(&metapb.Query{Q: &metapb.Query_Runs{Runs: q}}).GetRuns()
			blobs := uint32(0)
			for _, r := range a.Runs {
				require.False(t, seen[string(r.Base)])
				seen[string(r.Base)] = true
				if q.Blobs > 0 {
					require.Less(t, blobs, q.Blobs)
				}
				blobs += r.Ranges[0].Count
			}
			if q.After = a.Next; len(a.Next) == 0 {
				break
			}
		}
		require.Equal(t, alive, seen)
	}
	none := h.read(&metapb.Query{Q: &metapb.Query_Runs{Runs: &metapb.RunsQuery{Epoch: h.epoch + 1}}}).GetRuns()
	require.Empty(t, none.Runs)
}

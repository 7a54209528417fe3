package meta

import (
	"bytes"
	"slices"

	"minikv/proto/metapb"
)

// missing pages through missing rows. A page may be empty and not the last.
func (v *view) missing(q *metapb.MissingQuery) (*metapb.MissingAnswer, error) {
	r := new(metapb.MissingAnswer)
	limit := int(limited(q.Limit, queueLimitDefault, listLimitMax))
	lower := []byte{tableMissing}
	if q.After != nil {
		lower = append(missingKey(q.After.Blob, q.After.Volume), 0)
	}
	seen := 0
	err := scan(v.s, lower, []byte{tableMissing + 1}, func(_, value []byte) (bool, error) {
		row := new(metapb.MissingRow)
		if err := decodeRow(value, row); err != nil {
			return false, err
		}
		if r.OldestMs == 0 || row.SinceMs < r.OldestMs {
			r.OldestMs = row.SinceMs
		}
		if !slices.Contains(q.Skip, row.Volume) {
			r.Rows = append(r.Rows, row)
		}
		if seen++; seen == limit {
			r.Next = row
		}
		return seen < limit, nil
	})
	return r, err
}

// runs pages through living runs. A page may be empty and not the last.
func (v *view) runs(q *metapb.RunsQuery) (*metapb.RunsAnswer, error) {
	r := new(metapb.RunsAnswer)
	limit := limited(q.Limit, queueLimitDefault, listLimitMax)
	lower := []byte{tableRuns}
	if len(q.After) > 0 {
		lower = append(runKey(q.After), 0)
	}
	var seen, blobs uint32
	err := scan(v.s, lower, []byte{tableRuns + 1}, func(k, value []byte) (bool, error) {
		row := new(metapb.RunRow)
		if err := decodeRow(value, row); err != nil {
			return false, err
		}
		if row.References > 0 && row.Epoch >= q.Epoch {
			r.Runs = append(r.Runs, row.Run)
			for _, g := range row.Run.GetRanges() {
				blobs += g.Count
			}
		}
		if seen++; seen == limit || (q.Blobs > 0 && blobs >= q.Blobs) {
			r.Next = bytes.Clone(k[1:])
			return false, nil
		}
		return true, nil
	})
	return r, err
}

package meta

import (
	"bytes"
	"encoding/binary"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Bounds of internal commands.
const (
	releaseLimitDefault = 256
	releaseLimitMax     = 4096 // slices of parts, or uploads
	collectMax          = 10000
	counterLen          = 3 // of a blob id
	pruneLimitDefault   = 1000
	pruneLimitMax       = 10000
)

func limited(n, byDefault, most uint32) uint32 {
	if n == 0 {
		return byDefault
	}
	return min(n, most)
}

// releaseParts goes on with what a queue row stands for: parts of a dead body, or uploads of a deleted bucket. When nothing is
// left the row goes. Done is also said of a row that is not there.
func (t *txn) releaseParts(op *metapb.ReleaseParts, res *metapb.Result) error {
	key := queueKey(op.QueueKey)
	row := new(metapb.QueueRow)
	found, err := t.load(key, row)
	if err != nil {
		return err
	}
	r := &metapb.ReleaseResult{Done: true}
	res.Value = &metapb.Result_Released{Released: r}
	if !found {
		return nil
	}
	limit := limited(op.Limit, releaseLimitDefault, releaseLimitMax)
	switch {
	case len(row.BodyId) == idLen:
		err = t.releaseBody(row.BodyId, limit, r)
	case len(row.BucketId) == bucketIDLen:
		err = t.abortAll(row.BucketId, limit, r)
	default:
		return refuse(errs.Invalid, "the queue row is of a run; its bytes go first")
	}
	if err != nil || !r.Done {
		return err
	}
	t.remove(key)
	t.stats.queued--
	return nil
}

// releaseBody drops parts until limit slices are dropped.
func (t *txn) releaseBody(body []byte, limit uint32, r *metapb.ReleaseResult) error {
	slices := uint32(0)
	err := scanTable(t.b, tableKey(tableParts, body), func(k, v []byte) (bool, error) {
		if slices >= limit {
			r.Done = false
			return false, nil
		}
		p := new(metapb.PartRow)
		if err := decodeRow(v, p); err != nil {
			return false, err
		}
		slices += max(1, uint32(len(p.Slices)))
		r.Released++
		t.remove(bytes.Clone(k))
		return true, t.dropSlices(p)
	})
	if err == nil && r.Done {
		t.remove(bodyKey(body))
	}
	return err
}

// abortAll ends uploads of a bucket that is gone.
func (t *txn) abortAll(bucket []byte, limit uint32, r *metapb.ReleaseResult) error {
	return scanTable(t.b, tableKey(tableUploads, bucket), func(k, v []byte) (bool, error) {
		if r.Released >= limit {
			r.Done = false
			return false, nil
		}
		r.Released++
		k = bytes.Clone(k)
		return true, t.endUpload(k, k[len(k)-idLen:])
	})
}

// collectRuns forgets dead runs whose bytes are gone everywhere, and that replicas lacked some of them.
func (t *txn) collectRuns(op *metapb.CollectRuns, res *metapb.Result) error {
	if len(op.QueueKeys) > collectMax {
		return refuse(errs.Invalid, "%d runs; at most %d at once", len(op.QueueKeys), collectMax)
	}
	r := &metapb.ReleaseResult{Done: true}
	for _, k := range op.QueueKeys {
		row := new(metapb.QueueRow)
		found, err := t.load(queueKey(k), row)
		if err != nil {
			return err
		}
		if !found || row.Run == nil {
			continue
		}
		run := new(metapb.RunRow)
		if found, err = t.load(runKey(row.Run.Base), run); err != nil {
			return err
		}
		if found && run.References > 0 {
			return broken("run %x is queued and alive", row.Run.Base)
		}
		if len(t.pending) >= collectMax { // the others stay queued
			r.Done = false
			break
		}
		if err := t.forgetMissing(row.Run.Base); err != nil {
			return err
		}
		t.remove(queueKey(k))
		t.remove(runKey(row.Run.Base))
		t.stats.queued--
		r.Released++
	}
	res.Value = &metapb.Result_Released{Released: r}
	return nil
}

// pruneCompleted forgets the answers of uploads completed before a time.
func (t *txn) pruneCompleted(op *metapb.PruneCompleted, res *metapb.Result) error {
	limit := limited(op.Limit, pruneLimitDefault, pruneLimitMax)
	r := &metapb.ReleaseResult{Done: true}
	res.Value = &metapb.Result_Released{Released: r}
	return scanTable(t.b, []byte{tableExpiry}, func(k, _ []byte) (bool, error) {
		if int64(binary.BigEndian.Uint64(k[1:])) >= op.BeforeMs {
			return false, nil
		}
		if r.Released >= limit {
			r.Done = false
			return false, nil
		}
		k = bytes.Clone(k)
		t.remove(k)
		t.remove(completedKey(k[len(k)-idLen:]))
		r.Released++
		return true, nil
	})
}

package meta

import (
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// addRun counts one more reference to a run that is alive.
func (t *txn) addRun(base []byte) error {
	row := new(metapb.RunRow)
	found, err := t.load(runKey(base), row)
	if err != nil {
		return err
	}
	if !found || row.References == 0 {
		return broken("run %x is referenced and not alive", base)
	}
	row.References++
	return t.store(runKey(base), row)
}

// dropRun counts one reference less; at 0 the run is queued for deletion (M3).
func (t *txn) dropRun(base []byte) error {
	row := new(metapb.RunRow)
	found, err := t.load(runKey(base), row)
	if err != nil {
		return err
	}
	if !found || row.References == 0 {
		return broken("run %x is referenced and not alive", base)
	}
	row.References--
	if err := t.store(runKey(base), row); err != nil || row.References > 0 {
		return err
	}
	return t.enqueue(&metapb.QueueRow{Run: row.Run})
}

// enqueue appends to the deletion queue.
func (t *txn) enqueue(row *metapb.QueueRow) error {
	row.QueuedMs = t.c.TimeMs
	key := queueKey(queuePosition(t.index, t.queued))
	t.queued++
	t.stats.queued++
	return t.store(key, row)
}

// addBody counts one more reference to what the object row points to.
func (t *txn) addBody(o *metapb.ObjectRow) error {
	switch {
	case o.Run != nil:
		return t.addRun(o.Run.Base)
	case len(o.BodyId) > 0:
		row := new(metapb.BodyRow)
		found, err := t.load(bodyKey(o.BodyId), row)
		if err != nil {
			return err
		}
		if !found || row.References == 0 {
			return broken("body %x is referenced and not alive", o.BodyId)
		}
		row.References++
		return t.store(bodyKey(o.BodyId), row)
	}
	return nil
}

// dropBody counts one reference less to what the object row points to. At 0 a body's parts are released through the queue, in
// bounded commands (M6).
func (t *txn) dropBody(o *metapb.ObjectRow) error {
	switch {
	case o.Run != nil:
		return t.dropRun(o.Run.Base)
	case len(o.BodyId) > 0:
		row := new(metapb.BodyRow)
		found, err := t.load(bodyKey(o.BodyId), row)
		if err != nil {
			return err
		}
		if !found || row.References == 0 {
			return broken("body %x is referenced and not alive", o.BodyId)
		}
		row.References--
		if err := t.store(bodyKey(o.BodyId), row); err != nil || row.References > 0 {
			return err
		}
		return t.enqueue(&metapb.QueueRow{BodyId: o.BodyId})
	}
	return nil
}

// current is the row that a plain GET of the key answers with; nil when there is none.
func (t *txn) current(bucket []byte, key string) (*metapb.ObjectRow, error) {
	row := new(metapb.ObjectRow)
	found, err := t.load(objectKey(bucket, key), row)
	if err != nil || !found {
		return nil, err
	}
	return row, nil
}

// publish makes row the current version of a key in place of old, the current one so far (nil: none).
//
// A bucket that was never versioned has one version per key, the null version: the old one goes. Versioned buckets will keep it
// in the table of versions here.
func (t *txn) publish(b *metapb.BucketRow, key string, row, old *metapb.ObjectRow) error {
	if b.Versioning != metapb.Versioning_UNVERSIONED {
		return refuse(errs.Unsupported, "the bucket is versioned")
	}
	row.NullVersion = true
	if old != nil {
		if err := t.discard(old); err != nil {
			return err
		}
	}
	t.stats.objects++
	t.stats.bytes += int64(row.Size)
	return t.store(objectKey(b.Id, key), row)
}

// unpublish removes the current version of a key.
func (t *txn) unpublish(b *metapb.BucketRow, key string, old *metapb.ObjectRow) error {
	if b.Versioning != metapb.Versioning_UNVERSIONED {
		return refuse(errs.Unsupported, "the bucket is versioned")
	}
	t.remove(objectKey(b.Id, key))
	return t.discard(old)
}

// discard gives up a version for good.
func (t *txn) discard(o *metapb.ObjectRow) error {
	t.stats.objects--
	t.stats.bytes -= int64(o.Size)
	return t.dropBody(o)
}

func putResult(b *metapb.BucketRow, o *metapb.ObjectRow) *metapb.PutResult {
	return &metapb.PutResult{
		Version: o.Version, NullVersion: o.NullVersion, Etag: o.Etag, EtagParts: o.EtagParts, ModifiedMs: o.ModifiedMs,
		Checksum: o.Checksum, Size: o.Size, Versioning: b.Versioning,
	}
}

package meta

import (
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

const etagLen = 16 // bytes of MD5

func (t *txn) putObject(op *metapb.PutObject, res *metapb.Result) error {
	b, err := t.bucket(op.Bucket)
	if err != nil {
		return err
	}
	row, err := t.writeObject(b, op.Key, op.Conditions, op.Object, op.Written)
	if err != nil {
		return err
	}
	res.Value = &metapb.Result_Put{Put: putResult(b, row)}
	return nil
}

// writeObject publishes an object with the bytes of at most one run.
func (t *txn) writeObject(b *metapb.BucketRow, key string, c *metapb.Conditions, o *metapb.NewObject, w *metapb.Written) (*metapb.ObjectRow, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if o == nil || len(o.Etag) != etagLen {
		return nil, refuse(errs.Invalid, "an object needs an ETag of %d bytes", etagLen)
	}
	if o.Size > object.PartBytesMax {
		return nil, refuse(errs.EntityTooLarge, "%d bytes; at most %d can be put at once", o.Size, uint64(object.PartBytesMax))
	}
	if err := t.verify(w, o.Size); err != nil {
		return nil, err
	}
	if err := t.unpublished(w); err != nil {
		return nil, err
	}
	old, err := t.current(b.Id, key)
	if err != nil {
		return nil, err
	}
	if err := checkWrite(c, old); err != nil {
		return nil, err
	}
	row := &metapb.ObjectRow{
		Version: t.version(), Size: o.Size, Etag: o.Etag, ModifiedMs: t.c.TimeMs, Checksum: o.Checksum, Owner: o.Owner,
		Attributes: o.Attributes, Tags: o.Tags, Run: w.GetRun(),
	}
	if err := t.publishRun(w); err != nil {
		return nil, err
	}
	return row, t.publish(b, key, row, old)
}

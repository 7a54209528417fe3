package meta

import (
	"bytes"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// copyObject makes an object of another's body: one more reference, whatever its size. ETag, checksum and parts stay.
func (t *txn) copyObject(op *metapb.CopyObject, res *metapb.Result) error {
	if err := checkKey(op.Key); err != nil {
		return err
	}
	b, err := t.bucket(op.Bucket)
	if err != nil {
		return err
	}
	src, err := t.source(op.Source)
	if err != nil {
		return err
	}
	if op.Checksum != nil && len(op.Source.Expect) == 0 {
		return refuse(errs.Invalid, "a checksum needs the version it was computed of")
	}
	old, err := t.current(b.Id, op.Key)
	if err != nil {
		return err
	}
	if err := checkWrite(op.Conditions, old); err != nil {
		return err
	}
	row := &metapb.ObjectRow{
		Version: t.version(), Size: src.Size, Etag: src.Etag, EtagParts: src.EtagParts, ModifiedMs: t.c.TimeMs,
		Checksum: src.Checksum, Owner: op.Owner, Attributes: src.Attributes, Tags: src.Tags,
		Run: src.Run, BodyId: src.BodyId, Parts: src.Parts,
	}
	if op.ReplaceAttributes {
		row.Attributes = op.Attributes
	}
	if op.ReplaceTags {
		row.Tags = op.Tags
	}
	if op.Checksum != nil {
		row.Checksum = op.Checksum
	}
	if err := t.addBody(row); err != nil { // before publish drops the old one: it may be the same
		return err
	}
	if err := t.publish(b, op.Key, row, old); err != nil {
		return err
	}
	put := putResult(b, row)
	put.SourceVersion, put.SourceNull = src.Version, src.NullVersion
	res.Value = &metapb.Result_Put{Put: put}
	return nil
}

// putTags replaces the tags of a version; neither its id nor its time changes.
func (t *txn) putTags(op *metapb.PutTags, res *metapb.Result) error {
	b, err := t.bucket(op.Bucket)
	if err != nil {
		return err
	}
	row, err := t.object(b, op.Key, op.Version)
	if err != nil {
		return err
	}
	cur, err := t.current(b.Id, op.Key)
	if err != nil {
		return err
	}
	key := versionKey(b.Id, op.Key, row.Version)
	if cur != nil && bytes.Equal(cur.Version, row.Version) {
		key = objectKey(b.Id, op.Key)
	}
	row.Tags = op.Tags
	res.Value = &metapb.Result_Put{Put: putResult(b, row)}
	return t.store(key, row)
}

package meta

import (
	"bytes"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// createUpload opens a multipart upload. Its id sorts by initiation and becomes the id of the body it completes to.
func (t *txn) createUpload(op *metapb.CreateUpload, res *metapb.Result) error {
	if err := checkKey(op.Key); err != nil {
		return err
	}
	b, err := t.bucket(op.Bucket)
	if err != nil {
		return err
	}
	typ, err := uploadChecksumType(op)
	if err != nil {
		return err
	}
	row := &metapb.UploadRow{
		Id: t.newID(0), Key: op.Key, Owner: op.Owner, Initiator: op.Owner, InitiatedMs: t.c.TimeMs, Attributes: op.Attributes,
		Tags: op.Tags, ChecksumAlgorithm: op.ChecksumAlgorithm, ChecksumType: uint32(typ), Initiated: t.version(),
	}
	t.stats.uploads++
	res.Value = &metapb.Result_Upload{Upload: row}
	return t.store(uploadKey(b.Id, op.Key, row.Id), row)
}

func uploadChecksumType(op *metapb.CreateUpload) (digest.Type, error) {
	a, typ := digest.Algorithm(op.ChecksumAlgorithm), digest.Type(op.ChecksumType)
	switch {
	case op.ChecksumAlgorithm > 255 || op.ChecksumType > 255:
		return 0, refuse(errs.InvalidRequest, "unknown checksum algorithm or type")
	case a == digest.None && typ == digest.NoType:
		return digest.NoType, nil
	case a == digest.None:
		return 0, refuse(errs.InvalidRequest, "a checksum type needs a checksum algorithm")
	case typ == digest.NoType:
		typ = digest.DefaultType(a)
	}
	if !digest.Possible(a, typ) {
		return 0, refuse(errs.InvalidRequest, "the %s checksum type cannot be used with the %s checksum algorithm", typ, a)
	}
	return typ, nil
}

// upload finds the open upload a command addresses, with its bucket and the key of its row; errs.NoSuchUpload.
func (t *txn) upload(ref *metapb.UploadRef) (b *metapb.BucketRow, row *metapb.UploadRow, key []byte, err error) {
	if b, err = t.bucket(ref.GetBucket()); err != nil {
		return nil, nil, nil, err
	}
	if len(ref.UploadId) != idLen {
		return nil, nil, nil, noSuchUpload()
	}
	key = uploadKey(b.Id, ref.Key, ref.UploadId)
	row = new(metapb.UploadRow)
	found, err := t.load(key, row)
	if err == nil && !found {
		err = noSuchUpload()
	}
	return b, row, key, err
}

func noSuchUpload() error {
	return refuse(errs.NoSuchUpload, "the upload does not exist; it may have been completed or aborted")
}

// abortUpload ends an upload at once; its parts are released through the queue.
func (t *txn) abortUpload(op *metapb.AbortUpload) error {
	_, row, key, err := t.upload(op.Upload)
	if err != nil {
		return err
	}
	return t.endUpload(key, row.Id)
}

func (t *txn) endUpload(key, id []byte) error {
	t.remove(key)
	t.stats.uploads--
	return t.enqueue(&metapb.QueueRow{BodyId: id})
}

// putPart keeps a part in place of an earlier one of its number.
func (t *txn) putPart(op *metapb.PutPart, res *metapb.Result) error {
	_, up, _, err := t.upload(op.Upload)
	if err != nil {
		return err
	}
	row := &metapb.PartRow{
		Number: op.Number, Etag: op.Etag, Size: op.Size, ModifiedMs: t.c.TimeMs, Checksums: op.Checksums,
	}
	if err := checkPart(up, row); err != nil {
		return err
	}
	if err := t.verify(op.Written, op.Size); err != nil {
		return err
	}
	if err := t.unpublished(op.Written); err != nil {
		return err
	}
	if op.Written != nil {
		row.Slices = []*metapb.Slice{{Run: op.Written.Run, Length: op.Size}}
	}
	if err := t.publishRun(op.Written); err != nil {
		return err
	}
	return t.storePart(up, row, res)
}

// copyPart makes a part of a range of an object, which was read to compute its digests: it must still be that version.
func (t *txn) copyPart(op *metapb.CopyPart, res *metapb.Result) error {
	_, up, _, err := t.upload(op.Upload)
	if err != nil {
		return err
	}
	if len(op.GetSource().GetExpect()) == 0 {
		return refuse(errs.Invalid, "the copy does not say which version it read")
	}
	src, err := t.source(op.Source)
	if err != nil {
		return err
	}
	row := &metapb.PartRow{
		Number: op.Number, Etag: op.Etag, Size: op.Length, ModifiedMs: t.c.TimeMs, Checksums: op.Checksums,
	}
	if err := checkPart(up, row); err != nil {
		return err
	}
	if row.Slices, err = t.slicesOf(src, op.Offset, op.Length); err != nil {
		return err
	}
	for _, s := range row.Slices {
		if err := t.addRun(s.Run.Base); err != nil {
			return err
		}
	}
	return t.storePart(up, row, res)
}

func (t *txn) storePart(up *metapb.UploadRow, row *metapb.PartRow, res *metapb.Result) error {
	key := partKey(up.Id, row.Number)
	old := new(metapb.PartRow)
	found, err := t.load(key, old)
	if err != nil {
		return err
	}
	if found {
		if err := t.dropSlices(old); err != nil {
			return err
		}
	}
	put := &metapb.PutResult{Version: t.version(), Etag: row.Etag, ModifiedMs: row.ModifiedMs, Size: row.Size}
	if len(row.Checksums) > 0 {
		put.Checksum = row.Checksums[0]
	}
	res.Value = &metapb.Result_Put{Put: put}
	return t.store(key, row)
}

func (t *txn) dropSlices(p *metapb.PartRow) error {
	for _, s := range p.Slices {
		if err := t.dropRun(s.Run.Base); err != nil {
			return err
		}
	}
	return nil
}

// checkPart refuses a part without the checksum that the upload will need of it.
func checkPart(up *metapb.UploadRow, p *metapb.PartRow) error {
	switch {
	case p.Number < 1 || p.Number > object.PartsMax:
		return refuse(errs.Invalid, "part numbers are 1 to %d", object.PartsMax)
	case p.Size > object.PartBytesMax:
		return refuse(errs.EntityTooLarge, "%d bytes; a part has at most %d", p.Size, uint64(object.PartBytesMax))
	case len(p.Etag) != etagLen:
		return refuse(errs.Invalid, "a part needs an ETag of %d bytes", etagLen)
	case up.ChecksumAlgorithm != 0 && partChecksum(p, up.ChecksumAlgorithm) == nil:
		return refuse(errs.InvalidRequest, "the upload needs a %s checksum of every part", digest.Algorithm(up.ChecksumAlgorithm))
	}
	for _, c := range p.Checksums {
		if _, err := rowDigest(c); err != nil {
			return err
		}
	}
	return nil
}

// partChecksum is the part's checksum of an algorithm; nil when it has none.
func partChecksum(p *metapb.PartRow, algorithm uint32) *metapb.Checksum {
	for _, c := range p.Checksums {
		if c.Algorithm == algorithm {
			return c
		}
	}
	return nil
}

// rowDigest reads a part's checksum: FULL_OBJECT of its bytes.
func rowDigest(c *metapb.Checksum) (digest.Checksum, error) {
	if c.GetAlgorithm() > 255 {
		return digest.Checksum{}, refuse(errs.InvalidRequest, "unknown checksum algorithm")
	}
	d, err := digest.New(digest.Algorithm(c.GetAlgorithm()), c.GetValue())
	if err != nil {
		return d, refuse(errs.InvalidRequest, "%s", errs.Message(err))
	}
	return d, nil
}

func checksumRow(d digest.Checksum) *metapb.Checksum {
	return &metapb.Checksum{
		Algorithm: uint32(d.Algorithm), Type: uint32(d.Type), Value: bytes.Clone(d.Bytes()), Parts: d.Parts,
	}
}

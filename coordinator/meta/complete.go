package meta

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"strings"

	"github.com/minio/sha256-simd"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// completeUpload publishes the parts that the client names as one object. Nothing is moved but the parts left out, which get
// a body id of their own and are released through the queue. A refusal leaves the upload open.
func (t *txn) completeUpload(op *metapb.CompleteUpload, res *metapb.Result) error {
	request := completeRequest(op.Parts)
	b, up, upKey, err := t.upload(op.Upload)
	if isRefusal(err, errs.NoSuchUpload) {
		return t.completedBefore(op, request, res)
	}
	if err != nil {
		return err
	}
	if err := checkCompleteParts(op.Parts); err != nil {
		return err
	}
	c := completion{t: t, op: op, up: up, row: &metapb.ObjectRow{
		Version: t.version(), ModifiedMs: t.c.TimeMs, Owner: up.Owner, Attributes: up.Attributes, Tags: up.Tags,
		BodyId: up.Id, Parts: uint32(len(op.Parts)),
	}}
	if err := c.digest(); err != nil {
		return err
	}
	old, err := t.current(b.Id, up.Key)
	if err != nil {
		return err
	}
	if err := checkWrite(op.Conditions, old); err != nil {
		return err
	}
	if err := c.store(); err != nil {
		return err
	}
	t.remove(upKey)
	t.stats.uploads--
	if err := t.publish(b, up.Key, c.row, old); err != nil {
		return err
	}
	put := putResult(b, c.row)
	res.Value = &metapb.Result_Put{Put: put}
	t.put(expiryKey(t.c.TimeMs, up.Id), []byte{})
	return t.store(completedKey(up.Id), &metapb.CompletedRow{
		BucketId: b.Id, Key: up.Key, Request: request, CompletedMs: t.c.TimeMs, Result: put,
	})
}

// completedBefore answers a repeated complete like the first time, if it is the same request.
func (t *txn) completedBefore(op *metapb.CompleteUpload, request []byte, res *metapb.Result) error {
	b, err := t.bucket(op.Upload.Bucket)
	if err != nil {
		return err
	}
	row := new(metapb.CompletedRow)
	found, err := t.load(completedKey(op.Upload.UploadId), row)
	if err != nil {
		return err
	}
	if !found || !bytes.Equal(row.BucketId, b.Id) || row.Key != op.Upload.Key || !bytes.Equal(row.Request, request) {
		return noSuchUpload()
	}
	res.Value = &metapb.Result_Put{Put: row.Result}
	return nil
}

// completeRequest is a digest of the (number, ETag) pairs.
func completeRequest(parts []*metapb.CompletePart) []byte {
	h := sha256.New()
	var buf []byte
	for _, p := range parts {
		buf = binary.BigEndian.AppendUint32(buf[:0], p.Number)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(p.Etag)))
		h.Write(append(buf, p.Etag...))
	}
	return h.Sum(nil)
}

func checkCompleteParts(parts []*metapb.CompletePart) error {
	if len(parts) == 0 || len(parts) > object.PartsMax {
		return refuse(errs.MalformedBody, "an upload completes with 1 to %d parts", object.PartsMax)
	}
	for i := 1; i < len(parts); i++ {
		if parts[i].Number <= parts[i-1].Number {
			return refuse(errs.InvalidPartOrder, "the parts are not in ascending order")
		}
	}
	return nil
}

// completion is a complete in the making.
type completion struct {
	t      *txn
	op     *metapb.CompleteUpload
	up     *metapb.UploadRow
	row    *metapb.ObjectRow
	parts  []*metapb.PartRow // in order, offsets set
	unused []change          // rows of parts left out
}

// gather finds the named parts in one scan and checks them.
func (c *completion) gather() error {
	want := c.op.Parts
	var short *metapb.PartRow
	err := scanTable(c.t.b, tableKey(tableParts, c.up.Id), func(k, v []byte) (bool, error) {
		number := binary.BigEndian.Uint32(k[len(k)-numberLen:])
		if len(want) == 0 || number < want[0].Number {
			c.unused = append(c.unused, change{bytes.Clone(k), bytes.Clone(v)})
			return true, nil
		}
		p := new(metapb.PartRow)
		if err := decodeRow(v, p); err != nil {
			return false, err
		}
		if number != want[0].Number || !samePart(want[0], p) {
			return false, invalidPart(want[0].Number)
		}
		if p.Size < object.PartBytesMin && len(want) > 1 && short == nil {
			short = p
		}
		p.Offset, p.Completed = c.row.Size, true
		c.row.Size += p.Size
		c.parts, want = append(c.parts, p), want[1:]
		return true, nil
	})
	switch {
	case err != nil:
		return err
	case len(want) > 0:
		return invalidPart(want[0].Number)
	case short != nil:
		return refuse(errs.EntityTooSmall, "part %d has %d bytes; all but the last need %d", short.Number, short.Size, object.PartBytesMin)
	case c.op.ObjectSize != nil && *c.op.ObjectSize != c.row.Size:
		return refuse(errs.InvalidRequest, "the object has %d bytes, x-amz-mp-object-size says %d", c.row.Size, *c.op.ObjectSize)
	}
	return nil
}

// invalidPart is a refusal that names the part, which gateways read in it, as they do in that of a part that is too small.
func invalidPart(number uint32) error {
	return refuse(errs.InvalidPart, "part %d is not there, or its ETag or checksum is another", number)
}

// samePart compares a named part with the stored one: ETag as text, and the checksum if one is given.
func samePart(want *metapb.CompletePart, p *metapb.PartRow) bool {
	var buf [64]byte
	if !sameETag(want.Etag, appendETag(buf[:0], p.Etag, 0)) {
		return false
	}
	if want.Checksum.GetAlgorithm() == 0 {
		return true
	}
	have := partChecksum(p, want.Checksum.Algorithm)
	return have != nil && bytes.Equal(have.Value, want.Checksum.Value)
}

// digest gathers the parts, and sets ETag and checksum of the whole; errs.BadDigest when the client gave another checksum.
func (c *completion) digest() error {
	a, typ := digest.Algorithm(c.up.ChecksumAlgorithm), digest.Type(c.up.ChecksumType)
	if a == digest.None {
		a, typ = digest.CRC64NVME, digest.FullObject
	}
	if err := c.checkAsked(a, typ); err != nil {
		return err
	}
	if err := c.gather(); err != nil {
		return err
	}
	h := md5.New()
	for _, p := range c.parts {
		h.Write(p.Etag)
	}
	c.row.Etag, c.row.EtagParts = h.Sum(nil), uint32(len(c.parts))
	sum, ok, err := c.join(a, typ)
	if err != nil {
		return err
	}
	if ok {
		c.row.Checksum = checksumRow(sum)
	}
	given := c.op.Checksum
	if given.GetAlgorithm() == 0 {
		return nil
	}
	if !ok || !bytes.Equal(given.Value, sum.Bytes()) || (given.Parts != 0 && given.Parts != sum.Parts) {
		return refuse(errs.BadDigest, "the %s of the object is not the one given", a)
	}
	return nil
}

// checkAsked refuses checksums of another kind than the upload's, and a COMPOSITE complete that lacks one. Parts of an upload
// without an algorithm may be named with any checksum that was recorded of them.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
func (c *completion) checkAsked(a digest.Algorithm, typ digest.Type) error {
	if g := c.op.ChecksumType; g != 0 && digest.Type(g) != typ {
		return refuse(errs.BadDigest, "the upload's checksum type is %s", typ)
	}
	if g := c.op.Checksum.GetAlgorithm(); g != 0 && g != uint32(a) {
		return refuse(errs.InvalidRequest, "the upload's checksum algorithm is %s", a)
	}
	if c.up.ChecksumAlgorithm == 0 {
		return nil
	}
	for _, p := range c.op.Parts {
		g := p.Checksum.GetAlgorithm()
		if g == 0 && typ == digest.Composite {
			return refuse(errs.InvalidRequest, "The upload was created using a %s checksum. The complete request must include the "+
				"checksum for each part. It was missing for part %d in the request.", strings.ToLower(a.String()), p.Number)
		}
		if g != 0 && g != uint32(a) {
			return refuse(errs.InvalidRequest, "part %d has a checksum of another algorithm than the upload's, %s", p.Number, a)
		}
	}
	return nil
}

// join makes the checksum of the whole from those of the parts. Parts of uploads that asked for none may lack theirs: then
// there is none.
func (c *completion) join(a digest.Algorithm, typ digest.Type) (digest.Checksum, bool, error) {
	j, err := digest.NewJoiner(a, typ)
	if err != nil {
		return digest.Checksum{}, false, refuse(errs.InvalidRequest, "%s", errs.Message(err))
	}
	for _, p := range c.parts {
		sum := partChecksum(p, uint32(a))
		if sum == nil {
			return digest.Checksum{}, false, nil
		}
		d, err := rowDigest(sum)
		if err != nil {
			return d, false, err
		}
		if err := j.Add(d, p.Size); err != nil {
			return d, false, refuse(errs.InvalidRequest, "%s", errs.Message(err))
		}
	}
	return j.Checksum(), true, nil
}

// store writes the body and its parts, and moves the parts left out to a body of their own, which is dead from the start.
func (c *completion) store() error {
	t := c.t
	for _, p := range c.parts {
		if err := t.store(partKey(c.up.Id, p.Number), p); err != nil {
			return err
		}
	}
	body := &metapb.BodyRow{References: 1, Parts: uint32(len(c.parts)), Size: c.row.Size}
	if err := t.store(bodyKey(c.up.Id), body); err != nil || len(c.unused) == 0 {
		return err
	}
	dead := t.newID(1)
	for _, u := range c.unused {
		t.remove(u.key)
		t.put(append(tableKey(tableParts, dead), u.key[len(u.key)-numberLen:]...), u.value)
	}
	return t.enqueue(&metapb.QueueRow{BodyId: dead})
}

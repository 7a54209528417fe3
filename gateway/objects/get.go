package objects

import (
	"bytes"
	"context"

	"minikv/gateway/payload"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of reading.
const (
	openTriesMax   = 4    // a version that vanishes between its row and its first byte
	firstPartsPage = 32   // part rows that come with the object's row
	partsPageMax   = 1000 // part rows of one query
)

// GetRequest names a version of an object and says what is likely to be read of it, so that one metadata read is enough.
type GetRequest struct {
	Bucket  object.Bucket
	Key     object.Key
	Version string // as the client wrote it; "": the current one
	// PartNumber asks for one part, 1 to 10,000. 0: none.
	PartNumber uint32
	// WantBody says that bytes will be read, from Offset on; with FromEnd, Offset counts back from the end. Only a hint.
	WantBody bool
	Offset   uint64
	FromEnd  bool
	// ReadOptions say for whom the bytes are read.
	payload.ReadOptions
}

// Object is a version as one metadata read found it.
type Object struct {
	Bucket *metapb.BucketRow
	Row    *metapb.ObjectRow // nil: no such key or version. It may be a delete marker
	Size   uint64            // of the whole object, in bytes
	// Part is the row of the part that PartNumber asked for. nil: no such part, or a body that is not made of parts.
	Part *metapb.PartRow

	objects *Objects
	request *GetRequest       // nil: made by OfRow
	parts   []*metapb.PartRow // the first page, from about the wanted offset on
	more    bool              // parts follow after the page
}

// Stat reads a version's row, linearizably and in one metadata read. A missing key is not an error here, so that the caller
// authorizes before it tells: Row is nil. A missing bucket is errs.NoSuchBucket.
func (o *Objects) Stat(ctx context.Context, req GetRequest) (*Object, error) {
	const op = "objects.Stat"
	q := &metapb.GetObjectQuery{Bucket: string(req.Bucket), Key: string(req.Key), Version: req.Version}
	switch {
	case req.PartNumber > 0:
		q.WantParts, q.PartNumber, q.PartsLimit = true, req.PartNumber, 1
	case req.WantBody:
		q.WantParts, q.Offset, q.OffsetFromEnd, q.PartsLimit = true, req.Offset, req.FromEnd, firstPartsPage
	}
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_GetObject{GetObject: q}})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	g := a.GetGetObject()
	if g.GetBucket() == nil {
		return nil, errs.E(op, errs.NoSuchBucket, "%s", req.Bucket)
	}
	obj := &Object{Bucket: g.Bucket, Row: g.Row, Size: g.Row.GetSize(), objects: o, request: &req, parts: g.Parts, more: g.MoreParts}
	if req.PartNumber > 0 && len(g.Parts) > 0 && g.Parts[0].Number == req.PartNumber {
		obj.Part = g.Parts[0]
	}
	return obj, nil
}

// Open reads a version: its row, then decide looks at it (authorization, conditions, range) and says which n bytes from off are
// wanted, and then the first bytes, verified. Should the version vanish in between, it starts over, a few times; decide is then
// called again. decide's error is returned as it is, with the object. n = 0 gives an empty Reader. Close the Reader.
func (o *Objects) Open(ctx context.Context, req GetRequest, decide func(*Object) (off, n uint64, err error)) (*Object, *payload.Reader, error) {
	for try := 1; ; try++ {
		obj, err := o.Stat(ctx, req)
		if err != nil {
			return nil, nil, err
		}
		off, n, err := decide(obj)
		if err != nil {
			return obj, nil, err
		}
		r, err := obj.Range(ctx, off, n)
		switch {
		case err == nil:
			return obj, r, nil
		case !errs.Is(err, errs.SourceChanged):
			return obj, nil, err
		case try == openTriesMax:
			return obj, nil, errs.WrapKind("objects.Open", errs.Unavailable, err)
		}
	}
}

// OfRow makes an Object of a row from a listing or a batch, to read its body.
func (o *Objects) OfRow(bucket *metapb.BucketRow, row *metapb.ObjectRow) *Object {
	return &Object{Bucket: bucket, Row: row, Size: row.GetSize(), objects: o, more: true}
}

// PartRange is where part number of the object lies. An object that is not made of parts is its own part 1. Other numbers are
// errs.InvalidPartNumber. Only for the PartNumber that was asked for.
func (obj *Object) PartRange(number uint32) (off, n uint64, err error) {
	switch {
	case obj.Part != nil && obj.Part.Number == number:
		return obj.Part.Offset, obj.Part.Size, nil
	case obj.Row.GetParts() == 0 && number == 1:
		return 0, obj.Size, nil
	}
	return 0, 0, errs.E("objects.PartRange", errs.InvalidPartNumber, "the object has no part %d", number)
}

// Range reads n bytes from off on; they must lie within the object, else errs.InvalidRange. The first bytes are read and verified
// before it returns. errs.SourceChanged: the version is gone, stat again (Open does). Close the Reader.
func (obj *Object) Range(ctx context.Context, off, n uint64) (*payload.Reader, error) {
	const op = "objects.Range"
	if off > obj.Size || n > obj.Size-off {
		return nil, errs.E(op, errs.InvalidRange, "bytes %d to %d of an object of %d", off, off+n, obj.Size)
	}
	var slices payload.Slices
	switch {
	case obj.Row.GetRun() != nil:
		slices = payload.OneSlice(obj.Row.Run, off, n)
	case n > 0:
		slices = obj.partSlices(off)
	}
	var opt payload.ReadOptions
	if obj.request != nil {
		opt = obj.request.ReadOptions
	}
	r, err := obj.objects.store.NewReader(ctx, slices, n, opt)
	if err == nil {
		return r, nil
	}
	if !errs.Is(err, errs.BlobMissing) {
		return nil, errs.Wrap(op, err)
	}
	gone, serr := obj.gone(ctx)
	switch {
	case serr != nil:
		return nil, errs.Wrap(op, serr)
	case gone:
		return nil, errs.WrapKind(op, errs.SourceChanged, err)
	}
	return nil, errs.WrapKind(op, errs.Unavailable, err)
}

// gone says whether the key has another version now than this one.
func (obj *Object) gone(ctx context.Context) (bool, error) {
	if obj.request == nil {
		return true, nil
	}
	now, err := obj.objects.Stat(ctx, *obj.request)
	if errs.Is(err, errs.NoSuchBucket) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return !bytes.Equal(now.Row.GetVersion(), obj.Row.GetVersion()), nil
}

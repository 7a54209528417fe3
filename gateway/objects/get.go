package objects

import (
	"context"

	"minikv/gateway/payload"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
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
}

// Object is a version as one metadata read found it.
type Object struct {
	Bucket *metapb.BucketRow
	Row    *metapb.ObjectRow // nil: no such key or version. It may be a delete marker
	Size   uint64            // of the whole object, in bytes
	// Part is the row of the part that PartNumber asked for. nil: no such part, or a body that is not made of parts.
	Part *metapb.PartRow

	objects *Objects
	parts   []*metapb.PartRow // the first page, from about the wanted offset on
	more    bool              // parts follow after the page
}

// Stat reads a version's row, linearizably and in one metadata read. A missing key is not an error here, so that the caller
// authorizes before it tells: Row is nil. A missing bucket is errs.NoSuchBucket.
func (o *Objects) Stat(ctx context.Context, req GetRequest) (*Object, error) {
	return nil, errs.E("objects.Stat", errs.Unsupported, "not built yet")
}

// Open reads a version: its row, then decide looks at it (authorization, conditions, range) and says which n bytes from off are
// wanted, and then the first bytes, verified. Should the version vanish in between, it starts over, a few times; decide is then
// called again. decide's error is returned as it is, with the object. n = 0 gives an empty Reader. Close the Reader.
func (o *Objects) Open(ctx context.Context, req GetRequest, decide func(*Object) (off, n uint64, err error)) (*Object, *payload.Reader, error) {
	return nil, nil, errs.E("objects.Open", errs.Unsupported, "not built yet")
}

// OfRow makes an Object of a row from a listing or a batch, to read its body.
func (o *Objects) OfRow(bucket *metapb.BucketRow, row *metapb.ObjectRow) *Object {
	return &Object{Bucket: bucket, Row: row, Size: row.GetSize(), objects: o}
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
	return nil, errs.E("objects.Range", errs.Unsupported, "not built yet")
}

// PartsPage is a page of a completed object's parts.
type PartsPage struct {
	Parts []*metapb.PartRow // completed ones, by number; Offset and Size say where they lie
	More  bool
}

// Parts lists the parts of a completed multipart object after a part number, at most limit (1 to 1,000). An object without
// parts has none.
func (obj *Object) Parts(ctx context.Context, after, limit uint32) (*PartsPage, error) {
	return nil, errs.E("objects.Parts", errs.Unsupported, "not built yet")
}

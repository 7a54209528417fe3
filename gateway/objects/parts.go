package objects

import (
	"context"

	"minikv/gateway/payload"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// PartsPage is a page of a completed object's parts.
type PartsPage struct {
	Parts []*metapb.PartRow // completed ones, by number; Offset and Size say where they lie
	More  bool
}

// Parts lists the parts of a completed multipart object after a part number, at most limit (1 to 1,000). An object without
// parts has none.
func (obj *Object) Parts(ctx context.Context, after, limit uint32) (*PartsPage, error) {
	if len(obj.Row.GetBodyId()) == 0 {
		return &PartsPage{}, nil
	}
	page, err := obj.objects.bodyParts(ctx, &metapb.BodyPartsQuery{BodyId: obj.Row.BodyId, After: after, Limit: limit})
	return page, errs.Wrap("objects.Parts", err)
}

// bodyParts reads a page; a body that is gone is errs.BlobMissing.
func (o *Objects) bodyParts(ctx context.Context, q *metapb.BodyPartsQuery) (*PartsPage, error) {
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_BodyParts{BodyParts: q}})
	if err != nil {
		return nil, err
	}
	b := a.GetBodyParts()
	if b.GetBody() == nil {
		return nil, errs.E("objects.bodyParts", errs.BlobMissing, "the body is gone")
	}
	page := &PartsPage{Parts: make([]*metapb.PartRow, 0, len(b.Parts)), More: b.More}
	for _, p := range b.Parts {
		if p.Completed {
			page.Parts = append(page.Parts, p)
		}
	}
	if len(page.Parts) == 0 && b.More {
		return nil, errs.E("objects.bodyParts", errs.Corrupt, "an empty page of parts")
	}
	return page, nil
}

// partWalk gives the slices of a body of parts from an offset on, page by page.
type partWalk struct {
	obj    *Object
	parts  []*metapb.PartRow // still to come, of this page
	more   bool
	after  uint32 // last part number seen
	at     uint64 // offset in the body of the next byte
	slices []*metapb.Slice
}

// partSlices begins at off, below the object's size; the page that came with the row is used if it reaches there.
func (obj *Object) partSlices(off uint64) payload.Slices {
	w := &partWalk{obj: obj, at: off, more: true}
	for i, p := range obj.parts {
		if p.Completed && p.Offset <= off && off-p.Offset < p.Size {
			w.parts, w.more = obj.parts[i:], obj.more
			break
		}
	}
	return w.next
}

func (w *partWalk) next(ctx context.Context) (*metapb.Slice, error) {
	for len(w.slices) == 0 {
		ok, err := w.part(ctx)
		if !ok || err != nil {
			return nil, err
		}
	}
	s := w.slices[0]
	w.slices = w.slices[1:]
	w.at += s.Length
	return s, nil
}

// part opens the part that holds the next byte. It checks that parts follow one another without a gap and that a part's slices
// make up its size, so that no row damaged or misread can shift bytes.
func (w *partWalk) part(ctx context.Context) (bool, error) {
	const op = "objects.partWalk"
	if len(w.parts) == 0 {
		if !w.more {
			return false, nil
		}
		if err := w.page(ctx); err != nil {
			return false, errs.Wrap(op, err)
		}
		if len(w.parts) == 0 {
			return false, nil
		}
	}
	p, first := w.parts[0], w.after == 0
	w.parts, w.after = w.parts[1:], p.Number
	if w.at < p.Offset || w.at-p.Offset > p.Size || !first && w.at != p.Offset {
		return false, errs.E(op, errs.Corrupt, "part %d lies at %d, not at %d", p.Number, p.Offset, w.at)
	}
	var sum uint64
	for _, s := range p.Slices {
		sum += s.Length
	}
	if sum != p.Size {
		return false, errs.E(op, errs.Corrupt, "the slices of part %d have %d bytes, not %d", p.Number, sum, p.Size)
	}
	w.slices = trimmed(p.Slices, w.at-p.Offset)
	return true, nil
}

// page reads the parts from the next byte on.
func (w *partWalk) page(ctx context.Context) error {
	q := &metapb.BodyPartsQuery{BodyId: w.obj.Row.GetBodyId(), Limit: partsPageMax}
	if w.after == 0 {
		q.Offset = w.at
	} else {
		q.After = w.after
	}
	page, err := w.obj.objects.bodyParts(ctx, q)
	if err != nil {
		return err
	}
	w.parts, w.more = page.Parts, page.More
	return nil
}

// trimmed is slices without their first skip bytes. The rows are shared, so it changes none.
func trimmed(slices []*metapb.Slice, skip uint64) []*metapb.Slice {
	for len(slices) > 0 && skip >= slices[0].Length {
		skip -= slices[0].Length
		slices = slices[1:]
	}
	if skip == 0 || len(slices) == 0 {
		return slices
	}
	out := append([]*metapb.Slice(nil), slices...)
	out[0] = &metapb.Slice{Run: slices[0].Run, Offset: slices[0].Offset + skip, Length: slices[0].Length - skip}
	return out
}

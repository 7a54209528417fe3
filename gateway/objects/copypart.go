package objects

import (
	"context"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// CopyPartRequest makes a part of a range of an object. No bytes are written.
type CopyPartRequest struct {
	UploadTarget
	Number uint32
	Source CopySource
	// Range is off, n, both in bytes; nil: the whole source. Past the source's end: errs.Invalid.
	Range *[2]uint64
}

// CopyPart references a range of the source. The range is read once for its digests, unless it is exactly one recorded part or
// a whole plain object with the upload's checksum.
func (o *Objects) CopyPart(ctx context.Context, req CopyPartRequest) (*PartResult, error) {
	const op = "objects.CopyPart"
	ctx, cancel := context.WithTimeout(ctx, o.writeLimit)
	defer cancel()
	up, err := o.openUpload(ctx, &req.UploadTarget)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	own := orDefault(digest.Algorithm(up.ChecksumAlgorithm))
	for try := 1; ; try++ {
		made, err := o.copyPart(ctx, &req, own)
		if err == nil {
			made.Upload = up
			return made, nil
		}
		if !errs.Is(err, errs.SourceChanged) || try == openTriesMax {
			return nil, errs.Wrap(op, err)
		}
	}
}

// copyPart reads the digests of one version of the source and proposes the part; errs.SourceChanged: that version is gone.
func (o *Objects) copyPart(ctx context.Context, req *CopyPartRequest, own digest.Algorithm) (*PartResult, error) {
	var hint uint64
	if req.Range != nil {
		hint = req.Range[0]
	}
	src, err := o.sourceOf(ctx, &req.Source, hint)
	if err != nil {
		return nil, err
	}
	off, n := uint64(0), src.Size
	if req.Range != nil {
		off, n = req.Range[0], req.Range[1]
	}
	if off > src.Size || n > src.Size-off {
		return nil, errs.E("objects.CopyPart", errs.Invalid, "Range specified is not valid for source object of size: %d", src.Size)
	}
	if n > object.PartBytesMax { // before it is read for its digests
		return nil, errs.E("objects.CopyPart", errs.EntityTooLarge, "%d bytes of the source; a part has at most %d", n, uint64(object.PartBytesMax))
	}
	made, ok := src.recorded(off, n, own)
	if !ok {
		sums, err := src.sums(ctx, off, n, own)
		if err != nil {
			return nil, err
		}
		made = &PartResult{ETag: sums.MD5, Size: n, Checksums: recordedChecksums(&sums, own, nil)}
	}
	made.Source = src.Row
	res, _, err := o.decide(ctx, "", bothScopes(req.Scope, &req.Source), func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_CopyPart{CopyPart: &metapb.CopyPart{
			Upload: req.ref(b), Number: req.Number, Source: req.Source.row(src.Row.Version), Offset: off, Length: n,
			Etag: made.ETag[:], Checksums: made.Checksums,
		}}}
	})
	if err != nil {
		return nil, err
	}
	made.ModifiedMs = res.GetPut().GetModifiedMs()
	return made, nil
}

// recorded gives the digests of a range if rows have them: of exactly one part, or of a whole object that is not made of parts.
func (obj *Object) recorded(off, n uint64, own digest.Algorithm) (*PartResult, bool) {
	etag, sums := obj.Row.Etag, []*metapb.Checksum{obj.Row.Checksum}
	if obj.Row.Parts > 0 {
		p := obj.partAt(off, n)
		if p == nil {
			return nil, false
		}
		etag, sums = p.Etag, p.Checksums
	} else if off != 0 || n != obj.Size || obj.Row.EtagParts > 0 {
		return nil, false
	}
	made := &PartResult{Size: n}
	if copy(made.ETag[:], etag) != len(made.ETag) {
		return nil, false
	}
	for _, c := range sums {
		if d := DigestChecksum(c); d.Algorithm == own && d.Type == digest.FullObject {
			made.Checksums = append(made.Checksums, c)
			return made, true
		}
	}
	return nil, false
}

// partAt is the part that is exactly the range, if it is on the page that came with the row.
func (obj *Object) partAt(off, n uint64) *metapb.PartRow {
	for _, p := range obj.parts {
		if p.Completed && p.Offset == off && p.Size == n {
			return p
		}
	}
	return nil
}

// sums reads a range once for its MD5 and a checksum; at most as much as a part has, since the client waits.
func (obj *Object) sums(ctx context.Context, off, n uint64, own digest.Algorithm) (digest.Sums, error) {
	if n > object.PartBytesMax {
		return digest.Sums{}, errs.E("objects.sums", errs.InvalidRequest,
			"The specified copy source is larger than the maximum allowable size for a copy source: %d", uint64(object.PartBytesMax))
	}
	r, err := obj.Range(ctx, off, n)
	if err != nil {
		return digest.Sums{}, err
	}
	defer r.Close()
	h := digest.NewHasher(digest.Options{MD5: true, Checksums: digest.SetOf(own)})
	defer h.Release()
	if _, err := r.WriteTo(h); err != nil {
		return digest.Sums{}, err
	}
	return h.Sums(), nil
}

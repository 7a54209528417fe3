package objects

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"minikv/gateway/payload"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of verifying contents.
const (
	contentsPage   = 500       // keys of one listing
	contentsBuffer = 256 << 10 // bytes read at once; the reader holds two more of at most 1 MiB
)

// ContentsOptions say what VerifyContents reads.
type ContentsOptions struct {
	Bucket string // only this one; "": all
	// Pace waits until n bytes may be read. nil: as fast as it goes.
	Pace func(ctx context.Context, n int64) error
}

// WrongContent is an object whose bytes are not what is told of them.
type WrongContent struct {
	Bucket, Key, Version string
	Kind                 string // "etag", "checksum", "part etag", "part checksum", "size", "unread"
	Text                 string
}

// Contents is what VerifyContents did so far.
type Contents struct {
	Buckets, Objects, Bytes int64
	Wrong                   int64 // objects with something wrong
	Unread                  int64 // objects that could not be read to their end
	Changed                 int64 // objects that were overwritten or deleted meanwhile
}

// VerifyContents reads every current object as a GET does, from any good replica, and compares its ETag and its checksum, and those of its
// parts, with its bytes. It holds one object's buffers at a time. found and progress are called as it goes; an error of theirs ends it.
func (o *Objects) VerifyContents(ctx context.Context, opt ContentsOptions, found func(WrongContent) error, progress func(Contents) error) (Contents, error) {
	const op = "objects.VerifyContents"
	v := &contents{o: o, opt: opt, found: found, progress: progress, buf: make([]byte, contentsBuffer)}
	q := &metapb.ListBucketsQuery{Limit: contentsPage}
	if opt.Bucket != "" {
		err := v.bucket(ctx, opt.Bucket)
		return v.did, errs.Wrap(op, err)
	}
	for {
		page, err := o.ListBuckets(ctx, q)
		if err != nil {
			return v.did, errs.Wrap(op, err)
		}
		for _, b := range page.Buckets {
			if err := v.bucket(ctx, b.Name); err != nil && !errs.Is(err, errs.NoSuchBucket) {
				return v.did, errs.Wrap(op, err)
			}
			q.After = b.Name
		}
		if !page.Truncated || len(page.Buckets) == 0 {
			return v.did, nil
		}
	}
}

// contents is one run of VerifyContents.
type contents struct {
	o        *Objects
	opt      ContentsOptions
	found    func(WrongContent) error
	progress func(Contents) error
	buf      []byte
	did      Contents
	bad      bool // something is wrong with the present object
}

func (v *contents) bucket(ctx context.Context, name string) error {
	q := &metapb.ListObjectsQuery{Bucket: name, Limit: contentsPage}
	for {
		page, err := v.o.List(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.Row == nil {
				continue
			}
			if err := v.object(ctx, name, e.Key); err != nil {
				return err
			}
			if err := v.progress(v.did); err != nil {
				return err
			}
			q.After = e.Key
		}
		if !page.Truncated || len(page.Entries) == 0 {
			v.did.Buckets++
			return nil
		}
	}
}

// object verifies what the key holds now.
func (v *contents) object(ctx context.Context, bucket, key string) error {
	v.bad = false
	req := GetRequest{Bucket: object.Bucket(bucket), Key: object.Key(key), WantBody: true}
	obj, body, err := v.o.Open(ctx, req, func(obj *Object) (uint64, uint64, error) { return 0, obj.Size, nil })
	if err == nil {
		defer body.Close()
		if obj.Row == nil {
			v.did.Changed++
			return nil
		}
		err = v.body(ctx, obj, key, body)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		v.did.Objects++
		if v.bad {
			v.did.Wrong++
		}
		return nil
	case obj == nil || obj.Row == nil:
		return err
	}
	if gone, gerr := obj.gone(ctx); gerr != nil || gone {
		v.did.Changed++
		return gerr
	}
	v.did.Unread++
	return v.found(v.wrong(obj, key, "unread", errs.Message(err)))
}

func (v *contents) wrong(obj *Object, key, kind, text string) WrongContent {
	version := hex.EncodeToString(obj.Row.Version)
	if obj.Row.NullVersion {
		version = "null"
	}
	return WrongContent{Bucket: obj.Bucket.GetName(), Key: key, Version: version, Kind: kind, Text: text}
}

// differs reports one thing that is wrong.
func (v *contents) differs(obj *Object, key, kind, format string, args ...any) error {
	v.bad = true
	return v.found(v.wrong(obj, key, kind, fmt.Sprintf(format, args...)))
}

// body reads an object part by part, or as one, and compares.
func (v *contents) body(ctx context.Context, obj *Object, key string, body *payload.Reader) error {
	want := DigestChecksum(obj.Row.Checksum)
	need := digest.Options{MD5: obj.Row.EtagParts == 0}
	composite := want.Type == digest.Composite
	if !want.IsZero() && !composite {
		need.Checksums = digest.SetOf(want.Algorithm)
	}
	whole := digest.NewHasher(need)
	defer whole.Release()
	var etag digest.ETagJoiner
	var join *digest.Joiner
	if composite {
		var err error
		if join, err = digest.NewJoiner(want.Algorithm, digest.Composite); err != nil {
			return err
		}
	}
	if obj.Row.EtagParts == 0 {
		if err := v.read(ctx, body, obj.Size, whole); err != nil {
			return err
		}
	} else if err := v.parts(ctx, obj, key, body, want.Algorithm, whole, &etag, join); err != nil {
		return err
	}
	sums := whole.Sums()
	got, is := sums.ETag(), RowETag(obj.Row)
	if obj.Row.EtagParts > 0 {
		got = etag.ETag()
	}
	if got != is {
		if err := v.differs(obj, key, "etag", "its bytes have the ETag %s, not %s", got, is); err != nil {
			return err
		}
	}
	if want.IsZero() {
		return nil
	}
	sum := sums.Checksum(want.Algorithm)
	if composite {
		sum = join.Checksum()
	}
	if sum != want {
		return v.differs(obj, key, "checksum", "its bytes have %s %s, not %s", want.Algorithm, sum, want)
	}
	return nil
}

// parts reads the parts of an object in their order. An object of parts whose body is one whole run has one part, and no row of it.
func (v *contents) parts(ctx context.Context, obj *Object, key string, body *payload.Reader, a digest.Algorithm, whole *digest.Hasher,
	etag *digest.ETagJoiner, join *digest.Joiner) error {
	if len(obj.Row.GetBodyId()) == 0 {
		return v.part(ctx, obj, key, body, &metapb.PartRow{Number: 1, Size: obj.Size}, a, whole, etag, join)
	}
	read, after := uint64(0), uint32(0)
	for {
		page, err := obj.Parts(ctx, after, partsPageMax)
		if err != nil {
			return err
		}
		for _, p := range page.Parts {
			if p.Offset != read || p.Size > obj.Size-read {
				return v.differs(obj, key, "size", "part %d lies at %d, %d bytes long, and %d bytes are before it", p.Number, p.Offset, p.Size, read)
			}
			if err := v.part(ctx, obj, key, body, p, a, whole, etag, join); err != nil {
				return err
			}
			read, after = read+p.Size, p.Number
		}
		if !page.More || len(page.Parts) == 0 {
			break
		}
	}
	if read != obj.Size {
		return v.differs(obj, key, "size", "its parts have %d bytes, not %d", read, obj.Size)
	}
	return nil
}

// part reads one part and compares it with its row.
func (v *contents) part(ctx context.Context, obj *Object, key string, body *payload.Reader, p *metapb.PartRow, a digest.Algorithm,
	whole *digest.Hasher, etag *digest.ETagJoiner, join *digest.Joiner) error {
	need := digest.Options{MD5: true}
	if join != nil {
		need.Checksums = digest.SetOf(a)
	}
	for _, c := range p.Checksums {
		if sum := DigestChecksum(c); !sum.IsZero() {
			need.Checksums = need.Checksums.With(sum.Algorithm)
		}
	}
	h := digest.NewHasher(need)
	defer h.Release()
	if err := v.read(ctx, body, p.Size, io.MultiWriter(h, whole)); err != nil {
		return err
	}
	sums := h.Sums()
	etag.Add(sums.MD5)
	if len(p.Etag) > 0 && string(p.Etag) != string(sums.MD5[:]) {
		if err := v.differs(obj, key, "part etag", "part %d has the ETag %x, not %x", p.Number, sums.MD5, p.Etag); err != nil {
			return err
		}
	}
	for _, c := range p.Checksums {
		is := DigestChecksum(c)
		if got := sums.Checksum(is.Algorithm); !is.IsZero() && got != is {
			if err := v.differs(obj, key, "part checksum", "part %d has %s %s, not %s", p.Number, is.Algorithm, got, is); err != nil {
				return err
			}
		}
	}
	if join == nil {
		return nil
	}
	return join.Add(sums.Checksum(a), p.Size)
}

// read gives n bytes of a body to w, at the pace.
func (v *contents) read(ctx context.Context, body *payload.Reader, n uint64, w io.Writer) error {
	for n > 0 {
		p := v.buf[:min(n, uint64(len(v.buf)))]
		if v.opt.Pace != nil {
			if err := v.opt.Pace(ctx, int64(len(p))); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(body, p); err != nil {
			return err
		}
		w.Write(p) // hashers do not fail
		v.did.Bytes += int64(len(p))
		n -= uint64(len(p))
	}
	return ctx.Err()
}

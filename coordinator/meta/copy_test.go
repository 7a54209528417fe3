package meta

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func copyOp(b *metapb.BucketRef, from, to string) *metapb.CopyObject {
	return &metapb.CopyObject{Source: &metapb.Source{Bucket: b, Key: from}, Bucket: b, Key: to, Owner: "bob"}
}

func copyCommand(op *metapb.CopyObject) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_CopyObject{CopyObject: op}}
}

func TestCopyCountsReferences(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	w := h.written(5)
	o := newObject("x", 5)
	o.Attributes, o.Tags = &metapb.Attributes{ContentType: "text/plain"}, []*metapb.Pair{{Name: "a", Value: "b"}}
	h.do(putCommand(b, "a", o, w, nil))
	h.time++
	r := h.do(copyCommand(copyOp(b, "a", "b"))).GetPut()
	src, dst := h.get(b, "a"), h.get(b, "b")
	require.Equal(t, src.Version, r.SourceVersion)
	require.True(t, r.SourceNull)
	equal(t, src.Attributes, dst.Attributes)
	require.Len(t, dst.Tags, 1)
	require.Equal(t, src.Etag, dst.Etag)
	require.Equal(t, []any{"bob", int64(testTime + 1)}, []any{dst.Owner, dst.ModifiedMs})

	self := copyOp(b, "b", "b")
	self.ReplaceAttributes, self.ReplaceTags, self.Attributes = true, true, &metapb.Attributes{ContentType: "image/png"}
	h.do(copyCommand(self))
	require.Equal(t, "image/png", h.get(b, "b").Attributes.ContentType)
	require.Empty(t, h.get(b, "b").Tags)

	h.remove(b, "a")
	require.Equal(t, uint32(RunAlive), h.state(w))
	require.Empty(t, h.queue())
	h.remove(b, "b")
	require.Equal(t, uint32(RunDying), h.state(w))
}

func TestCopySharesABody(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", digest.CRC32, digest.FullObject)
	u.part(1, "one", partSize, digest.CRC32)
	u.part(2, "two", 3, digest.CRC32)
	h.do(completeCommand(u.complete()))
	h.do(copyCommand(copyOp(b, "f", "g")))
	f, g := h.get(b, "f"), h.get(b, "g")
	equal(t, f.Checksum, g.Checksum)
	require.Equal(t, []any{f.EtagParts, f.Parts, f.BodyId}, []any{g.EtagParts, g.Parts, g.BodyId})
	h.remove(b, "f")
	h.drain()
	require.Equal(t, 2, h.rows(tableParts))
	h.remove(b, "g")
	h.drain()
	require.Zero(t, h.rows(tableParts)+h.rows(tableBodies)+h.rows(tableRuns))
}

func TestCopyRefusals(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	first := h.put(b, "a", 5)
	h.put(b, "b", 5)
	edit := func(f func(*metapb.CopyObject)) *metapb.Command {
		op := copyOp(b, "a", "b")
		f(op)
		return copyCommand(op)
	}
	for name, c := range map[string]struct {
		kind errs.Kind
		f    func(*metapb.CopyObject)
	}{
		"no source":     {errs.NoSuchKey, func(op *metapb.CopyObject) { op.Source.Key = "nix" }},
		"no version":    {errs.NoSuchVersion, func(op *metapb.CopyObject) { op.Source.Version = "000000000000000000000001" }},
		"bad version":   {errs.Invalid, func(op *metapb.CopyObject) { op.Source.Version = "1" }},
		"no bucket":     {errs.NoSuchBucket, func(op *metapb.CopyObject) { op.Source.Bucket = &metapb.BucketRef{Name: "nix"} }},
		"condition":     {errs.Precondition, func(op *metapb.CopyObject) { op.Source.Conditions = &metapb.Conditions{IfNoneMatchAny: true} }},
		"destination":   {errs.Precondition, func(op *metapb.CopyObject) { op.Conditions = &metapb.Conditions{IfNoneMatchAny: true} }},
		"changed":       {errs.SourceChanged, func(op *metapb.CopyObject) { op.Source.Expect = make([]byte, versionLen) }},
		"blind digest":  {errs.Invalid, func(op *metapb.CopyObject) { op.Checksum = crc64("x") }},
		"no key":        {errs.Invalid, func(op *metapb.CopyObject) { op.Key = "" }},
		"no source key": {errs.Invalid, func(op *metapb.CopyObject) { op.Source = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			if name == "no source key" {
				c.kind = errs.NoSuchBucket
			}
			h.refused(c.kind, edit(c.f))
		})
	}
	h.t = t
	h.do(edit(func(op *metapb.CopyObject) {
		op.Source.Expect, op.Source.Version, op.Checksum = first.Version, "null", crc64("x")
	}))
	equal(t, crc64("x"), h.get(b, "b").Checksum)
}

func TestCopyPartReferencesSlices(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	src := h.upload(b, "src", 0, 0)
	one := src.part(1, "one", partSize)
	two := src.part(2, "two", partSize)
	done := h.do(completeCommand(src.complete())).GetPut()

	u := h.upload(b, "dst", 0, 0)
	sum := newObject("slice", 0).Etag
	op := &metapb.CopyPart{
		Upload: u.ref, Number: 1, Source: &metapb.Source{Bucket: b, Key: "src", Expect: done.Version},
		Offset: partSize - 10, Length: 15, Etag: sum, Checksums: []*metapb.Checksum{crc64("slice")},
	}
	cmd := &metapb.Command{Op: &metapb.Command_CopyPart{CopyPart: op}}
	h.do(cmd)
	u.name(1, "slice")
	h.do(cmd) // overwrites itself
	list := h.read(&metapb.Query{Q: &metapb.Query_BodyParts{BodyParts: &metapb.BodyPartsQuery{BodyId: u.ref.UploadId}}}).GetBodyParts()
	require.Nil(t, list.Body, "not complete yet")
	h.do(completeCommand(u.complete()))
	parts := h.read(&metapb.Query{Q: &metapb.Query_BodyParts{BodyParts: &metapb.BodyPartsQuery{BodyId: u.ref.UploadId}}}).GetBodyParts().Parts
	require.Len(t, parts, 1)
	require.Len(t, parts[0].Slices, 2)
	for i, want := range []*metapb.Slice{{Run: one.Run, Offset: partSize - 10, Length: 10}, {Run: two.Run, Offset: 0, Length: 5}} {
		equal(t, want, parts[0].Slices[i])
	}
	h.remove(b, "src")
	h.drain()
	require.Equal(t, uint32(RunAlive), h.state(one))
	require.Equal(t, uint32(RunAlive), h.state(two))
	h.remove(b, "dst")
	h.drain()
	require.Zero(t, h.rows(tableRuns)+h.rows(tableParts)+h.rows(tableQueue))
}

func TestCopyPartRefusals(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	src := h.put(b, "src", 10)
	u := h.upload(b, "dst", 0, 0)
	good := &metapb.CopyPart{
		Upload: u.ref, Number: 1, Source: &metapb.Source{Bucket: b, Key: "src", Expect: src.Version}, Offset: 5, Length: 5,
		Etag: newObject("x", 0).Etag,
	}
	for name, c := range map[string]struct {
		kind errs.Kind
		f    func(*metapb.CopyPart)
	}{
		"past the end": {errs.Invalid, func(op *metapb.CopyPart) { op.Length = 6 }},
		"overflow":     {errs.Invalid, func(op *metapb.CopyPart) { op.Offset = ^uint64(0) }},
		"too large":    {errs.EntityTooLarge, func(op *metapb.CopyPart) { op.Length = ^uint64(0) }},
		"unread":       {errs.Invalid, func(op *metapb.CopyPart) { op.Source.Expect = nil }},
		"number":       {errs.Invalid, func(op *metapb.CopyPart) { op.Number = 10001 }},
		"changed":      {errs.SourceChanged, func(op *metapb.CopyPart) { op.Source.Expect = make([]byte, versionLen) }},
		"no upload":    {errs.NoSuchUpload, func(op *metapb.CopyPart) { op.Upload.UploadId = make([]byte, idLen) }},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			op := proto.Clone(good).(*metapb.CopyPart)
			c.f(op)
			h.refused(c.kind, &metapb.Command{Op: &metapb.Command_CopyPart{CopyPart: op}})
		})
	}
	h.t = t
	h.do(&metapb.Command{Op: &metapb.Command_CopyPart{CopyPart: good}})
}

func TestSlicesPerPartAreBounded(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	src := h.upload(b, "src", 0, 0)
	src.part(1, "one", partSize)
	done := h.do(completeCommand(src.complete())).GetPut()
	key := partKey(src.ref.UploadId, 1)
	row := new(metapb.PartRow)
	_, err := load(h.db, key, row)
	require.NoError(t, err)
	whole := row.Slices[0]
	row.Slices = nil
	for i := range uint64(slicesMax) { // as if it had been copied from crumbs
		row.Slices = append(row.Slices, &metapb.Slice{Run: whole.Run, Offset: i, Length: 1})
	}
	row.Slices = append(row.Slices, &metapb.Slice{Run: whole.Run, Offset: slicesMax, Length: partSize - slicesMax})
	batch := h.db.NewBatch()
	require.NoError(t, setRow(batch, key, row))
	require.NoError(t, batch.Commit())

	u := h.upload(b, "dst", 0, 0)
	op := &metapb.CopyPart{
		Upload: u.ref, Number: 1, Source: &metapb.Source{Bucket: b, Key: "src", Expect: done.Version}, Length: slicesMax,
		Etag: newObject("x", 0).Etag,
	}
	cmd := &metapb.Command{Op: &metapb.Command_CopyPart{CopyPart: op}}
	h.do(cmd)
	op.Length++
	h.refused(errs.LimitExceeded, cmd)
}

func TestPutTags(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	put := h.put(b, "a", 5)
	tags := &metapb.PutTags{Bucket: b, Key: "a", Tags: []*metapb.Pair{{Name: "k", Value: "v"}}}
	cmd := &metapb.Command{Op: &metapb.Command_PutTags{PutTags: tags}}
	h.time += 5000
	h.do(cmd)
	row := h.get(b, "a")
	require.Equal(t, []any{put.Version, put.ModifiedMs, 1}, []any{row.Version, row.ModifiedMs, len(row.Tags)})
	tags.Tags = nil
	h.do(cmd)
	require.Empty(t, h.get(b, "a").Tags)
	tags.Key = "nix"
	h.refused(errs.NoSuchKey, cmd)
	tags.Version = "null"
	h.refused(errs.NoSuchVersion, cmd)
}

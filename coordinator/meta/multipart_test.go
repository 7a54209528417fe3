package meta

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// upload is a client's view of a multipart upload.
type upload struct {
	h     *harness
	ref   *metapb.UploadRef
	parts []*metapb.CompletePart
}

func (h *harness) upload(b *metapb.BucketRef, key string, a digest.Algorithm, typ digest.Type) *upload {
	h.t.Helper()
	c := createUpload(b, key)
	c.GetCreateUpload().ChecksumAlgorithm, c.GetCreateUpload().ChecksumType = uint32(a), uint32(typ)
	row := h.do(c).GetUpload()
	return &upload{h: h, ref: &metapb.UploadRef{Bucket: b, Key: key, UploadId: row.Id}}
}

func (u *upload) partCommand(number uint32, content string, w *metapb.Written, as ...digest.Algorithm) *metapb.Command {
	sum := md5.Sum([]byte(content))
	p := &metapb.PutPart{Upload: u.ref, Number: number, Size: w.GetRun().GetLength(), Etag: sum[:], Written: w}
	for _, a := range append(as, digest.CRC64NVME) {
		if a == digest.None || len(p.Checksums) > 0 && a == as[0] {
			continue
		}
		p.Checksums = append(p.Checksums, sumOf(a, content))
	}
	return &metapb.Command{Op: &metapb.Command_PutPart{PutPart: p}}
}

// part uploads a part of size bytes and names it for complete. Its digests are of content, which may be shorter.
func (u *upload) part(number uint32, content string, size uint64, as ...digest.Algorithm) *metapb.Written {
	u.h.t.Helper()
	w := u.h.written(size)
	u.h.do(u.partCommand(number, content, w, as...))
	u.name(number, content)
	return w
}

func (u *upload) name(number uint32, content string) {
	sum := md5.Sum([]byte(content))
	u.parts = append(u.parts, &metapb.CompletePart{Number: number, Etag: hex.EncodeToString(sum[:])})
}

func (u *upload) complete() *metapb.CompleteUpload {
	var parts []*metapb.CompletePart
	for _, p := range u.parts {
		parts = append(parts, proto.Clone(p).(*metapb.CompletePart))
	}
	return &metapb.CompleteUpload{Upload: u.ref, Parts: parts}
}

func completeCommand(op *metapb.CompleteUpload) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_CompleteUpload{CompleteUpload: op}}
}

func (u *upload) abort() *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_AbortUpload{AbortUpload: &metapb.AbortUpload{Upload: u.ref}}}
}

const partSize = object.PartBytesMin

func TestMultipartStory(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	one := u.part(1, "one", partSize)
	unused := u.part(2, "two", partSize)
	u.parts = u.parts[:1]
	overwritten := u.part(4, "first four", partSize)
	u.parts = u.parts[:1]
	four := u.part(4, "four", 7)
	require.Equal(t, uint32(RunDying), h.state(overwritten))
	require.Equal(t, uint64(1), h.stats().Uploads)

	put := h.do(completeCommand(u.complete())).GetPut()
	sums := md5.New()
	for _, c := range []string{"one", "four"} {
		s := md5.Sum([]byte(c))
		sums.Write(s[:])
	}
	require.Equal(t, sums.Sum(nil), put.Etag)
	require.Equal(t, uint32(2), put.EtagParts)
	require.Equal(t, uint64(partSize+7), put.Size)

	row := h.get(b, "f")
	require.Equal(t, u.ref.UploadId, row.BodyId)
	require.Equal(t, uint32(2), row.Parts)
	require.Zero(t, h.stats().Uploads)
	h.drain()
	require.Equal(t, uint32(RunNone), h.state(unused))
	require.Equal(t, uint32(RunAlive), h.state(one))
	require.Equal(t, 2, h.rows(tableParts))

	h.put(b, "f", 1)
	require.Len(t, h.queue(), 1)
	require.Equal(t, uint32(RunAlive), h.state(four), "released through the queue")
	h.drain()
	require.Equal(t, uint32(RunNone), h.state(four))
	require.Zero(t, h.rows(tableParts))
	require.Zero(t, h.rows(tableBodies))
	require.Equal(t, 1, h.rows(tableRuns))
}

// The checksum of a whole equals that of a single PUT.
func TestFullObjectChecksum(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	one, two := strings.Repeat("a", partSize), "tail"
	for _, a := range []digest.Algorithm{digest.None, digest.CRC64NVME, digest.CRC32, digest.CRC32C} {
		typ := digest.FullObject
		if a == digest.None {
			typ = digest.NoType
		}
		u := h.upload(b, "f", a, typ)
		u.part(1, one, uint64(len(one)), a)
		u.part(2, two, uint64(len(two)), a)
		if a == digest.None {
			a = digest.CRC64NVME
		}
		want := sumOf(a, one+two)
		op := u.complete()
		bad := sumOf(a, one+"tale")
		op.Checksum = bad
		h.refused(errs.BadDigest, completeCommand(op))
		op.Checksum, op.ChecksumType = want, uint32(digest.FullObject)
		equal(t, want, h.do(completeCommand(op)).GetPut().Checksum)
	}
}

// SDKs send a checksum of their own choice with every part, and some clients name it in the complete although the upload was
// created without an algorithm: it is compared with what was recorded, and the object's checksum stays CRC64NVME.
func TestChecksumsOfPartsOfAnUploadWithoutAlgorithm(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	u.part(1, "one", partSize, digest.CRC32)
	u.part(2, "two", 3, digest.CRC32)
	op := u.complete()
	op.Parts[0].Checksum = sumOf(digest.CRC32, "one")
	op.Parts[1].Checksum = sumOf(digest.CRC32, "other")
	h.refused(errs.InvalidPart, completeCommand(op))
	op.Parts[1].Checksum = sumOf(digest.SHA1, "two") // was not recorded
	h.refused(errs.InvalidPart, completeCommand(op))
	op.Parts[1].Checksum = sumOf(digest.CRC32, "two")
	require.Equal(t, uint32(digest.CRC64NVME), h.do(completeCommand(op)).GetPut().Checksum.Algorithm)
}

func TestCompositeChecksum(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", digest.SHA256, 0)
	h.refused(errs.InvalidRequest, u.partCommand(1, "one", h.written(partSize)))
	u.part(1, "one", partSize, digest.SHA256)
	u.part(2, "two", 3, digest.SHA256)
	op := u.complete()
	h.refused(errs.InvalidRequest, completeCommand(op)) // every part's checksum is needed
	op.Parts[0].Checksum, op.Parts[1].Checksum = sumOf(digest.SHA256, "one"), sumOf(digest.SHA1, "two")
	h.refused(errs.InvalidRequest, completeCommand(op)) // another algorithm
	op.Parts[1].Checksum = sumOf(digest.SHA256, "other")
	h.refused(errs.InvalidPart, completeCommand(op))
	op.Parts[1].Checksum = sumOf(digest.SHA256, "two")
	op.ChecksumType = uint32(digest.FullObject)
	h.refused(errs.BadDigest, completeCommand(op))
	op.ChecksumType = 0
	got := h.do(completeCommand(op)).GetPut().Checksum
	join := sumOf(digest.SHA256, string(sumOf(digest.SHA256, "one").Value)+string(sumOf(digest.SHA256, "two").Value))
	equal(t, &metapb.Checksum{Algorithm: uint32(digest.SHA256), Type: uint32(digest.Composite), Value: join.Value, Parts: 2}, got)
}

func TestCreateUploadChecksums(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	for _, c := range []struct {
		a    digest.Algorithm
		t    digest.Type
		want digest.Type // NoType: refused
	}{
		{digest.CRC32, 0, digest.Composite}, {digest.CRC64NVME, 0, digest.FullObject}, {digest.CRC32C, digest.FullObject, digest.FullObject},
		{digest.SHA1, digest.FullObject, 0}, {digest.CRC64NVME, digest.Composite, 0}, {0, digest.FullObject, 0}, {77, 0, 0},
	} {
		cmd := createUpload(b, "f")
		cmd.GetCreateUpload().ChecksumAlgorithm, cmd.GetCreateUpload().ChecksumType = uint32(c.a), uint32(c.t)
		if c.want == 0 {
			h.refused(errs.InvalidRequest, cmd)
			continue
		}
		require.Equal(t, uint32(c.want), h.do(cmd).GetUpload().ChecksumType)
	}
}

func TestCompleteRefusalsLeaveTheUploadOpen(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	u.part(1, "one", 100)
	u.part(2, "two", partSize)
	u.part(3, "three", 5)
	size := uint64(1)
	for name, c := range map[string]struct {
		kind errs.Kind
		edit func(*metapb.CompleteUpload)
	}{
		"order":     {errs.InvalidPartOrder, func(op *metapb.CompleteUpload) { op.Parts[0], op.Parts[1] = op.Parts[1], op.Parts[0] }},
		"twice":     {errs.InvalidPartOrder, func(op *metapb.CompleteUpload) { op.Parts[1] = op.Parts[0] }},
		"unknown":   {errs.InvalidPart, func(op *metapb.CompleteUpload) { op.Parts[2].Number = 9 }},
		"between":   {errs.InvalidPart, func(op *metapb.CompleteUpload) { op.Parts = op.Parts[1:]; op.Parts[1].Etag = "00" }},
		"too small": {errs.EntityTooSmall, func(*metapb.CompleteUpload) {}},
		"none":      {errs.MalformedBody, func(op *metapb.CompleteUpload) { op.Parts = nil }},
		"size":      {errs.InvalidRequest, func(op *metapb.CompleteUpload) { op.Parts = op.Parts[1:]; op.ObjectSize = &size }},
		"condition": {errs.NoSuchKey, func(op *metapb.CompleteUpload) {
			op.Parts = op.Parts[1:]
			op.Conditions = &metapb.Conditions{IfMatchAny: true}
		}},
		"other key": {errs.NoSuchUpload, func(op *metapb.CompleteUpload) {
			op.Upload = proto.Clone(op.Upload).(*metapb.UploadRef)
			op.Upload.Key = "g"
		}},
		"short id": {errs.NoSuchUpload, func(op *metapb.CompleteUpload) {
			op.Upload = proto.Clone(op.Upload).(*metapb.UploadRef)
			op.Upload.UploadId = []byte{1}
		}},
		"wrong digest": {errs.BadDigest, func(op *metapb.CompleteUpload) { op.Parts = op.Parts[2:]; op.Checksum = crc64("nope") }},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			op := u.complete()
			c.edit(op)
			h.refused(c.kind, completeCommand(op))
		})
	}
	h.t = t
	op := u.complete()
	op.Parts = op.Parts[1:]
	h.do(completeCommand(op))
}

func TestRepeatedComplete(t *testing.T) { // I8 of the design
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	u.part(1, "one", 10)
	first := h.do(completeCommand(u.complete())).GetPut()
	h.remove(b, "f")
	equal(t, first, h.do(completeCommand(u.complete())).GetPut())
	require.Nil(t, h.get(b, "f"))
	other := u.complete()
	other.Parts[0].Etag = strings.Repeat("0", 32)
	h.refused(errs.NoSuchUpload, completeCommand(other))
	h.refused(errs.NoSuchUpload, u.abort())
	h.refused(errs.NoSuchUpload, u.partCommand(2, "two", h.written(5)))
	a := h.read(&metapb.Query{Q: &metapb.Query_GetUpload{GetUpload: &metapb.GetUploadQuery{Bucket: "films", Key: "f", UploadId: u.ref.UploadId}}}).GetGetUpload()
	require.Nil(t, a.Upload)
	require.NotNil(t, a.Completed)

	prune := func(ms int64) *metapb.ReleaseResult {
		return h.do(&metapb.Command{Op: &metapb.Command_PruneCompleted{PruneCompleted: &metapb.PruneCompleted{BeforeMs: ms}}}).GetReleased()
	}
	require.Zero(t, prune(testTime).Released)
	require.Equal(t, uint32(1), prune(testTime+1).Released)
	h.refused(errs.NoSuchUpload, completeCommand(u.complete()))
	require.Zero(t, h.rows(tableCompleted)+h.rows(tableExpiry))
}

func TestAbortReleasesThroughTheQueue(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	for n := uint32(1); n <= 10; n++ {
		u.part(n, fmt.Sprint(n), 10)
	}
	before := h.rows(tableParts)
	h.do(u.abort())
	require.Equal(t, 10, before)
	require.Len(t, h.queue(), 1, "abort is O(1)")
	h.refused(errs.NoSuchUpload, u.abort())
	h.refused(errs.NoSuchUpload, completeCommand(u.complete()))
	h.drain()
	require.Zero(t, h.rows(tableParts)+h.rows(tableRuns)+h.rows(tableQueue))
}

func TestDeletedBucketAbortsItsUploads(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	for n := range 10 {
		u := h.upload(b, fmt.Sprint("f", n), 0, 0)
		u.part(1, "one", 10)
	}
	h.do(&metapb.Command{Op: &metapb.Command_DeleteBucket{DeleteBucket: &metapb.DeleteBucket{Bucket: b}}})
	require.Len(t, h.queue(), 1)
	h.drain()
	require.Zero(t, h.rows(tableUploads)+h.rows(tableParts)+h.rows(tableRuns))
	require.Zero(t, h.stats().Uploads)
}

func TestEmptyMultipartObject(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	u.part(1, "", 0)
	put := h.do(completeCommand(u.complete())).GetPut()
	require.Equal(t, uint32(1), put.EtagParts)
	require.Zero(t, put.Size)
	h.remove(b, "f")
	h.drain()
	require.Zero(t, h.rows(tableParts)+h.rows(tableBodies))
}

func TestPartPaging(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	for n := uint32(1); n <= 40; n++ {
		u.part(3*n, fmt.Sprint(n), partSize)
	}
	list := func(after, limit uint32) (first uint32, n int, more bool) {
		a := h.read(&metapb.Query{Q: &metapb.Query_ListParts{ListParts: &metapb.ListPartsQuery{Bucket: "films", Key: "f", UploadId: u.ref.UploadId, After: after, Limit: limit}}}).GetListParts()
		if len(a.Parts) > 0 {
			first = a.Parts[0].Number
		}
		return first, len(a.Parts), a.Truncated
	}
	first, n, more := list(0, 39)
	require.Equal(t, []any{uint32(3), 39, true}, []any{first, n, more})
	first, n, more = list(117, 39)
	require.Equal(t, []any{uint32(120), 1, false}, []any{first, n, more})
	h.do(completeCommand(u.complete()))

	total := uint64(40 * partSize)
	get := func(q *metapb.GetObjectQuery) *metapb.GetObjectAnswer {
		q.Bucket, q.Key, q.WantParts, q.PartsLimit = "films", "f", true, 2
		return h.read(&metapb.Query{Q: &metapb.Query_GetObject{GetObject: q}}).GetGetObject()
	}
	for offset := uint64(0); offset < total; offset += partSize / 2 {
		a := get(&metapb.GetObjectQuery{Offset: offset})
		want := offset / partSize
		require.Equal(t, uint32(3*(want+1)), a.Parts[0].Number, "offset %d", offset)
		require.Equal(t, want*partSize, a.Parts[0].Offset)
		require.Equal(t, want < 38, a.MoreParts)
		back := get(&metapb.GetObjectQuery{Offset: total - offset, OffsetFromEnd: true})
		require.Equal(t, a.Parts[0].Number, back.Parts[0].Number)
	}
	require.Equal(t, uint32(3), get(&metapb.GetObjectQuery{Offset: total + 5, OffsetFromEnd: true}).Parts[0].Number)
	require.Equal(t, uint32(6), get(&metapb.GetObjectQuery{PartNumber: 6}).Parts[0].Number)
	body := h.read(&metapb.Query{Q: &metapb.Query_BodyParts{BodyParts: &metapb.BodyPartsQuery{BodyId: u.ref.UploadId, After: 3, Limit: 1}}}).GetBodyParts()
	require.Equal(t, uint32(6), body.Parts[0].Number)
	require.True(t, body.More)
	require.Equal(t, total, body.Body.Size)
}

// The largest upload: 10,000 parts, of which every second is left out.
func TestTenThousandParts(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	u := h.upload(b, "f", 0, 0)
	var cmds []*metapb.Command
	for n := uint32(1); n <= object.PartsMax; n++ {
		w := h.written(partSize)
		cmds = append(cmds, h.stamped(u.partCommand(n, "same", w)))
		if n%2 == 0 {
			u.name(n, "same")
		}
		if len(cmds) == 500 {
			h.apply(cmds...)
			cmds = cmds[:0]
		}
	}
	require.Equal(t, uint32(object.PartsMax/2), h.do(completeCommand(u.complete())).GetPut().EtagParts)
	a := h.read(&metapb.Query{Q: &metapb.Query_GetObject{GetObject: &metapb.GetObjectQuery{Bucket: "films", Key: "f", WantParts: true, Offset: 4999*partSize + 1}}}).GetGetObject()
	require.Equal(t, uint32(object.PartsMax), a.Parts[0].Number)
	q := h.queue()
	require.Len(t, q, 1)
	r := h.do(&metapb.Command{Op: &metapb.Command_ReleaseParts{ReleaseParts: &metapb.ReleaseParts{QueueKey: q[0].Key, Limit: 100}}}).GetReleased()
	require.Equal(t, uint32(100), r.Released)
	require.False(t, r.Done)
}

// The largest object: 10,000 parts of 5 GiB. The first is uploaded, the others are copies of it, which move no bytes.
func TestLargestObjectCompletes(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("films")
	src := h.put(b, "src", object.PartBytesMax)
	u := h.upload(b, "f", 0, 0)
	u.part(1, "same", object.PartBytesMax)
	var cmds []*metapb.Command
	for n := uint32(2); n <= object.PartsMax; n++ {
		cmds = append(cmds, h.stamped(&metapb.Command{Op: &metapb.Command_CopyPart{CopyPart: &metapb.CopyPart{
			Upload: u.ref, Number: n, Source: &metapb.Source{Bucket: b, Key: "src", Expect: src.Version}, Length: object.PartBytesMax,
			Etag: newObject("same", 0).Etag, Checksums: []*metapb.Checksum{crc64("same")},
		}}}))
		u.name(n, "same")
		if len(cmds) == 500 || n == object.PartsMax {
			for i, r := range h.apply(cmds...) {
				require.False(t, r.Failed, "part %d: %s", i, r.Message)
			}
			cmds = cmds[:0]
		}
	}
	put := h.do(completeCommand(u.complete())).GetPut()
	require.Equal(t, uint64(object.ObjectBytesMax), put.Size)
	a := h.read(&metapb.Query{Q: &metapb.Query_GetObject{GetObject: &metapb.GetObjectQuery{Bucket: "films", Key: "f", WantParts: true, Offset: object.ObjectBytesMax - 1}}}).GetGetObject()
	require.Equal(t, uint32(object.PartsMax), a.Parts[0].Number)
	require.Equal(t, uint64(object.ObjectBytesMax-object.PartBytesMax), a.Parts[0].Offset)
}

package objects

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// A version that vanishes before its first byte is not an error: the new one is read.
func TestOpenStartsOver(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.mustPut(t, "k", pattern(100, 1))
	calls := 0
	_, r, err := w.Open(context.Background(), GetRequest{Bucket: "b", Key: "k", WantBody: true}, func(obj *Object) (uint64, uint64, error) {
		if calls++; calls == 1 { // overwritten and collected in this moment
			w.vol.blobs = map[object.BlobID][]byte{}
			w.mustPut(t, "k", pattern(200, 2))
		}
		return 0, obj.Size, nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, calls)
	require.Equal(t, uint64(200), r.Len())
	var got bytes.Buffer
	_, err = r.WriteTo(&got)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, pattern(200, 2), got.Bytes())
}

func TestOpenGivesUp(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	calls := 0
	w.mustPut(t, "k", pattern(100, 1))
	_, _, err := w.Open(context.Background(), GetRequest{Bucket: "b", Key: "k", WantBody: true}, func(obj *Object) (uint64, uint64, error) {
		calls++
		w.mustPut(t, "k", pattern(200, 2))
		w.vol.blobs = map[object.BlobID][]byte{}
		return 0, obj.Size, nil
	})
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	require.Equal(t, openTriesMax, calls)
}

// Bytes that are missing while the version is still there are a failure, never "no such key".
func TestLostBytesAreUnavailable(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.mustPut(t, "k", pattern(100, 1))
	w.vol.blobs = map[object.BlobID][]byte{}
	_, err := w.read("k", 0, 100)
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	w.vol.onRead = func(object.BlobID) error { return errs.E("mem", errs.Corrupt, "") }
	_, err = w.read("k", 0, 100)
	require.Equal(t, errs.Corrupt, errs.KindOf(err))
}

// multipart stores an object of parts of the given sizes and gives its bytes.
func (w *world) multipart(t testing.TB, id byte, sizes ...int) (key string, want []byte) {
	t.Helper()
	up := w.upload(id, 0, 0)
	for i, n := range sizes {
		b := pattern(n, i)
		want = append(want, b...)
		res, err := w.PutPart(context.Background(), PutPartRequest{UploadTarget: up, Number: uint32(3*i + 1), Body: bodyOf(b)})
		require.NoError(t, err)
		require.Equal(t, digest.Of(digest.CRC64NVME, b), DigestChecksum(res.Checksums[0]))
		require.Equal(t, int64(5), res.ModifiedMs)
	}
	_, err := w.CompleteUpload(context.Background(), CompleteRequest{UploadTarget: up})
	require.NoError(t, err)
	return string(up.Key), want
}

func TestRangesOfParts(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	var sizes []int
	for i := range 300 {
		sizes = append(sizes, i*37%2500)
	}
	key, want := w.multipart(t, 1, sizes...)
	rapid.Check(t, func(rt *rapid.T) {
		off := rapid.IntRange(0, len(want)).Draw(rt, "off")
		n := rapid.IntRange(0, min(len(want)-off, 300000)).Draw(rt, "n")
		got, err := w.read(key, uint64(off), uint64(n))
		if err != nil || !bytes.Equal(want[off:off+n], got) {
			rt.Fatalf("range differs: %v", err)
		}
		// A hint that was wrong costs a query and nothing else.
		obj, err := w.Stat(context.Background(), GetRequest{Bucket: "b", Key: object.Key(key), WantBody: true, Offset: uint64(len(want) - off)})
		if err != nil {
			rt.Fatal(err)
		}
		r, err := obj.Range(context.Background(), uint64(off), uint64(n))
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		var b bytes.Buffer
		if _, err := r.WriteTo(&b); err != nil || !bytes.Equal(want[off:off+n], b.Bytes()) {
			rt.Fatalf("range differs: %v", err)
		}
	})
}

func TestManyPartsPage(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	sizes := make([]int, 2500)
	for i := range sizes {
		sizes[i] = 3
	}
	key, want := w.multipart(t, 1, sizes...)
	w.meta.queries = nil
	got, err := w.read(key, 0, uint64(len(want)))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	require.Len(t, w.meta.queries, 4, "the row with 32 parts, and three pages of up to 1,000")
	obj, err := w.Stat(context.Background(), GetRequest{Bucket: "b", Key: object.Key(key)})
	require.NoError(t, err)
	page, err := obj.Parts(context.Background(), 1, 7)
	require.NoError(t, err)
	require.True(t, page.More)
	require.Len(t, page.Parts, 7)
	require.Equal(t, uint32(4), page.Parts[0].Number)
}

func TestPartNumbers(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	key, _ := w.multipart(t, 1, 10, 20, 30) // numbers 1, 4, 7
	for number, want := range map[uint32][2]uint64{1: {0, 10}, 4: {10, 20}, 7: {30, 30}} {
		obj, err := w.Stat(context.Background(), GetRequest{Bucket: "b", Key: object.Key(key), PartNumber: number})
		require.NoError(t, err)
		off, n, err := obj.PartRange(number)
		require.NoError(t, err)
		require.Equal(t, want, [2]uint64{off, n})
	}
	for _, number := range []uint32{2, 8} {
		obj, err := w.Stat(context.Background(), GetRequest{Bucket: "b", Key: object.Key(key), PartNumber: number})
		require.NoError(t, err)
		_, _, err = obj.PartRange(number)
		require.Equal(t, errs.InvalidPartNumber, errs.KindOf(err))
	}
	w.mustPut(t, "plain", pattern(5, 1))
	obj, err := w.Stat(context.Background(), GetRequest{Bucket: "b", Key: "plain", PartNumber: 1})
	require.NoError(t, err)
	off, n, err := obj.PartRange(1)
	require.NoError(t, err)
	require.Equal(t, [2]uint64{0, 5}, [2]uint64{off, n})
	_, _, err = obj.PartRange(2)
	require.Equal(t, errs.InvalidPartNumber, errs.KindOf(err))
}

// Part rows that leave a gap or do not add up are refused: bytes never shift.
func TestDamagedPartRows(t *testing.T) {
	for name, damage := range map[string]func([]*metapb.PartRow) []*metapb.PartRow{
		"gap":           func(p []*metapb.PartRow) []*metapb.PartRow { return append(p[:1:1], p[2]) },
		"moved":         func(p []*metapb.PartRow) []*metapb.PartRow { p[1].Offset++; return p },
		"overlap":       func(p []*metapb.PartRow) []*metapb.PartRow { p[1].Offset--; return p },
		"slices short":  func(p []*metapb.PartRow) []*metapb.PartRow { p[1].Slices[0].Length--; return p },
		"slices gone":   func(p []*metapb.PartRow) []*metapb.PartRow { p[1].Slices = nil; return p },
		"ends early":    func(p []*metapb.PartRow) []*metapb.PartRow { return p[:2] },
		"not completed": func(p []*metapb.PartRow) []*metapb.PartRow { p[0].Completed = false; return p },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1000, Options{})
			key, want := w.multipart(t, 1, 10, 20, 30)
			id := string(w.meta.rows[key].BodyId)
			w.meta.parts[id] = damage(w.meta.parts[id])
			got, err := w.read(key, 0, uint64(len(want)))
			require.Error(t, err)
			require.True(t, bytes.HasPrefix(want, got))
		})
	}
}

// A slice that is too short would shift the rest of its part, even of a range that ends within the part.
func TestDamagedSlices(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	key, want := w.multipart(t, 1, 100)
	p := w.meta.parts[string(w.meta.rows[key].BodyId)][0]
	run := p.Slices[0].Run
	p.Slices = []*metapb.Slice{{Run: run, Length: 50}, {Run: run, Offset: 50, Length: 50}}
	got, err := w.read(key, 10, 80)
	require.NoError(t, err)
	require.Equal(t, want[10:90], got)
	p.Slices[0].Length = 49
	_, err = w.read(key, 10, 80)
	require.Equal(t, errs.Corrupt, errs.KindOf(err))
}

func TestPartOfNoUpload(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	body := Body{Reader: neverRead{t}, Size: 10}
	_, err := w.PutPart(context.Background(), PutPartRequest{UploadTarget: UploadTarget{Scope: scope(), Key: "k"}, Number: 1, Body: body})
	require.Equal(t, errs.NoSuchUpload, errs.KindOf(err))
}

type neverRead struct{ t *testing.T }

func (n neverRead) Read([]byte) (int, error) {
	n.t.Error("the body was read")
	return 0, nil
}

func TestPartChecksums(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	b := pattern(3000, 1)
	body := bodyOf(b)
	body.Want = []uint32{uint32(digest.SHA256)}
	up := w.upload(1, uint32(digest.SHA256), uint32(digest.Composite))
	res, err := w.PutPart(context.Background(), PutPartRequest{UploadTarget: up, Number: 1, Body: body})
	require.NoError(t, err)
	require.Len(t, res.Checksums, 1)
	require.Equal(t, digest.Of(digest.SHA256, b), DigestChecksum(res.Checksums[0]))

	body = Body{Reader: neverRead{t}, Size: 10, Want: []uint32{uint32(digest.CRC32)}}
	_, err = w.PutPart(context.Background(), PutPartRequest{UploadTarget: up, Number: 1, Body: body})
	require.Equal(t, errs.InvalidRequest, errs.KindOf(err), "another algorithm than the upload's")

	body = bodyOf(b)
	body.Want = []uint32{uint32(digest.CRC32)}
	res, err = w.PutPart(context.Background(), PutPartRequest{UploadTarget: w.upload(2, 0, 0), Number: 1, Body: body})
	require.NoError(t, err)
	require.Len(t, res.Checksums, 2, "the upload asked for none: CRC64NVME is computed besides")
	require.Equal(t, digest.Of(digest.CRC64NVME, b), DigestChecksum(res.Checksums[0]))
	require.Equal(t, digest.Of(digest.CRC32, b), DigestChecksum(res.Checksums[1]))
}

func TestCopyPart(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	plain := pattern(5000, 9)
	w.mustPut(t, "plain", plain)
	parts, want := w.multipart(t, 1, 1000, 2000, 3000)
	up := w.upload(2, 0, 0)
	for _, c := range []struct {
		key    string
		src    []byte
		off, n uint64
		reads  bool
	}{
		{"plain", plain, 0, 5000, false},
		{"plain", plain, 0, 4999, true},
		{"plain", plain, 7, 100, true},
		{parts, want, 1000, 2000, false},
		{parts, want, 3000, 3000, false},
		{parts, want, 0, 6000, true},
		{parts, want, 999, 2, true},
		{parts, want, 100, 0, false},
	} {
		w.vol.reads = 0
		res, err := w.CopyPart(context.Background(), CopyPartRequest{
			UploadTarget: up, Number: 3, Source: CopySource{Scope: scope(), Key: object.Key(c.key)}, Range: &[2]uint64{c.off, c.n},
		})
		require.NoError(t, err)
		require.Equal(t, c.reads, w.vol.reads > 0, "%+v", c)
		h := digest.NewHasher(digest.Options{MD5: true})
		h.Write(c.src[c.off : c.off+c.n])
		sums := h.Sums()
		h.Release()
		require.Equal(t, sums.MD5, res.ETag)
		require.Equal(t, digest.Of(digest.CRC64NVME, c.src[c.off:c.off+c.n]), DigestChecksum(res.Checksums[0]))
		cmd := w.meta.commands[len(w.meta.commands)-1].GetCopyPart()
		require.Equal(t, w.meta.rows[c.key].Version, cmd.Source.Expect)
		require.Equal(t, [2]uint64{c.off, c.n}, [2]uint64{cmd.Offset, cmd.Length})
		require.Equal(t, uint32(3), cmd.Number)
	}
	copyOf := func(key object.Key, rng *[2]uint64) error {
		_, err := w.CopyPart(context.Background(), CopyPartRequest{UploadTarget: up, Number: 1, Source: CopySource{Scope: scope(), Key: key}, Range: rng})
		return err
	}
	require.Equal(t, errs.Invalid, errs.KindOf(copyOf("plain", &[2]uint64{1, 5000})))
	require.Equal(t, errs.NoSuchKey, errs.KindOf(copyOf("absent", nil)))
	require.NoError(t, copyOf("plain", nil))
}

// A source that was replaced between reading and deciding is read again.
func TestCopyPartOfAChangingSource(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.mustPut(t, "k", pattern(100, 1))
	up := w.upload(2, 0, 0)
	w.meta.before = func(n int, cmd *metapb.Command) (*metapb.Result, error) {
		if n == 2 {
			row := w.meta.rows["k"]
			w.meta.rows["k"] = &metapb.ObjectRow{Version: []byte("new"), Size: row.Size, Etag: row.Etag, Checksum: row.Checksum, Run: row.Run}
			return nil, errs.E("fake", errs.SourceChanged, "")
		}
		return nil, nil
	}
	_, err := w.CopyPart(context.Background(), CopyPartRequest{UploadTarget: up, Number: 1, Source: CopySource{Scope: scope(), Key: "k"}})
	require.NoError(t, err)
	require.Equal(t, "new", string(w.meta.commands[2].GetCopyPart().Source.Expect))
}

func TestCopy(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	b := pattern(3000, 1)
	w.mustPut(t, "k", b)
	w.vol.reads = 0
	w.meta.queries = nil
	_, err := w.Copy(context.Background(), CopyRequest{Scope: scope(), Key: "new", Source: CopySource{Scope: scope(), Key: "k"}})
	require.NoError(t, err)
	require.Empty(t, w.meta.queries, "one decision, nothing read")
	_, err = w.Copy(context.Background(), CopyRequest{Scope: scope(), Key: "new", Source: CopySource{Scope: scope(), Key: "k"}, Checksum: digest.CRC64NVME})
	require.NoError(t, err)
	require.Zero(t, w.vol.reads, "the source has it")
	res, err := w.Copy(context.Background(), CopyRequest{Scope: scope(), Key: "new", Source: CopySource{Scope: scope(), Key: "k"}, Checksum: digest.SHA1})
	require.NoError(t, err)
	require.Equal(t, digest.Of(digest.SHA1, b), DigestChecksum(res.Checksum))
	require.NotEmpty(t, w.meta.commands[len(w.meta.commands)-1].GetCopyObject().Source.Expect)
}

// Both buckets of a copy are authorized again.
func TestCopyReauthorizesBoth(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.mustPut(t, "k", pattern(10, 1))
	w.meta.before = func(n int, _ *metapb.Command) (*metapb.Result, error) {
		if n == 2 || n == 3 {
			return nil, errs.E("fake", errs.StaleBucket, "")
		}
		return nil, nil
	}
	dst, src := scope(), scope()
	n := 0
	dst.Reauthorize = func(context.Context) (Scope, error) {
		return Scope{Bucket: &metapb.BucketRef{Name: "dst", Id: []byte{byte(n)}}}, nil
	}
	src.Reauthorize = func(context.Context) (Scope, error) {
		n++
		return Scope{Bucket: &metapb.BucketRef{Name: "src", Id: []byte{byte(n)}}}, nil
	}
	_, err := w.Copy(context.Background(), CopyRequest{Scope: dst, Key: "new", Source: CopySource{Scope: src, Key: "k"}})
	require.NoError(t, err)
	last := w.meta.commands[3].GetCopyObject()
	require.Equal(t, []byte{2}, last.Bucket.Id)
	require.Equal(t, []byte{2}, last.Source.Bucket.Id)
	require.Equal(t, "src", last.Source.Bucket.Name)
}

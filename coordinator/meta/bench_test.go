package meta

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
	"minikv/internal/listrow"
	"minikv/proto/metapb"
)

// putEntry is an encoded entry of n PutObject commands of one session.
func (g *gateway) putEntry(b *metapb.BucketRef, n int) []byte {
	h := g.h
	e := &metapb.Entry{Level: Level}
	for range n {
		o := newObject("content", 1024)
		o.Checksum = crc64("content")
		o.Attributes = &metapb.Attributes{ContentType: "application/octet-stream"}
		c := g.next(h.stamped(putCommand(b, g.benchKey(), o, h.written(1024), nil)))
		g.lowest = g.sequence - min(g.sequence-1, uint64(n))
		e.Commands = append(e.Commands, c)
	}
	raw, err := EncodeEntry(nil, e)
	require.NoError(h.t, err)
	return raw
}

// benchKey is of a new object each time, or one of so many.
func (g *gateway) benchKey() string {
	if g.keys > 0 {
		return fmt.Sprintf("dir/%05d", g.sequence%g.keys)
	}
	return fmt.Sprintf("dir/%012x", g.sequence*0x9E3779B97F4A7C15)
}

// BenchmarkApplyBatch is entries of PutObject commands, from their bytes to the committed batch: 64 of new keys, and 6 over 1,024
// keys again and again, as of 16 clients.
func BenchmarkApplyBatch(b *testing.B) {
	b.Run("64new", func(b *testing.B) { benchApply(b, 64, 0) })
	b.Run("6over", func(b *testing.B) { benchApply(b, 6, 1024) })
}

func benchApply(b *testing.B, n int, keys uint64) {
	h := newHarness(b, 3)
	g, ref := h.gateway(1), h.bucket("photos")
	g.keys = keys
	entries := make([][]byte, 256)
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if i%len(entries) == 0 {
			b.StopTimer()
			for j := range entries {
				entries[j] = g.putEntry(ref, n)
			}
			b.StartTimer()
		}
		e, err := DecodeEntry(entries[i%len(entries)])
		if err != nil {
			b.Fatal(err)
		}
		h.index++
		batch := h.db.NewBatch()
		rs, err := h.m.Apply(batch, h.index, e)
		if err != nil || rs[0].Failed {
			b.Fatal(err, rs[0])
		}
		if err := batch.SetApplied(h.index, 1); err != nil {
			b.Fatal(err)
		}
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "commands/s")
}

// filled has n objects.
func filled(b *testing.B, n int) (*harness, []string) {
	h := newHarness(b, 1)
	g, ref := h.gateway(1), h.bucket("photos")
	for i := 0; i < n; i += 500 {
		e, err := DecodeEntry(g.putEntry(ref, 500))
		require.NoError(b, err)
		h.apply(e.Commands...)
	}
	require.NoError(b, h.db.Flush())
	var keys []string
	a := h.list(&metapb.ListObjectsQuery{Bucket: "photos", Limit: listLimitMax})
	for _, e := range a.Entries {
		keys = append(keys, e.Key)
	}
	return h, keys
}

func BenchmarkMetaGet(b *testing.B) {
	h, keys := filled(b, 100_000)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		q := &metapb.GetObjectQuery{Bucket: "photos", Key: keys[int(i*2654435761)%len(keys)]}
		a, err := h.m.Read(&metapb.Query{Q: &metapb.Query_GetObject{GetObject: q}})
		if err != nil || a.GetGetObject().Row == nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList1000 reads pages of 1,000 and decodes each row as a gateway does.
func BenchmarkList1000(b *testing.B) {
	h, keys := filled(b, 100_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		q := &metapb.ListObjectsQuery{Bucket: "photos", After: keys[i*37%len(keys)], Limit: 1000}
		a, err := h.m.Read(&metapb.Query{Q: &metapb.Query_ListObjects{ListObjects: q}})
		if err != nil || len(a.GetListObjects().Entries) != 1000 {
			b.Fatal(err)
		}
		for _, e := range a.GetListObjects().Entries {
			if _, err := listrow.DecodeListRow(e.Row); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "keys/s")
}

// BenchmarkComplete10000 completes the largest upload.
func BenchmarkComplete10000(b *testing.B) {
	h := newHarness(b, 1)
	ref := h.bucket("films")
	for b.Loop() {
		b.StopTimer()
		u := h.upload(ref, "f", digest.None, 0)
		batch := h.db.NewBatch()
		for n := uint32(1); n <= 10000; n++ {
			u.name(n, "same")
			row := &metapb.PartRow{Number: n, Etag: newObject("same", 0).Etag, Size: partSize, Checksums: []*metapb.Checksum{crc64("same")}}
			row.Slices = []*metapb.Slice{{Run: h.written(partSize).Run, Length: partSize}}
			require.NoError(b, setRow(batch, partKey(u.ref.UploadId, n), row))
			require.NoError(b, setRow(batch, runKey(row.Slices[0].Run.Base), &metapb.RunRow{Run: row.Slices[0].Run, References: 1}))
		}
		require.NoError(b, batch.Commit())
		c := completeCommand(u.complete())
		b.StartTimer()
		h.do(c)
	}
}

func BenchmarkCheckCommand(b *testing.B) {
	h := newHarness(b, 3)
	c := h.stamped(putCommand(h.bucket("photos"), "k", newObject("x", 1024), h.written(1024), nil))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckCommand(c); err != nil {
			b.Fatal(err)
		}
	}
}

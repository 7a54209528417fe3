package listrow

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"minikv/proto/metapb"
)

func sample() *metapb.ObjectRow {
	return &metapb.ObjectRow{
		Version: []byte("123456789012"), NullVersion: true, Size: 1 << 40, Etag: []byte("0123456789abcdef"), EtagParts: 12,
		ModifiedMs: 1_700_000_000_123, Checksum: &metapb.Checksum{Algorithm: 3, Type: 1, Value: []byte("12345678")},
		Owner: "alice", Attributes: &metapb.Attributes{ContentType: "text/plain", StorageClass: "STANDARD_IA"},
		Tags: []*metapb.Pair{{Name: "a", Value: "b"}},
		Run:  &metapb.Run{Base: make([]byte, 16), BlobSize: 4 << 20, Length: 1 << 40, Ranges: []*metapb.CounterRange{{Count: 7}}},
	}
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func check(t interface{ Fatalf(string, ...any) }, row *metapb.ObjectRow, r ListRow) {
	same := r.Size == row.Size && bytes.Equal(r.ETag[:len(row.Etag)], row.Etag) && r.ETagParts == row.EtagParts &&
		r.ModifiedMS == row.ModifiedMs && uint32(r.ChecksumAlgorithm) == row.GetChecksum().GetAlgorithm() &&
		uint32(r.ChecksumType) == row.GetChecksum().GetType() && string(r.Owner) == row.Owner &&
		string(r.StorageClass) == row.GetAttributes().GetStorageClass() && r.DeleteMarker == row.DeleteMarker &&
		r.NullVersion == row.NullVersion && bytes.Equal(r.Version, row.Version)
	if !same {
		t.Fatalf("got %+v of %v", r, row)
	}
}

func TestDecodesLikeProto(t *testing.T) { // L1
	rapid.Check(t, func(t *rapid.T) {
		row := sample()
		row.Size, row.ModifiedMs = rapid.Uint64().Draw(t, "size"), rapid.Int64().Draw(t, "ms")
		row.EtagParts, row.Owner = rapid.Uint32().Draw(t, "parts"), rapid.String().Draw(t, "owner")
		row.DeleteMarker, row.NullVersion = rapid.Bool().Draw(t, "marker"), rapid.Bool().Draw(t, "null")
		if rapid.Bool().Draw(t, "bare") {
			row.Checksum, row.Attributes, row.Etag, row.Run = nil, nil, nil, nil
		}
		b, err := proto.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DecodeListRow(b)
		if err != nil {
			t.Fatal(err)
		}
		check(t, row, r)
	})
}

func TestDoesNotAllocate(t *testing.T) {
	b := encode(t, sample())
	if n := testing.AllocsPerRun(100, func() { _, _ = DecodeListRow(b) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzDecodeListRow(f *testing.F) {
	f.Add(encode(f, sample()))
	f.Add(encode(f, &metapb.ObjectRow{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeListRow(b)
		row := new(metapb.ObjectRow)
		if proto.Unmarshal(b, row) != nil {
			return
		}
		if again := encode(t, row); err == nil && bytes.Equal(again, b) {
			check(t, row, r)
		}
	})
}

func BenchmarkDecodeListRow(b *testing.B) {
	row := encode(b, sample())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeListRow(row); err != nil {
			b.Fatal(err)
		}
	}
}

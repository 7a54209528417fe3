package objects

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// nullMeta decides everything at once; nullVolume costs nothing: what is left is this package and payload.
type nullMeta struct {
	layout *metapb.Layout
	row    *metapb.ObjectRow
}

func (m *nullMeta) Do(_ context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	if p := cmd.GetPutObject(); p != nil {
		m.row = &metapb.ObjectRow{Size: p.Object.Size, Run: p.Written.GetRun(), Etag: p.Object.Etag}
	}
	return &metapb.Result{}, nil
}
func (m *nullMeta) Read(_ context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if q.GetGetObject() == nil {
		return nil, errs.E("null", errs.Unsupported, "")
	}
	return &metapb.Answer{A: &metapb.Answer_GetObject{GetObject: &metapb.GetObjectAnswer{Bucket: theBucket, Row: m.row}}}, nil
}
func (m *nullMeta) Layout() *metapb.Layout              { return m.layout }
func (m *nullMeta) RefreshLayout(context.Context) error { return nil }

type nullVolume struct{}

func (nullVolume) Volume(uint32) (Volume, bool) { return nullVolume{}, true }
func (nullVolume) Prepare(context.Context, object.BlobID, object.Epochs, [][]byte) (bool, error) {
	return true, nil
}
func (nullVolume) Commit(context.Context, ...object.BlobID) error { return nil }
func (nullVolume) Abort(context.Context, ...object.BlobID) error  { return nil }
func (nullVolume) ReadAt(_ context.Context, _ object.BlobID, dst []byte, _ int64) (int, error) {
	return len(dst), nil
}

func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1 << 10, 64 << 10, 16 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			o := New(&nullMeta{layout: newFakeMeta(4 << 20).layout}, nullVolume{}, Options{})
			defer o.Close()
			data := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				req := PutRequest{Scope: scope(), Key: "k", Body: Body{Reader: bytes.NewReader(data), Size: int64(n)}}
				if _, err := o.Put(context.Background(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1 << 10, 64 << 10, 16 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			o := New(&nullMeta{layout: newFakeMeta(4 << 20).layout}, nullVolume{}, Options{})
			defer o.Close()
			if _, err := o.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: bodyOf(make([]byte, n))}); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				_, r, err := o.Open(context.Background(), GetRequest{Bucket: "b", Key: "k", WantBody: true}, func(obj *Object) (uint64, uint64, error) {
					return 0, obj.Size, nil
				})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}

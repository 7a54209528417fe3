package payload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"minikv/internal/digest"
	"minikv/internal/object"
)

// sink is a volume that costs nothing.
func benchStore(b *testing.B, rf int) *Store {
	c := newCluster(rf, rf, 256, 4<<20)
	for n := range c.volumes {
		c.volumes[n] = &sinkVolume{}
	}
	return newStore(b, c, Options{})
}

type sinkVolume struct{ patternVolume }

func (v *sinkVolume) ReadAt(_ context.Context, _ object.BlobID, dst []byte, _ int64) (int, error) {
	return len(dst), nil
}

func BenchmarkWrite(b *testing.B) {
	for _, rf := range []int{1, 3} {
		for _, n := range []int{1 << 10, 64 << 10, 1 << 20, 16 << 20} {
			b.Run(fmt.Sprintf("rf=%d/bytes=%d", rf, n), func(b *testing.B) {
				s := benchStore(b, rf)
				data := body(n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				opt := WriteOptions{Size: int64(n), Digests: digest.Options{MD5: true, Checksums: digest.SetOf(digest.CRC64NVME)}}
				for b.Loop() {
					w, err := s.Write(context.Background(), bytes.NewReader(data), opt)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := w.Written(); err != nil {
						b.Fatal(err)
					}
					w.Commit()
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, rf := range []int{1, 3} {
		for _, n := range []int{1 << 10, 64 << 10, 1 << 20, 16 << 20} {
			b.Run(fmt.Sprintf("rf=%d/bytes=%d", rf, n), func(b *testing.B) {
				s := benchStore(b, rf)
				_, written := mustWrite(b, s, body(n))
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					r, err := s.NewReader(context.Background(), OneSlice(written.Run, 0, uint64(n)), uint64(n), ReadOptions{})
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
}

// BenchmarkHash is the bound of writing.
func BenchmarkHash(b *testing.B) {
	data := body(1 << 20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		h := digest.NewHasher(digest.Options{MD5: true, Checksums: digest.SetOf(digest.CRC64NVME)})
		h.Write(data)
		h.Release()
	}
}

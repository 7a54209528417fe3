package sigv4

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// A PUT as the Go SDK sends it, with a cached signing key.
func BenchmarkSigV4Verify(b *testing.B) {
	hr, err := http.NewRequest("PUT", "http://127.0.0.1:9000/bucket/photos/2013/05/24/img_0001.jpg?x-id=PutObject", nil)
	if err != nil {
		b.Fatal(err)
	}
	hr.ContentLength = 1024
	for _, h := range [][2]string{
		{"Content-Type", "application/octet-stream"}, {"Amz-Sdk-Invocation-Id", "2d1a6f5e-6c1c-4b1e-9d4e-1c9a3f2b7d10"},
		{"Amz-Sdk-Request", "attempt=1; max=3"}, {"X-Amz-Sdk-Checksum-Algorithm", "CRC32"}, {"X-Amz-Checksum-Crc32", "NhCmhg=="},
	} {
		hr.Header.Set(h[0], h[1])
	}
	if _, err := exampleSigner().Sign(hr, helloHash, exampleTime); err != nil {
		b.Fatal(err)
	}
	benchmarkVerify(b, "PUT", hr.URL.RequestURI(), hr.Host, hr.Header, 1024)
}

func BenchmarkSigV4VerifyPresigned(b *testing.B) {
	benchmarkVerify(b, "PUT", presign(b, "x-id=PutObject", nil), exampleHost, header(), 0)
}

func benchmarkVerify(b *testing.B, method, target, host string, h http.Header, length int64) {
	v := exampleVerifier()
	b.ReportAllocs()
	for b.Loop() {
		r, err := ParseRequest(method, target, host, h, length, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Verify(r, ServiceS3); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSigV4VerifyParallel(b *testing.B) {
	v := exampleVerifier()
	r := signedPut(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(r, ServiceS3); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkDeriveKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		DeriveKey(exampleSecret, Scope{"20130524", "us-east-1", "s3"})
	}
}

func BenchmarkSign(b *testing.B) {
	hr, err := http.NewRequest("PUT", "http://127.0.0.1:9000/bucket/key", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := exampleSigner().Sign(hr, UnsignedPayload, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

// One operation is one chunk of 64 KiB; 0 allocations.
func BenchmarkChunkedReader(b *testing.B) {
	const chunk, chunks = 64 << 10, 64
	for _, mode := range framedModes {
		b.Run(mode.String(), func(b *testing.B) {
			body := encodeChunks(b, mode, string(make([]byte, chunk*chunks)), chunk)
			wire := []byte(body.String())
			buf := make([]byte, chunk)
			b.SetBytes(chunk)
			b.ReportAllocs()
			var r *ChunkedReader
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				if i%chunks == 0 {
					b.StopTimer()
					var err error
					if r, err = NewChunkedReader(bytes.NewReader(wire), body.payload, body.seed); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				if _, err := io.ReadFull(r, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkChunkedReaderSmallReads(b *testing.B) {
	for _, size := range []int{512, 4 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := encodeChunks(b, PayloadChunked, string(make([]byte, 1<<20)), 64<<10)
			wire := []byte(body.String())
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			buf := make([]byte, size)
			for b.Loop() {
				r, err := NewChunkedReader(bytes.NewReader(wire), body.payload, body.seed)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = r.Read(buf)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHashReader(b *testing.B) {
	body := make([]byte, 1<<20)
	buf := make([]byte, 64<<10)
	b.SetBytes(1 << 20)
	for b.Loop() {
		r := NewHashReader(bytes.NewReader(body), [32]byte{})
		var err error
		for err == nil {
			_, err = r.Read(buf)
		}
	}
}

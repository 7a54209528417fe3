package gateway

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

// discard is a ResponseWriter without a connection.
type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// benchServer is a Server over the fake store with a bucket and an object of 1 KiB.
func benchServer(b *testing.B) *Server {
	b.Helper()
	store := newFakeStore()
	objs := objects.New(store, store, objects.Options{})
	b.Cleanup(objs.Close)
	s, err := New(Config{Objects: objs, Directory: iam.NewDirectory(testUsers), Log: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	row, err := objs.CreateBucket(context.Background(), &metapb.CreateBucket{Name: "bkt", Owner: "alice-id"})
	if err != nil {
		b.Fatal(err)
	}
	_, err = objs.Put(context.Background(), objects.PutRequest{Scope: objects.Scope{Bucket: objects.RefOf(row)}, Key: "k", Owner: "alice-id",
		Body: objects.Body{Reader: bytes.NewReader(make([]byte, 1<<10)), Size: 1 << 10}, Attributes: &metapb.Attributes{ContentType: "text/plain"}})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func benchRequest(b *testing.B, s *Server, method, target string, want int) {
	req, err := http.NewRequest(method, "http://127.0.0.1:9000"+target, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := (sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}).Sign(req, sigv4.EmptySHA256, time.Now()); err != nil {
		b.Fatal(err)
	}
	req.RequestURI, req.RemoteAddr, req.Body = target, "127.0.0.1:1", http.NoBody
	ctx := context.WithValue(context.Background(), guardKey{}, &guard{})
	w := &discard{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		s.ServeHTTP(w, req.WithContext(ctx))
	}
	if w.status != want {
		b.Fatalf("status %d", w.status)
	}
}

func BenchmarkGet1KiB(b *testing.B) { benchRequest(b, benchServer(b), "GET", "/bkt/k", 200) }

func BenchmarkHead(b *testing.B) { benchRequest(b, benchServer(b), "HEAD", "/bkt/k", 200) }

func BenchmarkNotFound(b *testing.B) { benchRequest(b, benchServer(b), "GET", "/bkt/none", 404) }

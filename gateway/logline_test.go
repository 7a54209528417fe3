package gateway

import (
	"io"
	"net/http"
	"testing"
	"time"

	"minikv/gateway/iam"
	"minikv/internal/telemetry"
)

// BenchmarkLogLine is a line of the access log, as the binary writes it.
func BenchmarkLogLine(b *testing.B) {
	log, err := telemetry.NewLogger(io.Discard, "info", "console")
	if err != nil {
		b.Fatal(err)
	}
	c := &call{s: &Server{log: log}, r: &http.Request{Method: "PUT", RemoteAddr: "127.0.0.1:12345"}, id: "0123456789ABCDEF",
		account: &iam.Account{AccessKey: "benchkey"}, status: 200, in: 1024}
	c.target.Bucket, c.target.Key = "bench", "s1024/00001"
	b.ReportAllocs()
	for b.Loop() {
		c.logLine("PutObject", 2*time.Millisecond, false)
	}
}

package s3

import "testing"

// BenchmarkParsePut is all that this package does for the head of a PutObject as an SDK sends it.
func BenchmarkParsePut(b *testing.B) {
	h := header("X-Amz-Date", "20240229T120005Z", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD", "X-Amz-Checksum-Crc32", "2H9+DA==",
		"X-Amz-Sdk-Checksum-Algorithm", "CRC32", "Content-Type", "text/plain", "Content-Length", "4", "Authorization", "AWS4-HMAC-SHA256 x",
		"User-Agent", "aws-sdk", "Amz-Sdk-Request", "attempt=1", "X-Amz-Meta-A", "b")
	b.ReportAllocs()
	for b.Loop() {
		t, err := ParseTarget("/bucket/dir/some%20key?x-id=PutObject", "localhost:9000", nil)
		if err != nil {
			b.Fatal(err)
		}
		q, _ := ParseQuery(t.RawQuery)
		op, err := Route("PUT", t.Level, q, h)
		if err != nil || op.Name != "PutObject" {
			b.Fatal(err)
		}
		_, err1 := ParseChecksums(op, h)
		_, err2 := ParseMetadata(h)
		_, err3 := ParseWriteConditions(op, h)
		if err := CheckHeaders(op, h); err != nil || err1 != nil || err2 != nil || err3 != nil {
			b.Fatal(err, err1, err2, err3)
		}
	}
}

// BenchmarkParseGet is the same for a GetObject.
func BenchmarkParseGet(b *testing.B) {
	h := header("X-Amz-Date", "20240229T120005Z", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD", "X-Amz-Checksum-Mode", "ENABLED",
		"Authorization", "AWS4-HMAC-SHA256 x", "User-Agent", "aws-sdk", "Accept-Encoding", "identity", "Range", "bytes=0-99")
	b.ReportAllocs()
	for b.Loop() {
		t, _ := ParseTarget("/bucket/dir/key?x-id=GetObject", "localhost:9000", nil)
		q, _ := ParseQuery(t.RawQuery)
		op, err := Route("GET", t.Level, q, h)
		if err != nil || op.Name != "GetObject" {
			b.Fatal(err)
		}
		_, err1 := ParseReadConditions(h)
		_, err2 := ParseOverrides(q, true)
		_, _, err3 := ResolveRange(h.Get("Range"), 1000)
		if err := CheckHeaders(op, h); err != nil || err1 != nil || err2 != nil || err3 != nil {
			b.Fatal(err, err1, err2, err3)
		}
	}
}

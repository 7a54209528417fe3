package s3

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"minikv/internal/object"
)

// sane says that err is nil or a 4xx or 501 of this package (W1).
func sane(t *testing.T, err error) bool {
	t.Helper()
	if err == nil {
		return true
	}
	var e *Error
	if !errors.As(err, &e) || e.Status < 400 || (e.Status >= 500 && e.Status != 501) {
		t.Fatalf("not an S3 error of the client: %v", err)
	}
	return false
}

func FuzzXMLBodies(f *testing.F) {
	for _, s := range []string{
		"", "<Delete><Object><Key>k</Key></Object></Delete>",
		`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet><Object><Key>a&amp;b</Key><ETag>"x"</ETag><Size>1</Size></Object></Delete>`,
		"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>0cc175b9c0f1b6a831c399e269772661</ETag></Part></CompleteMultipartUpload>",
		"<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>",
		"<!DOCTYPE x><Tagging/>", "<a><b>", "\uFEFF<Tagging/>", "<?xml version=\"1.0\"?><Tagging/>x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if tags, err := ParseTagging(body); sane(t, err) {
			again, err := ParseTagging(AppendTagging(nil, tags))
			if err != nil || len(again) != len(tags) {
				t.Fatalf("%v does not come back: %v", tags, err)
			}
			for i := range tags {
				if tags[i] != again[i] {
					t.Fatalf("%q became %q", tags[i], again[i])
				}
			}
		}
		if r, err := ParseDelete(body); sane(t, err) && (len(r.Objects) == 0 || len(r.Objects) > DeleteObjectsMax) {
			t.Fatalf("%d objects", len(r.Objects))
		}
		if parts, err := ParseComplete(body); sane(t, err) {
			for i, p := range parts {
				if p.Number < 1 || p.Number > CompletePartsMax || (i > 0 && p.Number <= parts[i-1].Number) {
					t.Fatalf("part %d is %d", i, p.Number)
				}
			}
		}
		_, err := ParseCreateBucket(body)
		sane(t, err)
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-5", "bytes=5-", "bytes=5-2", "bytes=0-1,2-3", "bytes=-", "bytes=18446744073709551615-"} {
		f.Add(s, uint64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size uint64) {
		r, partial, err := ResolveRange(s, size)
		if !sane(t, err) {
			return
		}
		if r.Length > size || r.Offset > size-r.Length || (partial && r.Length == 0) || (!partial && r != Range{0, size}) {
			t.Fatalf("%q of %d: %v %v", s, size, r, partial)
		}
		if r, err := ParseCopySourceRange(s, size); sane(t, err) && (r.Length == 0 || r.Offset+r.Length > size) {
			t.Fatalf("%q of %d: %v", s, size, r)
		}
	})
}

func FuzzCopySource(f *testing.F) {
	for _, s := range []string{"/bkt/key", "bkt/key?versionId=null", "bkt%2Fkey", "/bkt/a%20b+c%25", "//", "bkt/?versionId=", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCopySource(s)
		if !sane(t, err) {
			return
		}
		if _, err := object.ParseBucket(string(c.Bucket)); err != nil {
			t.Fatal(err)
		}
		if _, err := object.ParseKey(string(c.Key)); err != nil {
			t.Fatal(err)
		}
		enc := "/" + string(c.Bucket) + "/" + string(appendURL(nil, string(c.Key)))
		if c.VersionID != "" {
			enc += "?versionId=" + string(appendURL(nil, c.VersionID))
		}
		if again, err := ParseCopySource(enc); err != nil || again != c {
			t.Fatalf("%q: %+v came back as %+v, %v", s, c, again, err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=b&c", "a=%20+;x", "%", "&&=", "list-type=2&prefix=%C3%BC", "uploads", "versions&key-marker=k&version-id-marker=null", "partNumber=1&uploadId=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuery(s)
		if !sane(t, err) {
			return
		}
		for _, p := range q {
			if !utf8.ValidString(p.Name) || !utf8.ValidString(p.Value) {
				t.Fatalf("%q is not UTF-8", p)
			}
		}
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "HEAD"} {
			op, err := Route(method, LevelObject, q, nil)
			sane(t, err)
			if err == nil && op.State == NotImplemented {
				t.Fatalf("%s %q: %s without error", method, s, op.Name)
			}
		}
		_, err = ParseList(q, true)
		sane(t, err)
		if p, err := ParseVersions(q); sane(t, err) && p.VersionMarker != "" && p.Marker == "" {
			t.Fatalf("%q: a version without a key", s)
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/b/k", "/b//k%2F?x", "http://h/b/k", "*", "/%ff", "//", "https://b.example.com"} {
		f.Add(s, "localhost:9000")
		f.Add(s, "b.example.com")
	}
	f.Fuzz(func(t *testing.T, uri, host string) {
		target, err := ParseTarget(uri, host, []string{"example.com"})
		if !sane(t, err) {
			return
		}
		if !strings.HasPrefix(target.RawPath, "/") || !utf8.ValidString(target.Key) {
			t.Fatalf("%+v", target)
		}
		_, _, err = target.Names()
		sane(t, err)
		if target.VirtualHost {
			return
		}
		enc := "/" + string(appendURL(nil, target.Bucket))
		if target.Key != "" {
			enc += "/" + string(appendURL(nil, target.Key))
		}
		again, err := ParseTarget(enc, "localhost", nil)
		if strings.Contains(target.Bucket, "/") {
			t.Fatalf("bucket %q", target.Bucket)
		}
		if err != nil || again.Bucket != target.Bucket || again.Key != target.Key {
			t.Fatalf("%q: %+v came back as %+v, %v", uri, target, again, err)
		}
	})
}

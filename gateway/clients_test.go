package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/sigv4"
)

// SDKs learn a bucket's region from the answer to HEAD, which they may send without credentials or with those of another.
func TestARefusalTellsTheBucketsRegion(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	for _, a := range []*answer{f.doBob("HEAD", "/bkt", nil), f.send(f.request("HEAD", "/bkt", nil)), f.doBob("GET", "/bkt", nil), f.send(f.request("GET", "/bkt", nil))} {
		f.want(a, 403, "AccessDenied")
		require.Equal(t, "us-east-1", a.Header.Get("x-amz-bucket-region"))
	}
	for _, a := range []*answer{f.send(f.request("HEAD", "/none", nil)), f.doBob("HEAD", "/none", nil)} {
		f.want(a, 404, "NoSuchBucket")
		require.Empty(t, a.Header.Get("x-amz-bucket-region"))
	}
}

// Java's HTTP clients send header values as Latin-1.
func TestHeadersThatAreNotUTF8AreLatin1(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/k", nil, "content-disposition", "attachment; filename=\"M\xfcller.txt\"",
		"content-language", "\xe9", "x-amz-meta-name", "M\xfcller")
	a := f.expect(200, "", "HEAD", "/bkt/k", nil)
	require.Equal(t, `attachment; filename="Müller.txt"`, a.Header.Get("Content-Disposition"))
	require.Equal(t, "é", a.Header.Get("Content-Language"))
	require.Equal(t, "=?UTF-8?B?TcO8bGxlcg==?=", a.Header.Get("x-amz-meta-name"))
}

// Clients show code and message only.
func TestNotImplementedNamesTheHeader(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	e := f.expect(501, "NotImplemented", "PUT", "/bkt/k", nil, "x-amz-server-side-encryption", "AES256").err(t)
	require.Equal(t, "x-amz-server-side-encryption", e.Header)
	require.Contains(t, e.Message, "x-amz-server-side-encryption")
}

func TestUploadIDMarkers(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	for _, marker := range []string{"zz", "abcd", strings.Repeat("0", 33)} {
		f.expect(400, "InvalidArgument", "GET", "/bkt?uploads&key-marker=k&upload-id-marker="+marker, nil)
	}
}

// Two kilobytes of metadata may be many short entries, each with a signed header.
func TestManyMetadataEntries(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	var header []string
	for i := range 150 {
		header = append(header, fmt.Sprintf("x-amz-meta-%d", i), "v")
	}
	f.expect(200, "", "PUT", "/bkt/k", nil, header...)
	a := f.expect(200, "", "HEAD", "/bkt/k", nil)
	require.Equal(t, "v", a.Header.Get("x-amz-meta-149"))
}

// The AWS SDK for JavaScript, version 2, leaves in a presigned URL what its user asked for, signs it as headers too (but for the content
// type), and its user sends the headers.
func TestURLsOfJavaScriptV2(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	signer := sigv4.Signer{AccessKey: aliceKey, SecretKey: aliceSecret, Region: "us-east-1"}
	h := http.Header{"X-Amz-Meta-A": {"b"}, "Cache-Control": {"no-cache"}, "Content-Md5": {md5Of([]byte("xyz"))}}
	u, err := signer.Presign("PUT", "http://"+f.addr+"/bkt/k?Content-Type=image%2Fjpeg&Cache-Control=no-cache&x-amz-meta-a=b&Content-MD5="+
		sigv4.EncodeQuery(md5Of([]byte("xyz"))), h, time.Minute, time.Now())
	require.NoError(t, err)
	target := strings.TrimPrefix(u, "http://"+f.addr)
	f.want(f.send(f.request("PUT", target, []byte("xyz"), "x-amz-meta-a", "b", "cache-control", "no-cache",
		"content-md5", md5Of([]byte("xyz")), "content-type", "image/jpeg")), 200, "")
	a := f.expect(200, "", "HEAD", "/bkt/k", nil)
	require.Equal(t, "b", a.Header.Get("x-amz-meta-a"))
	require.Equal(t, "image/jpeg", a.Header.Get("Content-Type"))
	require.Equal(t, "no-cache", a.Header.Get("Cache-Control"))
}

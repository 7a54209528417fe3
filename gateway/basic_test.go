package gateway

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPutGetHeadListDelete(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	put := f.expect(200, "", "PUT", "/bkt/dir/a%20b%2Bc%25", []byte("hello"), "x-amz-meta-Foo", "bar", "content-type", "text/plain", "x-amz-tagging", "a=b")
	require.Equal(t, `"5d41402abc4b2a76b9719d911017c592"`, put.Header.Get("ETag"))
	get := f.expect(200, "", "GET", "/bkt/dir/a%20b%2Bc%25", nil)
	require.Equal(t, "hello", string(get.body))
	require.Equal(t, "text/plain", get.Header.Get("Content-Type"))
	require.Equal(t, "bar", get.Header.Get("x-amz-meta-foo"))
	require.Equal(t, "1", get.Header.Get("x-amz-tagging-count"))
	require.Equal(t, "bytes", get.Header.Get("Accept-Ranges"))
	require.EqualValues(t, 5, get.ContentLength)
	head := f.expect(200, "", "HEAD", "/bkt/dir/a%20b%2Bc%25", nil)
	require.EqualValues(t, 5, head.ContentLength)
	require.Empty(t, head.body)
	list := f.expect(200, "", "GET", "/bkt?list-type=2&prefix=dir/", nil)
	require.Contains(t, string(list.body), "<Key>dir/a b+c%</Key>")
	part := f.expect(206, "", "GET", "/bkt/dir/a%20b%2Bc%25", nil, "Range", "bytes=1-2")
	require.Equal(t, "el", string(part.body))
	require.Equal(t, "bytes 1-2/5", part.Header.Get("Content-Range"))
	f.expect(409, "BucketNotEmpty", "DELETE", "/bkt", nil)
	f.expect(204, "", "DELETE", "/bkt/dir/a%20b%2Bc%25", nil)
	f.expect(204, "", "DELETE", "/bkt/dir/a%20b%2Bc%25", nil)
	f.expect(404, "NoSuchKey", "GET", "/bkt/dir/a%20b%2Bc%25", nil)
	f.expect(404, "", "HEAD", "/bkt/dir/a%20b%2Bc%25", nil)
	f.expect(204, "", "DELETE", "/bkt", nil)
	f.expect(404, "NoSuchBucket", "GET", "/bkt?list-type=2", nil)
	require.NotZero(t, f.logs.FilterMessage("request").Len())
	require.Equal(t, http.StatusOK, get.StatusCode)
}

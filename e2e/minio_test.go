package e2e

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/tags"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

func TestMinioGo(t *testing.T) {
	bothTransports(t, func(t *testing.T, n *harness.Node) {
		c, bucket := n.Minio(t), n.Bucket(t)
		ctx := t.Context()
		ok, err := c.BucketExists(ctx, bucket)
		require.NoError(t, err)
		require.True(t, ok)
		for _, size := range []int{0, 1, 5 << 20, 20 << 20} {
			body := noise(uint64(size), size)
			key := fmt.Sprintf("m/%d ü+%%", size)
			info, err := c.PutObject(ctx, bucket, key, bytes.NewReader(body), int64(size), minio.PutObjectOptions{
				ContentType: "text/plain", UserMetadata: map[string]string{"Color": "blue"}, PartSize: 5 << 20, SendContentMd5: true})
			require.NoError(t, err, key)
			require.Equal(t, int64(size), info.Size)
			obj, err := c.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
			require.NoError(t, err)
			got, err := io.ReadAll(obj)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got), key)
			st, err := c.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
			require.NoError(t, err)
			require.Equal(t, "blue", st.UserMetadata["Color"])
			require.Equal(t, "text/plain", st.ContentType)
		}
		// A stream of unknown length goes up in parts.
		body := noise(77, 11<<20)
		_, err = c.PutObject(ctx, bucket, "stream", io.MultiReader(bytes.NewReader(body)), -1, minio.PutObjectOptions{PartSize: 5 << 20})
		require.NoError(t, err)
		var keys []string
		for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true, MaxKeys: 2}) {
			require.NoError(t, o.Err)
			keys = append(keys, o.Key)
		}
		require.Len(t, keys, 5)

		tg, err := tags.NewTags(map[string]string{"a": "b"}, true)
		require.NoError(t, err)
		require.NoError(t, c.PutObjectTagging(ctx, bucket, "stream", tg, minio.PutObjectTaggingOptions{}))
		back, err := c.GetObjectTagging(ctx, bucket, "stream", minio.GetObjectTaggingOptions{})
		require.NoError(t, err)
		require.Equal(t, tg.ToMap(), back.ToMap())

		dst := minio.CopyDestOptions{Bucket: bucket, Object: "composed"}
		_, err = c.ComposeObject(ctx, dst, minio.CopySrcOptions{Bucket: bucket, Object: "stream"},
			minio.CopySrcOptions{Bucket: bucket, Object: "stream"})
		require.NoError(t, err)
		obj, err := c.GetObject(ctx, bucket, "composed", minio.GetObjectOptions{})
		require.NoError(t, err)
		got, err := io.ReadAll(obj)
		require.NoError(t, err)
		require.True(t, bytes.Equal(append(append([]byte{}, body...), body...), got))

		objects := make(chan minio.ObjectInfo)
		go func() {
			defer close(objects)
			for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
				objects <- o
			}
		}()
		for e := range c.RemoveObjects(ctx, bucket, objects, minio.RemoveObjectsOptions{}) {
			require.NoError(t, e.Err)
		}
		require.NoError(t, c.RemoveBucket(ctx, bucket))
	})
}

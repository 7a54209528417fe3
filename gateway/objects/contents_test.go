package objects

import (
	"bytes"
	"fmt"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
	"minikv/internal/errs"
)

// verifyAll verifies the bucket and gives what was found, as "key kind".
func verifyAll(t *testing.T, w *world) (Contents, []string) {
	t.Helper()
	var found []string
	did, err := w.VerifyContents(t.Context(), ContentsOptions{Bucket: "b"}, func(x WrongContent) error {
		found = append(found, x.Key+" "+x.Kind)
		require.NotEmpty(t, x.Text)
		require.Equal(t, "b", x.Bucket)
		return nil
	}, func(Contents) error { return nil })
	require.NoError(t, err)
	sort.Strings(found)
	return did, found
}

// composed makes the key an object of parts with right tags and a composite SHA-256.
func composed(t *testing.T, w *world, key string, parts ...[]byte) {
	t.Helper()
	var etag digest.ETagJoiner
	join, err := digest.NewJoiner(digest.SHA256, digest.Composite)
	require.NoError(t, err)
	up := w.upload(byte(len(key)), uint32(digest.SHA256), uint32(digest.Composite))
	id := string(up.ID[:])
	for i, p := range parts {
		body := bodyOf(p)
		body.Want = []uint32{uint32(digest.SHA256)}
		_, err := w.PutPart(t.Context(), PutPartRequest{UploadTarget: up, Number: uint32(i + 1), Body: body})
		require.NoError(t, err)
	}
	w.meta.complete(id, key)
	for _, p := range parts {
		h := digest.NewHasher(digest.Options{MD5: true, Checksums: digest.SetOf(digest.SHA256)})
		h.Write(p)
		sums := h.Sums()
		h.Release()
		etag.Add(sums.MD5)
		require.NoError(t, join.Add(sums.Checksum(digest.SHA256), uint64(len(p))))
	}
	row := w.meta.rows[key]
	tag := etag.ETag()
	row.Etag, row.Checksum = tag.Sum[:], ProtoChecksum(join.Checksum())
}

// TestVerifyContents: what is right is not complained of, and each thing that is wrong is named.
func TestVerifyContents(t *testing.T) {
	w := newWorld(t, 64<<10, Options{})
	for i := range 3 {
		w.mustPut(t, fmt.Sprint("plain", i), bytes.Repeat([]byte{byte(i)}, 1000*i))
	}
	composed(t, w, "parts", bytes.Repeat([]byte("a"), 300_000), []byte("b"), bytes.Repeat([]byte("c"), 5))
	did, found := verifyAll(t, w)
	require.Empty(t, found)
	require.EqualValues(t, 4, did.Objects)
	require.EqualValues(t, 303_006, did.Bytes)
	require.Zero(t, did.Wrong+did.Unread+did.Changed)

	rows := w.meta.rows
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[0] ^= 1; return b }
	rows["plain1"].Etag = flip(rows["plain1"].Etag)
	rows["plain2"].Checksum.Value = flip(rows["plain2"].Checksum.Value)
	did, found = verifyAll(t, w)
	require.Equal(t, []string{"plain1 etag", "plain2 checksum"}, found)
	require.EqualValues(t, 2, did.Wrong)

	parts := w.meta.parts[string(rows["parts"].BodyId)]
	parts[1].Etag = flip(parts[1].Etag)
	parts[2].Checksums[len(parts[2].Checksums)-1].Value = flip(parts[2].Checksums[len(parts[2].Checksums)-1].Value)
	rows["parts"].Checksum.Parts++
	_, found = verifyAll(t, w)
	require.Equal(t, []string{"parts checksum", "parts part checksum", "parts part etag", "plain1 etag", "plain2 checksum"}, found)

	stop := errs.E("test", errs.Canceled, "enough")
	_, err := w.VerifyContents(t.Context(), ContentsOptions{Bucket: "b"}, func(WrongContent) error { return stop }, func(Contents) error { return nil })
	require.ErrorIs(t, err, stop)
}

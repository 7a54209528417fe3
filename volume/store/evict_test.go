package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestEvict: evicted blobs are gone and their segments go; they may be prepared again, and that survives closing and crashes, whether or
// not the index was written in between. What was not prepared again may be back.
func TestEvict(t *testing.T) {
	for _, crash := range []bool{false, true} {
		for _, checkpoint := range []bool{false, true} {
			fs := vfs.NewMem()
			o := Options{FS: fs, Tidy: -1, Ballast: -1}
			st, err := Open("/v", o)
			require.NoError(t, err)
			ids := make([]object.BlobID, 40)
			body := func(i int) []byte { return make([]byte, 100+i*4000) }
			prepare := func(i int, shard uint64) {
				durable, err := st.Prepare(t.Context(), ids[i], object.Epochs{Cluster: 1, Shard: shard}, [][]byte{body(i)})
				require.NoError(t, err)
				require.True(t, durable)
			}
			for i := range ids {
				ids[i] = object.NewRunBase(0, [12]byte{byte(i), 1}).Blob(0)
				prepare(i, 1)
			}
			require.NoError(t, st.Commit(t.Context(), ids...))
			n, err := st.Evict(t.Context(), ids[:30]...)
			require.NoError(t, err)
			require.Equal(t, 30, n)
			n, err = st.Evict(t.Context(), ids[:30]...)
			require.NoError(t, err)
			require.Zero(t, n)
			require.EqualValues(t, 10, st.Stats().Blobs)
			living, err := st.List(object.BlobID{}, 100)
			require.NoError(t, err)
			require.Len(t, living, 10)
			_, err = st.ReadAt(t.Context(), ids[0], make([]byte, 10), 0)
			require.Equal(t, errs.BlobMissing, errs.KindOf(err))
			require.Equal(t, errs.BlobMissing, errs.KindOf(st.Commit(t.Context(), ids[0])))
			require.NoError(t, st.Abort(t.Context(), ids[0]))
			if checkpoint {
				st.janitor.tidy.Lock()
				require.NoError(t, st.checkpoint())
				st.janitor.tidy.Unlock()
			}
			for i := range 9 {
				prepare(i, 3)
			}
			require.NoError(t, st.Commit(t.Context(), ids[0]))
			require.NoError(t, st.Delete(t.Context(), ids[1]))
			prepare(9, 3) // nothing after it says that it is on disk
			check := func() {
				t.Helper()
				for i := range ids {
					got := make([]byte, len(body(i))+1)
					n, err := st.ReadAt(t.Context(), ids[i], got, 0)
					switch {
					case i == 1:
						require.Equal(t, errs.BlobMissing, errs.KindOf(err), "deleted for good")
					case i < 10 || i >= 30:
						require.NoError(t, err, "blob %d", i)
						require.Equal(t, len(body(i)), n)
					}
				}
			}
			check()
			if crash {
				clone := fs.CrashClone(vfs.Survival{})
				require.NoError(t, st.Close())
				fs = clone
			} else {
				require.NoError(t, st.Close())
			}
			o.FS = fs
			st, err = Open("/v", o)
			require.NoError(t, err)
			check()
			_, err = st.Evict(t.Context(), ids...)
			require.NoError(t, err)
			require.Zero(t, st.Stats().Blobs)
			require.NoError(t, st.Tidy(t.Context()))
			require.NoError(t, st.Close())
			st, err = Open("/v", o)
			require.NoError(t, err)
			prepare(2, 5)
			require.NoError(t, st.Close())
		}
	}
}

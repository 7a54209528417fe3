package volume

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/store"
)

// TestEvictsWhatIsNotItsOwn: only blobs of below the horizon, of shards of other volumes, and none of a shard of which a later epoch is
// known; they can come back.
func TestEvictsWhatIsNotItsOwn(t *testing.T) {
	const shards = 4
	s, err := Open("/v", Config{Store: store.Options{FS: vfs.NewMem(), Tidy: -1, Ballast: -1}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Shards(shards))
	var ids []object.BlobID
	prepare := func(id object.BlobID, cluster, shard uint64) {
		_, err := s.Prepare(t.Context(), id, object.Epochs{Cluster: cluster, Shard: shard}, [][]byte{id[:]})
		require.NoError(t, err)
	}
	for i := range 200 {
		id := object.NewRunBase(0, [12]byte{byte(i), 7}).Blob(0)
		ids = append(ids, id)
		prepare(id, uint64(1+i%2), 5)
	}
	p := Placement{Epochs: []uint64{5, 6, 6, 6}, Mine: []bool{false, true, false, false}, Horizon: 2}
	require.NoError(t, s.Fence(t.Context(), 2, shards, 8)) // it joins again
	n, err := s.Evict(t.Context(), p)
	require.NoError(t, err)
	gone := 0
	for i, id := range ids {
		_, err := s.Stat(id)
		shard := id.Shard(shards)
		if (shard == 0 || shard == 3) && i%2 == 0 {
			require.Error(t, err, "shard %d epoch %d", shard, 1+i%2)
			gone++
			prepare(id, 1, 9)
			_, err = s.Stat(id)
		}
		require.NoError(t, err, "shard %d epoch %d", shard, 1+i%2)
	}
	require.Equal(t, gone, n)
	require.NotZero(t, n)
	n, err = s.Evict(t.Context(), p)
	require.NoError(t, err)
	require.Zero(t, n, "they have been prepared by later epochs of their shards")
}

package repair

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/coordinator/meta"
	"minikv/internal/object"
)

// TestLastCopies are found by missing rows, however many there are, and only of blobs that are alive.
func TestLastCopies(t *testing.T) {
	c := newCluster(4, 3)
	const going = 2
	without := func(v uint32) bool { return v == going }
	var want []object.BlobID
	for n := range 3 * pageRows {
		base := c.put(1+n, 9)
		id := base.Blob(2)
		if !slices.Contains(c.members(id), going) {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(c.members(id)), without)
		switch n % 4 {
		case 0: // both others lack it
			c.lose(id, others[0], object.Missing, true)
			c.lose(id, others[1], object.Damaged, true)
			want = append(want, id)
		case 1: // one of them
			c.lose(id, others[0], object.Missing, true)
		case 2: // all three
			for _, v := range c.members(id) {
				c.lose(id, v, object.Missing, true)
			}
		case 3: // both others, of a blob that was deleted
			for _, v := range others {
				c.lose(id, v, object.Missing, true)
			}
			delete(c.runs, base)
		}
	}
	last, err := LastCopies(t.Context(), c, without)
	require.NoError(t, err)
	require.EqualValues(t, len(want), last.Count)
	require.Len(t, last.Some, lastNamed)
	for _, id := range last.Some {
		require.Contains(t, want, id)
		require.Contains(t, last.String(), id.String())
	}

	last, err = LastCopies(t.Context(), c, func(uint32) bool { return false })
	require.NoError(t, err)
	require.Zero(t, last.Count)
	for _, v := range c.layout.Volumes { // what only volumes have that are out is as good as gone
		if v.Number != going {
			v.State = meta.VolumeOut
		}
	}
	more, err := LastCopies(t.Context(), c, without)
	require.NoError(t, err)
	require.Greater(t, more.Count, int64(len(want)))
}

// TestLastCopiesThatAreKept: a volume that a shard has left may have the last copy too.
func TestLastCopiesThatAreKept(t *testing.T) {
	c := newCluster(4, 3)
	id := c.put(1, 9).Blob(2)
	row := c.layout.Shards[id.Shard(testShards)]
	for _, v := range row.Members {
		c.lose(id, v, object.Missing, true)
	}
	row.Leaving = []uint32{1, 2, 3, 4}
	row.Leaving = slices.DeleteFunc(row.Leaving, func(v uint32) bool { return slices.Contains(row.Members, v) })
	last, err := LastCopies(t.Context(), c, func(v uint32) bool { return v == row.Leaving[0] })
	require.NoError(t, err)
	require.Equal(t, []object.BlobID{id}, last.Some)
}

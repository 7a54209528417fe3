package lists

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/internal/object"
)

func idOf(n int) (id object.BlobID) {
	binary.BigEndian.PutUint64(id[1:], uint64(n)*0x9E3779B97F4A7C15)
	binary.BigEndian.PutUint32(id[10:], uint32(n+1))
	return id
}

// volume lists what it has, as a volume does.
func volume(has []object.BlobInfo) Read {
	slices.SortFunc(has, func(a, b object.BlobInfo) int { return compare(a.ID, b.ID) })
	return func(_ context.Context, after object.BlobID, limit int) ([]object.BlobInfo, error) {
		var page []object.BlobInfo
		for _, b := range has {
			if (after == object.BlobID{} || compare(b.ID, after) > 0) && len(page) < limit {
				page = append(page, b)
			}
		}
		return page, nil
	}
}

// TestMergedLists have each blob once, in order, with all who list it, from wherever one begins (L1).
func TestMergedLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blobs := rapid.IntRange(0, 60).Draw(t, "blobs")
		want := map[object.BlobID]Blob{}
		has := make([][]object.BlobInfo, rapid.IntRange(0, 4).Draw(t, "volumes"))
		for n := range blobs {
			for v := range has {
				if !rapid.Bool().Draw(t, "has") {
					continue
				}
				epoch := uint64(rapid.IntRange(1, 3).Draw(t, "epoch"))
				has[v] = append(has[v], object.BlobInfo{ID: idOf(n), Length: int64(n), Epochs: object.Epochs{Cluster: epoch}})
				b := want[idOf(n)]
				want[idOf(n)] = Blob{ID: idOf(n), Length: int64(n), Epoch: max(b.Epoch, epoch), From: b.From | 1<<v}
			}
		}
		var after object.BlobID
		if rapid.Bool().Draw(t, "resumed") {
			after = idOf(rapid.IntRange(0, 60).Draw(t, "after"))
			for id := range want {
				if compare(id, after) <= 0 {
					delete(want, id)
				}
			}
		}
		m := New(after, rapid.IntRange(1, 9).Draw(t, "page"))
		for v := range has {
			require.NoError(t, m.Add(context.Background(), volume(has[v])))
		}
		var last object.BlobID
		for {
			b, ok, err := m.Next(context.Background())
			require.NoError(t, err)
			if !ok {
				break
			}
			require.True(t, last == object.BlobID{} || compare(last, b.ID) < 0)
			require.Equal(t, want[b.ID], b)
			delete(want, b.ID)
			last = b.ID
		}
		require.Empty(t, want)
	})
}

// TestListsThatFail are errors and no ends (L2): also a volume that gives the same page for ever, which would not end otherwise.
func TestListsThatFail(t *testing.T) {
	ids := []object.BlobInfo{{ID: idOf(1)}, {ID: idOf(2)}, {ID: idOf(3)}, {ID: idOf(4)}}
	slices.SortFunc(ids, func(a, b object.BlobInfo) int { return compare(a.ID, b.ID) })
	for name, second := range map[string]Read{
		"an error": func(context.Context, object.BlobID, int) ([]object.BlobInfo, error) {
			return nil, errs.E("fake", errs.Unavailable, "away")
		},
		"the same page": func(context.Context, object.BlobID, int) ([]object.BlobInfo, error) { return ids[:2], nil },
		"out of order": func(context.Context, object.BlobID, int) ([]object.BlobInfo, error) {
			return []object.BlobInfo{ids[3], ids[2]}, nil
		},
		"too long": func(context.Context, object.BlobID, int) ([]object.BlobInfo, error) {
			return append(ids[2:4:4], ids[3]), nil
		},
	} {
		m := New(object.BlobID{}, 2)
		require.NoError(t, m.Add(t.Context(), volume(ids)))
		pages := 0
		require.NoError(t, m.Add(t.Context(), func(ctx context.Context, after object.BlobID, limit int) ([]object.BlobInfo, error) {
			if pages++; pages > 1 {
				return second(ctx, after, limit)
			}
			return ids[:2], nil
		}))
		var err error
		for n := 0; err == nil; n++ {
			_, ok, e := m.Next(t.Context())
			require.True(t, ok || e != nil, name)
			require.Less(t, n, 10, name)
			err = e
		}
	}
	m := New(object.BlobID{}, 2)
	require.Error(t, m.Add(t.Context(), func(context.Context, object.BlobID, int) ([]object.BlobInfo, error) {
		return nil, errs.E("fake", errs.Unavailable, "away")
	}))
	require.Zero(t, m.Len())
	for range SourcesMax {
		require.NoError(t, m.Add(t.Context(), volume(nil)))
	}
	require.True(t, errs.Is(m.Add(t.Context(), volume(nil)), errs.LimitExceeded))
}

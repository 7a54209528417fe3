package store

import (
	"slices"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
)

const testShards = 4

func digests(t *testing.T, st *Store) []ShardDigest {
	t.Helper()
	d, err := st.ShardDigests(testShards)
	must(t, err)
	return d
}

// TestReplicasCompare: volumes with the same blobs have the same digests, however these came and whatever state they have; of volumes that
// differ, filters and lists find each blob that one lacks.
func TestReplicasCompare(t *testing.T) {
	a, err := Open("/v", tiny(vfs.NewMem()))
	must(t, err)
	mem := vfs.NewMem()
	b, err := Open("/v", tiny(mem))
	must(t, err)
	for n := range 200 {
		put(t, a, n, 100+n)
		put(t, b, 199-n, 100+199-n)
	}
	for n := range 50 {
		must(t, a.Commit(ctx, testID(n)))
	}
	put(t, b, 1000, 50)
	must(t, b.Delete(ctx, testID(1000)))
	must(t, b.Checkpoint())
	must(t, b.Close())
	b, err = Open("/v", tiny(mem))
	must(t, err)
	if x, y := digests(t, a), digests(t, b); !slices.Equal(x, y) || len(x) != testShards || x[0].Blobs == 0 {
		t.Fatalf("%+v, %+v", x, y)
	}
	lost := []int{3, 77, 150}
	for _, n := range lost {
		must(t, b.Delete(ctx, testID(n)))
	}
	found := map[object.BlobID]bool{}
	for shard := range testShards {
		for len(found) < 1000 { // a filter that misses one of three, with another seed each time
			lacking := lackingOf(t, a, b, shard)
			if back := lackingOf(t, b, a, shard); len(back) != 0 {
				t.Fatalf("a does not lack %v", back)
			}
			for _, in := range lacking {
				found[in.ID] = true
			}
			want := digests(t, a)[shard].Blobs - digests(t, b)[shard].Blobs
			if uint64(len(lacking)) == want {
				break
			}
		}
	}
	for _, n := range lost {
		if !found[testID(n)] {
			t.Errorf("blob %d is not found to be lacking", n)
		}
	}
	if len(found) != len(lost) {
		t.Errorf("%d found lacking, not %d", len(found), len(lost))
	}
	must(t, a.Close())
	must(t, b.Close())
}

// lackingOf is what a has of a shard and b surely lacks, by way of the bytes of b's filter, in pages.
func lackingOf(t *testing.T, a, b *Store, shard int) (all []object.BlobInfo) {
	t.Helper()
	f, err := b.ShardFilter(shard, testShards)
	must(t, err)
	wire, err := f.MarshalBinary()
	must(t, err)
	f, err = index.ParseFilter(wire)
	must(t, err)
	after := object.BlobID{}
	for {
		page, err := a.Lacking(shard, testShards, f, after, 2)
		must(t, err)
		all = append(all, page...)
		if len(page) < 2 {
			return all
		}
		after = page[1].ID
	}
}

// TestListShard: the pages of all shards are the list of the volume, each blob in its shard.
func TestListShard(t *testing.T) {
	st, err := Open("/v", tiny(vfs.NewMem()))
	must(t, err)
	for n := range 100 {
		put(t, st, n, n)
	}
	seen := map[object.BlobID]bool{}
	for shard := range testShards {
		d := ShardDigest{Shard: uint32(shard)}
		for after, more := (object.BlobID{}), true; more; {
			page, err := st.ListShard(shard, testShards, after, 7)
			must(t, err)
			for _, in := range page {
				if in.ID.Shard(testShards) != uint32(shard) || seen[in.ID] {
					t.Fatalf("shard %d: %+v", shard, in)
				}
				seen[in.ID], after = true, in.ID
				d.Add(in.ID, in.Length)
			}
			more = len(page) == 7
		}
		if got := digests(t, st)[shard]; got != d {
			t.Fatalf("digest %+v, want %+v", got, d)
		}
	}
	if len(seen) != 100 {
		t.Fatalf("%d blobs", len(seen))
	}
	for _, bad := range [][3]int{{4, 4, 1}, {-1, 4, 1}, {0, 0, 1}, {0, object.ShardsMax + 1, 1}, {0, 1, 0}} {
		_, err := st.ListShard(bad[0], bad[1], object.BlobID{}, bad[2])
		wantKind(t, err, errs.Invalid)
	}
	must(t, st.Close())
	_, err = st.ShardDigests(testShards)
	wantKind(t, err, errs.Unavailable)
	_, err = st.ShardFilter(0, testShards)
	wantKind(t, err, errs.Unavailable)
}

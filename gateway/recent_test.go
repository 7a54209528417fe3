package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/proto/metapb"
)

// changeBucket replaces the row behind the gateway's back, as another gateway would. nil: deleted.
func (f *fakeStore) changeBucket(name string, row *metapb.BucketRow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.buckets, name)
	if row != nil {
		f.buckets[name] = row
	}
}

// TestAPutReliesOnARecentBucket only as far as its decision confirms it: a bucket that another gateway deleted, made anew or gave
// to someone else is treated as it is now.
func TestAPutReliesOnARecentBucket(t *testing.T) {
	f := newFront(t)
	put := func(status int, code string) { t.Helper(); f.expect(status, code, "PUT", "/bkt/k", []byte("x")) }
	f.expect(200, "", "PUT", "/bkt", nil)
	put(200, "")

	f.store.changeBucket("bkt", &metapb.BucketRow{Id: []byte("again"), Name: "bkt", Owner: "alice-id"})
	put(200, "")
	require.Contains(t, f.store.rows, "again/k", "written to the new bucket")

	f.store.changeBucket("bkt", nil)
	put(404, "NoSuchBucket")

	f.store.changeBucket("bkt", &metapb.BucketRow{Id: []byte("bobs"), Name: "bkt", Owner: "bob-id"})
	put(403, "AccessDenied")
	f.want(f.doBob("PUT", "/bkt/k", []byte("x")), 200, "") // the row as alice knew it denies bob
	f.store.changeBucket("bkt", &metapb.BucketRow{Id: []byte("alices"), Name: "bkt", Owner: "alice-id"})
	f.want(f.doBob("PUT", "/bkt/k", []byte("x")), 403, "AccessDenied")
	put(200, "")
}

// TestARecentBucketIsNotReadAgain by a PUT.
func TestARecentBucketIsNotReadAgain(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	for range 100 { // a second may pass between two on a busy machine
		before := f.store.reads.Load()
		f.expect(200, "", "PUT", "/bkt/k", []byte("x"))
		if f.store.reads.Load() == before {
			return
		}
	}
	t.Fatal("every PUT read the bucket's row")
}

package objects

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Delete deletes keys or versions of one bucket in one entry, at most 1,000; each has its own result, in order.
func (o *Objects) Delete(ctx context.Context, sc Scope, keys []*metapb.DeleteKey) (*metapb.DeleteResults, error) {
	return nil, errs.E("objects.Delete", errs.Unsupported, "not built yet")
}

// PutTags replaces an object's tags; none deletes them. The result names the version; it may lack the rest.
func (o *Objects) PutTags(ctx context.Context, sc Scope, key object.Key, version string, tags []*metapb.Pair) (*metapb.PutResult, error) {
	return nil, errs.E("objects.PutTags", errs.Unsupported, "not built yet")
}

// ListPage is the state of a bucket's names at one committed index.
type ListPage struct {
	Bucket    *metapb.BucketRow
	Entries   []ListEntry
	Truncated bool
}

// ListEntry is a key with its row, or a common prefix.
type ListEntry struct {
	Key string
	Row *metapb.ObjectRow // nil: Key is a common prefix
}

// List is a page of a bucket's current objects. errs.NoSuchBucket.
func (o *Objects) List(ctx context.Context, q *metapb.ListObjectsQuery) (*ListPage, error) {
	return nil, errs.E("objects.List", errs.Unsupported, "not built yet")
}

// CreateBucket makes a bucket. errs.BucketExists, errs.BucketOwned.
func (o *Objects) CreateBucket(ctx context.Context, cmd *metapb.CreateBucket) (*metapb.BucketRow, error) {
	return nil, errs.E("objects.CreateBucket", errs.Unsupported, "not built yet")
}

// DeleteBucket removes an empty bucket. errs.BucketNotEmpty, errs.InvalidBucketState (bound to the native API).
func (o *Objects) DeleteBucket(ctx context.Context, sc Scope) error {
	return errs.E("objects.DeleteBucket", errs.Unsupported, "not built yet")
}

// Bucket reads a bucket's row. errs.NoSuchBucket.
func (o *Objects) Bucket(ctx context.Context, name object.Bucket) (*metapb.BucketRow, error) {
	return nil, errs.E("objects.Bucket", errs.Unsupported, "not built yet")
}

// ListBuckets is a page of buckets by name.
func (o *Objects) ListBuckets(ctx context.Context, q *metapb.ListBucketsQuery) (*metapb.ListBucketsAnswer, error) {
	return nil, errs.E("objects.ListBuckets", errs.Unsupported, "not built yet")
}

// RefOf names the bucket of a row as it was authorized.
func RefOf(row *metapb.BucketRow) *metapb.BucketRef {
	return &metapb.BucketRef{Name: row.GetName(), Id: row.GetId()}
}

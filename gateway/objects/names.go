package objects

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Delete deletes keys or versions of one bucket in one entry, at most 1,000; each has its own result, in order.
func (o *Objects) Delete(ctx context.Context, sc Scope, keys []*metapb.DeleteKey) (*metapb.DeleteResults, error) {
	res, _, err := o.decide(ctx, "objects.Delete", sc, func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_DeleteObjects{DeleteObjects: &metapb.DeleteObjects{Bucket: b, Keys: keys}}}
	})
	if err != nil {
		return nil, err
	}
	return res.GetDeletes(), nil
}

// PutTags replaces an object's tags; none deletes them. The result names the version; it may lack the rest.
func (o *Objects) PutTags(ctx context.Context, sc Scope, key object.Key, version string, tags []*metapb.Pair) (*metapb.PutResult, error) {
	res, _, err := o.decide(ctx, "objects.PutTags", sc, func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_PutTags{PutTags: &metapb.PutTags{Bucket: b, Key: string(key), Version: version, Tags: tags}}}
	})
	if err != nil {
		return nil, err
	}
	if res.GetPut() == nil {
		return &metapb.PutResult{}, nil
	}
	return res.GetPut(), nil
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
	const op = "objects.List"
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_ListObjects{ListObjects: q}})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	l := a.GetListObjects()
	if l.GetBucket() == nil {
		return nil, errs.E(op, errs.NoSuchBucket, "%s", q.GetBucket())
	}
	page := &ListPage{Bucket: l.Bucket, Truncated: l.Truncated, Entries: make([]ListEntry, len(l.Entries))}
	rows := make([]metapb.ObjectRow, len(l.Entries)) // one allocation for the page
	for i, e := range l.Entries {
		page.Entries[i].Key = e.Key
		if len(e.Row) == 0 {
			continue
		}
		if err := proto.Unmarshal(e.Row, &rows[i]); err != nil {
			return nil, errs.WrapKind(op, errs.Corrupt, err) // a page is never silently short
		}
		page.Entries[i].Row = &rows[i]
	}
	return page, nil
}

// CreateBucket makes a bucket. errs.BucketExists, errs.BucketOwned.
func (o *Objects) CreateBucket(ctx context.Context, cmd *metapb.CreateBucket) (*metapb.BucketRow, error) {
	res, _, err := o.decide(ctx, "objects.CreateBucket", Scope{}, func(*metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: cmd}}
	})
	if err != nil {
		return nil, err
	}
	return res.GetBucket(), nil
}

// DeleteBucket removes an empty bucket. errs.BucketNotEmpty, errs.InvalidBucketState (bound to the native API).
func (o *Objects) DeleteBucket(ctx context.Context, sc Scope) error {
	_, _, err := o.decide(ctx, "objects.DeleteBucket", sc, func(b *metapb.BucketRef) *metapb.Command {
		return &metapb.Command{Op: &metapb.Command_DeleteBucket{DeleteBucket: &metapb.DeleteBucket{Bucket: b}}}
	})
	return err
}

// Bucket reads a bucket's row. errs.NoSuchBucket.
func (o *Objects) Bucket(ctx context.Context, name object.Bucket) (*metapb.BucketRow, error) {
	const op = "objects.Bucket"
	asked := time.Now()
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_GetBucket{GetBucket: &metapb.GetBucketQuery{Name: string(name)}}})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if a.GetBucket() == nil {
		return nil, errs.E(op, errs.NoSuchBucket, "%s", name)
	}
	o.recent.note(name, a.GetBucket(), asked)
	return a.GetBucket(), nil
}

// ListBuckets is a page of buckets by name.
func (o *Objects) ListBuckets(ctx context.Context, q *metapb.ListBucketsQuery) (*metapb.ListBucketsAnswer, error) {
	a, err := o.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_ListBuckets{ListBuckets: q}})
	if err != nil {
		return nil, errs.Wrap("objects.ListBuckets", err)
	}
	if a.GetListBuckets() == nil {
		return &metapb.ListBucketsAnswer{}, nil
	}
	return a.GetListBuckets(), nil
}

// RefOf names the bucket of a row as it was authorized.
func RefOf(row *metapb.BucketRow) *metapb.BucketRef {
	return &metapb.BucketRef{Name: row.GetName(), Id: row.GetId()}
}

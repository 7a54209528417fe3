package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"minikv/gateway/objects"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// fakeStore is a coordinator and a volume that know just enough for the front door to stand on: buckets and plain objects in maps.
// Whole-stack behaviour is tested in e2e, against the real ones.
type fakeStore struct {
	mu      sync.Mutex
	index   uint64
	buckets map[string]*metapb.BucketRow
	rows    map[string]*metapb.ObjectRow // bucket id + "/" + key
	blobs   map[object.BlobID][]byte
	doErr   error // given by every Do, if set
	writes  int   // blobs prepared
	reads   atomic.Int64
}

func newFakeStore() *fakeStore {
	return &fakeStore{buckets: map[string]*metapb.BucketRow{}, rows: map[string]*metapb.ObjectRow{}, blobs: map[object.BlobID][]byte{}}
}

func (f *fakeStore) Layout() *metapb.Layout {
	return &metapb.Layout{
		Cluster: &metapb.ClusterRow{Epoch: 1},
		Pools:   []*metapb.PoolRow{{Shards: 1, Replication: 1, BlobSize: 1 << 20}},
		Shards:  []*metapb.ShardRow{{Epoch: 1, Members: []uint32{1}}},
		Volumes: []*metapb.VolumeRow{{Number: 1}},
	}
}

func (f *fakeStore) RefreshLayout(context.Context) error            { return nil }
func (f *fakeStore) Volume(n uint32) (objects.Volume, bool)         { return f, n == 1 }
func (f *fakeStore) Commit(context.Context, ...object.BlobID) error { return nil }
func (f *fakeStore) Abort(context.Context, ...object.BlobID) error  { return nil }

func (f *fakeStore) Prepare(_ context.Context, id object.BlobID, _ object.Epochs, data [][]byte) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b []byte
	for _, d := range data {
		b = append(b, d...)
	}
	f.blobs[id] = b
	f.writes++
	return true, nil
}

func (f *fakeStore) ReadAt(_ context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[id]
	if !ok {
		return 0, errs.E("fake", errs.BlobMissing, "")
	}
	return copy(dst, b[off:]), nil
}

func (f *fakeStore) bucket(ref *metapb.BucketRef) (*metapb.BucketRow, error) {
	b := f.buckets[ref.GetName()]
	switch {
	case b == nil:
		return nil, errs.E("fake", errs.NoSuchBucket, "")
	case string(b.Id) != string(ref.GetId()):
		return nil, errs.E("fake", errs.StaleBucket, "")
	}
	return b, nil
}

func rowKey(b *metapb.BucketRow, key string) string { return string(b.Id) + "/" + key }

func (f *fakeStore) Do(_ context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doErr != nil {
		return nil, f.doErr
	}
	f.index++
	switch op := cmd.Op.(type) {
	case *metapb.Command_CreateBucket:
		return f.createBucket(op.CreateBucket)
	case *metapb.Command_DeleteBucket:
		b, err := f.bucket(op.DeleteBucket.Bucket)
		if err != nil {
			return nil, err
		}
		for k := range f.rows {
			if strings.HasPrefix(k, string(b.Id)+"/") {
				return nil, errs.E("fake", errs.BucketNotEmpty, "")
			}
		}
		delete(f.buckets, b.Name)
		return &metapb.Result{}, nil
	case *metapb.Command_PutObject:
		return f.put(op.PutObject)
	case *metapb.Command_DeleteObjects:
		return f.delete(op.DeleteObjects)
	case *metapb.Command_CopyObject:
		return f.copy(op.CopyObject)
	case *metapb.Command_PutTags:
		b, err := f.bucket(op.PutTags.Bucket)
		if err != nil {
			return nil, err
		}
		row := f.rows[rowKey(b, op.PutTags.Key)]
		if row == nil {
			return nil, errs.E("fake", errs.NoSuchKey, "")
		}
		row.Tags = op.PutTags.Tags
		return &metapb.Result{Value: &metapb.Result_Put{Put: &metapb.PutResult{}}}, nil
	case *metapb.Command_CreateUpload:
		up := &metapb.UploadRow{Id: make([]byte, 16), Key: op.CreateUpload.Key, ChecksumType: op.CreateUpload.ChecksumType,
			ChecksumAlgorithm: op.CreateUpload.ChecksumAlgorithm}
		binary.BigEndian.PutUint64(up.Id, f.index)
		return &metapb.Result{Value: &metapb.Result_Upload{Upload: up}}, nil
	}
	return nil, errs.E("fake", errs.NoSuchUpload, "the fake has no %T", cmd.Op)
}

func (f *fakeStore) createBucket(c *metapb.CreateBucket) (*metapb.Result, error) {
	if b := f.buckets[c.Name]; b != nil {
		if b.Owner == c.Owner {
			return nil, errs.E("fake", errs.BucketOwned, "")
		}
		return nil, errs.E("fake", errs.BucketExists, "")
	}
	b := &metapb.BucketRow{Id: fmt.Appendf(nil, "%08d", f.index), Name: c.Name, Owner: c.Owner, Region: c.Region, CreatedMs: time.Now().UnixMilli()}
	f.buckets[c.Name] = b
	return &metapb.Result{Value: &metapb.Result_Bucket{Bucket: b}}, nil
}

func (f *fakeStore) put(c *metapb.PutObject) (*metapb.Result, error) {
	b, err := f.bucket(c.Bucket)
	if err != nil {
		return nil, err
	}
	k := rowKey(b, c.Key)
	if err := f.conditions(c.Conditions, f.rows[k]); err != nil {
		return nil, err
	}
	n := c.Object
	row := &metapb.ObjectRow{Version: binary.BigEndian.AppendUint64(nil, f.index), Size: n.Size, Etag: n.Etag, ModifiedMs: time.Now().UnixMilli(),
		Checksum: n.Checksum, Owner: n.Owner, Attributes: n.Attributes, Tags: n.Tags, Run: c.Written.GetRun(), NullVersion: true}
	f.rows[k] = row
	return &metapb.Result{Value: &metapb.Result_Put{Put: &metapb.PutResult{Etag: n.Etag, Checksum: n.Checksum, ModifiedMs: row.ModifiedMs, Size: n.Size}}}, nil
}

func (f *fakeStore) copy(c *metapb.CopyObject) (*metapb.Result, error) {
	from, err := f.bucket(c.Source.Bucket)
	if err != nil {
		return nil, err
	}
	to, err := f.bucket(c.Bucket)
	if err != nil {
		return nil, err
	}
	src := f.rows[rowKey(from, c.Source.Key)]
	if src == nil {
		return nil, errs.E("fake", errs.NoSuchKey, "")
	}
	row := proto.Clone(src).(*metapb.ObjectRow)
	row.Version, row.ModifiedMs = binary.BigEndian.AppendUint64(nil, f.index), time.Now().UnixMilli()
	f.rows[rowKey(to, c.Key)] = row
	return &metapb.Result{Value: &metapb.Result_Put{Put: &metapb.PutResult{Etag: row.Etag, Checksum: row.Checksum, ModifiedMs: row.ModifiedMs, Size: row.Size}}}, nil
}

func (f *fakeStore) conditions(c *metapb.Conditions, row *metapb.ObjectRow) error {
	switch {
	case c == nil:
		return nil
	case c.IfNoneMatchAny && row != nil:
		return errs.E("fake", errs.Precondition, "")
	case (len(c.IfMatch) > 0 || c.IfMatchAny || c.IfMatchSize != nil) && row == nil:
		return errs.E("fake", errs.NoSuchKey, "")
	case len(c.IfMatch) > 0 && c.IfMatch[0] != etagOf(row.Etag, row.EtagParts).String(), c.IfMatchSize != nil && *c.IfMatchSize != row.Size:
		return errs.E("fake", errs.Precondition, "")
	}
	return nil
}

func (f *fakeStore) delete(c *metapb.DeleteObjects) (*metapb.Result, error) {
	b, err := f.bucket(c.Bucket)
	if err != nil {
		return nil, err
	}
	out := &metapb.DeleteResults{}
	for _, k := range c.Keys {
		r := &metapb.DeleteResult{}
		if err := f.conditions(k.Conditions, f.rows[rowKey(b, k.Key)]); err != nil {
			r.Failed, r.Kind = true, uint32(errs.KindOf(err))
		} else {
			delete(f.rows, rowKey(b, k.Key))
		}
		out.Results = append(out.Results, r)
	}
	return &metapb.Result{Value: &metapb.Result_Deletes{Deletes: out}}, nil
}

func (f *fakeStore) Read(_ context.Context, q *metapb.Query) (*metapb.Answer, error) {
	f.reads.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	named := func(name string) (*metapb.BucketRow, error) {
		if b := f.buckets[name]; b != nil {
			return b, nil
		}
		return nil, errs.E("fake", errs.NoSuchBucket, "")
	}
	switch q := q.Q.(type) {
	case *metapb.Query_GetBucket:
		b, err := named(q.GetBucket.Name)
		return &metapb.Answer{A: &metapb.Answer_Bucket{Bucket: b}}, err
	case *metapb.Query_GetObject:
		b, err := named(q.GetObject.Bucket)
		if err != nil {
			return nil, err
		}
		return &metapb.Answer{A: &metapb.Answer_GetObject{GetObject: &metapb.GetObjectAnswer{Bucket: b, Row: f.rows[rowKey(b, q.GetObject.Key)]}}}, nil
	case *metapb.Query_ListObjects:
		return f.list(q.ListObjects, named)
	case *metapb.Query_ListBuckets:
		out := &metapb.ListBucketsAnswer{}
		for _, b := range f.buckets {
			if b.Owner == q.ListBuckets.Owner && strings.HasPrefix(b.Name, q.ListBuckets.Prefix) && b.Name > q.ListBuckets.After {
				out.Buckets = append(out.Buckets, b)
			}
		}
		sort.Slice(out.Buckets, func(i, j int) bool { return out.Buckets[i].Name < out.Buckets[j].Name })
		if n := int(q.ListBuckets.Limit); len(out.Buckets) > n {
			out.Buckets, out.Truncated = out.Buckets[:n], true
		}
		return &metapb.Answer{A: &metapb.Answer_ListBuckets{ListBuckets: out}}, nil
	case *metapb.Query_GetUpload:
		b, err := named(q.GetUpload.Bucket)
		return &metapb.Answer{A: &metapb.Answer_GetUpload{GetUpload: &metapb.GetUploadAnswer{Bucket: b}}}, err
	case *metapb.Query_ListUploads:
		b, err := named(q.ListUploads.Bucket)
		return &metapb.Answer{A: &metapb.Answer_ListUploads{ListUploads: &metapb.ListUploadsAnswer{Bucket: b}}}, err
	}
	return nil, errs.E("fake", errs.NoSuchUpload, "the fake has no %T", q.Q)
}

func (f *fakeStore) list(q *metapb.ListObjectsQuery, named func(string) (*metapb.BucketRow, error)) (*metapb.Answer, error) {
	b, err := named(q.Bucket)
	if err != nil {
		return nil, err
	}
	var keys []string
	for k := range f.rows {
		if key, ok := strings.CutPrefix(k, string(b.Id)+"/"); ok && strings.HasPrefix(key, q.Prefix) && key > q.After {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	out := &metapb.ListObjectsAnswer{Bucket: b}
	last := ""
	for _, key := range keys {
		entry := &metapb.ListEntry{Key: key}
		if i := strings.Index(key[len(q.Prefix):], q.Delimiter); q.Delimiter != "" && i >= 0 {
			entry.Key = key[:len(q.Prefix)+i+len(q.Delimiter)]
			if entry.Key == last || entry.Key == q.After {
				continue
			}
		} else {
			entry.Row, _ = proto.Marshal(f.rows[rowKey(b, key)])
		}
		if len(out.Entries) == int(q.Limit) {
			out.Truncated = true
			break
		}
		last = entry.Key
		out.Entries = append(out.Entries, entry)
	}
	return &metapb.Answer{A: &metapb.Answer_ListObjects{ListObjects: out}}, nil
}

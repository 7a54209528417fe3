package objects

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// fakeMeta is a coordinator of one bucket "b", just real enough to read back what was decided.
type fakeMeta struct {
	mu      sync.Mutex
	layout  *metapb.Layout
	rows    map[string]*metapb.ObjectRow
	uploads map[string]*metapb.UploadRow
	parts   map[string][]*metapb.PartRow // of an upload or body, by number
	bodies  map[string]*metapb.BodyRow
	version byte

	commands  []*metapb.Command
	queries   []*metapb.Query
	refreshes int
	// before answers in place of the fake, if it gives a result or an error.
	before func(n int, cmd *metapb.Command) (*metapb.Result, error)
}

func newFakeMeta(blobSize uint32) *fakeMeta {
	l := &metapb.Layout{
		Cluster: &metapb.ClusterRow{Epoch: 7, Fsync: "always"},
		Pools:   []*metapb.PoolRow{{Shards: 8, Replication: 1, BlobSize: blobSize}},
	}
	for s := range uint32(8) {
		l.Shards = append(l.Shards, &metapb.ShardRow{Shard: s, Epoch: 1, Members: []uint32{1}})
	}
	return &fakeMeta{
		layout: l, rows: map[string]*metapb.ObjectRow{}, uploads: map[string]*metapb.UploadRow{},
		parts: map[string][]*metapb.PartRow{}, bodies: map[string]*metapb.BodyRow{},
	}
}

func (m *fakeMeta) Layout() *metapb.Layout {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.layout
}

func (m *fakeMeta) RefreshLayout(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refreshes++
	m.layout = proto.Clone(m.layout).(*metapb.Layout)
	for _, s := range m.layout.Shards {
		s.Epoch++
	}
	return nil
}

func (m *fakeMeta) Do(_ context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commands = append(m.commands, proto.Clone(cmd).(*metapb.Command))
	if m.before != nil {
		if res, err := m.before(len(m.commands), cmd); res != nil || err != nil {
			return res, err
		}
	}
	m.version++
	res := &metapb.Result{}
	switch op := cmd.Op.(type) {
	case *metapb.Command_PutObject:
		res.Value = &metapb.Result_Put{Put: m.put(op.PutObject.Key, op.PutObject.Object, op.PutObject.Written)}
	case *metapb.Command_Batch:
		out := &metapb.BatchResult{}
		for _, o := range op.Batch.Ops {
			r := &metapb.BatchOpResult{Row: m.rows[o.Key]}
			if p := o.GetPut(); p != nil {
				r = &metapb.BatchOpResult{Put: m.put(o.Key, p.Object, p.Written)}
			}
			out.Results = append(out.Results, r)
		}
		res.Value = &metapb.Result_Batch{Batch: out}
	case *metapb.Command_PutPart:
		p := op.PutPart
		row := &metapb.PartRow{Number: p.Number, Size: p.Size, Etag: p.Etag, Checksums: p.Checksums}
		if p.Written != nil {
			row.Slices = []*metapb.Slice{{Run: p.Written.Run, Length: p.Size}}
		}
		id := string(p.Upload.UploadId)
		m.parts[id] = append(m.parts[id], row)
		res.Value = &metapb.Result_Put{Put: &metapb.PutResult{ModifiedMs: 5}}
	case *metapb.Command_CompleteUpload:
		id := string(op.CompleteUpload.Upload.UploadId)
		m.complete(id, op.CompleteUpload.Upload.Key)
		res.Value = &metapb.Result_Put{Put: &metapb.PutResult{EtagParts: uint32(len(m.parts[id]))}}
	case *metapb.Command_CopyPart:
		res.Value = &metapb.Result_Put{Put: &metapb.PutResult{ModifiedMs: 6}}
	case *metapb.Command_CopyObject:
		res.Value = &metapb.Result_Put{Put: &metapb.PutResult{Checksum: op.CopyObject.Checksum}}
	}
	return res, nil
}

func (m *fakeMeta) put(key string, o *metapb.NewObject, w *metapb.Written) *metapb.PutResult {
	row := &metapb.ObjectRow{Version: []byte{m.version}, Size: o.Size, Etag: o.Etag, Checksum: o.Checksum, Run: w.GetRun(), Owner: o.Owner}
	m.rows[key] = proto.Clone(row).(*metapb.ObjectRow)
	return &metapb.PutResult{Version: row.Version, Etag: row.Etag, Size: row.Size, Checksum: row.Checksum}
}

func (m *fakeMeta) complete(id, key string) {
	var off uint64
	for _, p := range m.parts[id] {
		p.Offset, p.Completed = off, true
		off += p.Size
	}
	m.bodies[id] = &metapb.BodyRow{References: 1, Parts: uint32(len(m.parts[id])), Size: off}
	m.rows[key] = &metapb.ObjectRow{
		Version: []byte{m.version}, Size: off, BodyId: []byte(id), Parts: uint32(len(m.parts[id])),
		Etag: make([]byte, 16), EtagParts: uint32(len(m.parts[id])),
	}
	delete(m.uploads, id)
}

func (m *fakeMeta) Read(_ context.Context, q *metapb.Query) (*metapb.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries = append(m.queries, q)
	switch q := q.Q.(type) {
	case *metapb.Query_GetObject:
		return &metapb.Answer{A: &metapb.Answer_GetObject{GetObject: m.getObject(q.GetObject)}}, nil
	case *metapb.Query_BodyParts:
		id := string(q.BodyParts.BodyId)
		a := &metapb.BodyPartsAnswer{Body: m.bodies[id]}
		if a.Body != nil {
			a.Parts, a.More = m.page(id, q.BodyParts.Offset, q.BodyParts.After+1, q.BodyParts.Limit)
		}
		return &metapb.Answer{A: &metapb.Answer_BodyParts{BodyParts: a}}, nil
	case *metapb.Query_GetUpload:
		a := &metapb.GetUploadAnswer{Bucket: theBucket, Upload: m.uploads[string(q.GetUpload.UploadId)]}
		return &metapb.Answer{A: &metapb.Answer_GetUpload{GetUpload: a}}, nil
	case *metapb.Query_ListObjects:
		a := &metapb.ListObjectsAnswer{Bucket: theBucket}
		for key, row := range m.rows {
			b, _ := proto.Marshal(row)
			a.Entries = append(a.Entries, &metapb.ListEntry{Key: key, Row: b})
		}
		a.Entries = append(a.Entries, &metapb.ListEntry{Key: "prefix/"})
		return &metapb.Answer{A: &metapb.Answer_ListObjects{ListObjects: a}}, nil
	}
	return nil, errs.E("fake.Read", errs.Unsupported, "%T", q.Q)
}

var theBucket = &metapb.BucketRow{Id: []byte("12345678"), Name: "b"}

func (m *fakeMeta) getObject(q *metapb.GetObjectQuery) *metapb.GetObjectAnswer {
	if q.Bucket != "b" {
		return &metapb.GetObjectAnswer{}
	}
	a := &metapb.GetObjectAnswer{Bucket: theBucket, Row: m.rows[q.Key]}
	if a.Row != nil && len(a.Row.BodyId) > 0 && q.WantParts {
		off := q.Offset
		if q.OffsetFromEnd {
			off = a.Row.Size - min(off, a.Row.Size)
		}
		a.Parts, a.MoreParts = m.page(string(a.Row.BodyId), off, max(1, q.PartNumber), q.PartsLimit)
	}
	return a
}

// page gives parts from an offset or, if that is 0, a number on.
func (m *fakeMeta) page(id string, off uint64, number, limit uint32) (out []*metapb.PartRow, more bool) {
	for _, p := range m.parts[id] {
		if off > 0 && p.Offset+p.Size <= off || off == 0 && p.Number < number {
			continue
		}
		if len(out) == int(limit) {
			return out, true
		}
		out = append(out, p)
	}
	return out, false
}

// memVolume keeps blobs in memory.
type memVolume struct {
	mu        sync.Mutex
	blobs     map[object.BlobID][]byte
	committed map[object.BlobID]bool
	aborted   map[object.BlobID]bool
	reads     int
	onRead    func(id object.BlobID) error
	onPrepare func(id object.BlobID) error
}

func newMemVolume() *memVolume {
	return &memVolume{blobs: map[object.BlobID][]byte{}, committed: map[object.BlobID]bool{}, aborted: map[object.BlobID]bool{}}
}

func (v *memVolume) Volume(n uint32) (Volume, bool) { return v, n == 1 }

func (v *memVolume) Prepare(_ context.Context, id object.BlobID, _ object.Epochs, data [][]byte) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.onPrepare != nil {
		if err := v.onPrepare(id); err != nil {
			return false, err
		}
	}
	v.blobs[id] = bytes.Join(data, nil)
	return true, nil
}

func (v *memVolume) Commit(_ context.Context, ids ...object.BlobID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		v.committed[id] = true
	}
	return nil
}

func (v *memVolume) Abort(_ context.Context, ids ...object.BlobID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		v.aborted[id] = true
	}
	return nil
}

func (v *memVolume) ReadAt(_ context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reads++
	if v.onRead != nil {
		if err := v.onRead(id); err != nil {
			return 0, err
		}
	}
	b, ok := v.blobs[id]
	if !ok {
		return 0, errs.E("mem.ReadAt", errs.BlobMissing, "no blob %v", id)
	}
	return copy(dst, b[off:]), nil
}

// world is an Objects over fakes. finish closes it, which sends all hints, before the volume is looked at.
type world struct {
	*Objects
	meta *fakeMeta
	vol  *memVolume
	once sync.Once
}

func newWorld(t testing.TB, blobSize uint32, opt Options) *world {
	w := &world{meta: newFakeMeta(blobSize), vol: newMemVolume()}
	w.Objects = New(w.meta, w.vol, opt)
	t.Cleanup(w.finish)
	return w
}

func (w *world) finish() { w.once.Do(w.Objects.Close) }

func scope() Scope { return Scope{Bucket: RefOf(theBucket)} }

func bodyOf(b []byte) Body { return Body{Reader: bytes.NewReader(b), Size: int64(len(b))} }

func (w *world) mustPut(t testing.TB, key string, b []byte) *metapb.PutResult {
	t.Helper()
	res, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: object.Key(key), Body: bodyOf(b)})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// read gives n bytes from off of a key.
func (w *world) read(key string, off, n uint64) ([]byte, error) {
	_, r, err := w.Open(context.Background(), GetRequest{Bucket: "b", Key: object.Key(key), WantBody: true, Offset: off},
		func(obj *Object) (uint64, uint64, error) {
			if obj.Row == nil {
				return 0, 0, errs.E("test", errs.NoSuchKey, "%s", key)
			}
			return off, n, nil
		})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// upload opens an upload in the fake.
func (w *world) upload(id byte, algorithm, typ uint32) UploadTarget {
	t := UploadTarget{Scope: scope(), Key: object.Key(fmt.Sprintf("upload-%d", id)), ID: UploadID{id}}
	w.meta.uploads[string(t.ID[:])] = &metapb.UploadRow{Id: t.ID[:], Key: string(t.Key), ChecksumAlgorithm: algorithm, ChecksumType: typ}
	return t
}

func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed*131)
	}
	return b
}

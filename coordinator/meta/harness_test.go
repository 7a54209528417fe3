package meta

import (
	"crypto/md5"
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/kv"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

const (
	testBlobSize = 4 << 20
	testTime     = 1_700_000_000_000
)

// harness drives a machine as consensus would: one batch per entry.
type harness struct {
	t      testing.TB
	db     *kv.DB
	m      *Machine
	index  uint64
	time   int64
	seed   uint64
	random uint64
	pool   *metapb.PoolRow
	shards []*metapb.ShardRow
	epoch  uint64
}

func newHarness(t testing.TB, replication uint32) *harness {
	h := emptyHarness(t)
	op := testCluster(replication)
	h.pool, h.shards = op.Pool, op.Shards
	r := h.do(&metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: op}})
	h.epoch = r.GetCluster().Epoch
	return h
}

func emptyHarness(t testing.TB) *harness {
	db, err := kv.Open(vfs.NewMem(), "db", kv.Options{MemTableBytes: 8 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	m, err := New(db)
	require.NoError(t, err)
	return &harness{t: t, db: db, m: m, time: testTime}
}

func testCluster(replication uint32) *metapb.CreateCluster {
	op := &metapb.CreateCluster{
		Id: make([]byte, idLen), Fsync: "always",
		Pool: &metapb.PoolRow{Shards: 4, Replication: replication, BlobSize: testBlobSize},
	}
	var members []uint32
	for v := uint32(1); v <= replication; v++ {
		op.Volumes = append(op.Volumes, &metapb.VolumeRow{Number: v, Id: []byte{byte(v)}})
		members = append(members, v)
	}
	for s := range op.Pool.Shards {
		op.Shards = append(op.Shards, &metapb.ShardRow{Shard: s, Epoch: 1, Members: members})
	}
	return op
}

// stamped completes a command as proposer and leader do.
func (h *harness) stamped(c *metapb.Command) *metapb.Command {
	h.seed++
	c.Level = Level
	c.TimeMs = h.time
	c.Seed = binary.BigEndian.AppendUint64(make([]byte, 8), h.seed)
	return c
}

// apply applies one entry through the codec and commits it.
func (h *harness) apply(cmds ...*metapb.Command) []*metapb.Result {
	h.t.Helper()
	raw, err := EncodeEntry(nil, &metapb.Entry{Level: Level, Commands: cmds})
	require.NoError(h.t, err)
	e, err := DecodeEntry(raw)
	require.NoError(h.t, err)
	h.index++
	b := h.db.NewBatch()
	rs, err := h.m.Apply(b, h.index, e)
	require.NoError(h.t, err)
	require.NoError(h.t, b.SetApplied(h.index, 1))
	require.NoError(h.t, b.Commit())
	return rs
}

// try gives the result of one command, refused or not.
func (h *harness) try(c *metapb.Command) *metapb.Result {
	h.t.Helper()
	return h.apply(h.stamped(c))[0]
}

// do is try that must succeed.
func (h *harness) do(c *metapb.Command) *metapb.Result {
	h.t.Helper()
	r := h.try(c)
	require.False(h.t, r.Failed, "%s: %s", errs.Kind(r.Kind), r.Message)
	return r
}

// refused expects a kind of refusal, and that nothing but the applied row changed.
func (h *harness) refused(kind errs.Kind, c *metapb.Command) *metapb.Result {
	h.t.Helper()
	before := h.hash()
	r := h.try(c)
	require.True(h.t, r.Failed, "expected %s", kind)
	require.Equal(h.t, kind.String(), errs.Kind(r.Kind).String(), r.Message)
	if len(c.Session) == 0 {
		require.Equal(h.t, before, h.hash(), "a refusal left a trace")
	}
	return r
}

func (h *harness) hash() [32]byte {
	h.t.Helper()
	x, err := h.m.Hash()
	require.NoError(h.t, err)
	return x
}

func (h *harness) read(q *metapb.Query) *metapb.Answer {
	h.t.Helper()
	a, err := h.m.Read(q)
	require.NoError(h.t, err)
	return a
}

// reopen makes a new machine over the same rows: caches must not matter.
func (h *harness) reopen() {
	m, err := New(h.db)
	require.NoError(h.t, err)
	h.m = m
}

func (h *harness) bucket(name string) *metapb.BucketRef {
	h.t.Helper()
	b := h.do(createBucket(name, "alice")).GetBucket()
	return &metapb.BucketRef{Name: b.Name, Id: b.Id}
}

func createBucket(name, owner string) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: &metapb.CreateBucket{Name: name, Owner: owner}}}
}

// written is a new run of size bytes, confirmed by every member but those left out.
func (h *harness) written(size uint64, without ...uint32) *metapb.Written {
	if size == 0 {
		return nil
	}
	h.random++
	var random [12]byte
	binary.BigEndian.PutUint64(random[:], (h.random>>16)*0x9E3779B97F4A7C15)
	binary.BigEndian.PutUint16(random[10:], uint16(h.random))
	base := object.NewRunBase(uint8(h.pool.Pool), random)
	blobs := uint32((size + testBlobSize - 1) / testBlobSize)
	w := &metapb.Written{LowestEpoch: h.epoch, Run: &metapb.Run{
		Base: base[:], BlobSize: testBlobSize, Length: size, Ranges: []*metapb.CounterRange{{Count: blobs}},
	}}
	byShard := make(map[uint32][]uint32)
	for n := range blobs {
		s := base.Blob(n).Shard(h.pool.Shards)
		byShard[s] = append(byShard[s], n)
	}
	for s := range h.pool.Shards {
		if len(byShard[s]) == 0 {
			continue
		}
		var volumes []uint32
		for _, v := range append(append([]uint32(nil), h.shards[s].Members...), h.shards[s].Joining...) {
			if !contains(without, v) {
				volumes = append(volumes, v)
			}
		}
		w.Shards = append(w.Shards, &metapb.ShardWrite{Shard: s, Epoch: h.shards[s].Epoch, Confirmations: []*metapb.Confirmation{
			{Volumes: volumes, Counters: byShard[s]},
		}})
	}
	return w
}

func contains(all []uint32, v uint32) bool {
	for _, x := range all {
		if x == v {
			return true
		}
	}
	return false
}

func newObject(content string, size uint64) *metapb.NewObject {
	sum := md5.Sum([]byte(content))
	return &metapb.NewObject{Size: size, Etag: sum[:], Owner: "alice"}
}

func putCommand(b *metapb.BucketRef, key string, o *metapb.NewObject, w *metapb.Written, c *metapb.Conditions) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
		Bucket: b, Key: key, Object: o, Written: w, Conditions: c,
	}}}
}

// put stores an object of size bytes.
func (h *harness) put(b *metapb.BucketRef, key string, size uint64) *metapb.PutResult {
	h.t.Helper()
	return h.do(putCommand(b, key, newObject(key, size), h.written(size), nil)).GetPut()
}

func deleteCommand(b *metapb.BucketRef, keys ...*metapb.DeleteKey) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_DeleteObjects{DeleteObjects: &metapb.DeleteObjects{Bucket: b, Keys: keys}}}
}

func (h *harness) remove(b *metapb.BucketRef, key string) {
	h.t.Helper()
	r := h.do(deleteCommand(b, &metapb.DeleteKey{Key: key})).GetDeletes().Results[0]
	require.False(h.t, r.Failed, r.Message)
}

// get is the current row; nil when there is none.
func (h *harness) get(b *metapb.BucketRef, key string) *metapb.ObjectRow {
	h.t.Helper()
	return h.read(&metapb.Query{Q: &metapb.Query_GetObject{GetObject: &metapb.GetObjectQuery{Bucket: b.Name, Key: key}}}).GetGetObject().Row
}

func (h *harness) list(q *metapb.ListObjectsQuery) *metapb.ListObjectsAnswer {
	h.t.Helper()
	return h.read(&metapb.Query{Q: &metapb.Query_ListObjects{ListObjects: q}}).GetListObjects()
}

func (h *harness) stats() *metapb.StatsAnswer {
	h.t.Helper()
	return h.read(&metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}}).GetStats()
}

func (h *harness) queue() []*metapb.QueueEntry {
	h.t.Helper()
	return h.read(&metapb.Query{Q: &metapb.Query_Queue{Queue: &metapb.QueueQuery{}}}).GetQueue().Entries
}

// state of a run: RunNone, RunDying, RunAlive.
func (h *harness) state(w *metapb.Written) uint32 {
	h.t.Helper()
	q := &metapb.RunStatesQuery{Bases: [][]byte{w.Run.Base}}
	return h.read(&metapb.Query{Q: &metapb.Query_RunStates{RunStates: q}}).GetRunStates().States[0].State
}

// drain carries out the deletion queue until it is empty.
func (h *harness) drain() {
	h.t.Helper()
	for range 10000 {
		q := h.queue()
		if len(q) == 0 {
			return
		}
		for _, e := range q {
			if e.Row.Run != nil {
				h.do(&metapb.Command{Op: &metapb.Command_CollectRuns{CollectRuns: &metapb.CollectRuns{QueueKeys: [][]byte{e.Key}}}})
				continue
			}
			h.do(&metapb.Command{Op: &metapb.Command_ReleaseParts{ReleaseParts: &metapb.ReleaseParts{QueueKey: e.Key, Limit: 3}}})
		}
	}
	h.t.Fatal("the deletion queue does not end")
}

// rows counts the rows of a table.
func (h *harness) rows(table byte) (n int) {
	h.t.Helper()
	require.NoError(h.t, scanTable(h.db, []byte{table}, func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	}))
	return n
}

func crc64(content string) *metapb.Checksum { return sumOf(digest.CRC64NVME, content) }

func sumOf(a digest.Algorithm, content string) *metapb.Checksum {
	return checksumRow(digest.Of(a, []byte(content)))
}

func equal(t testing.TB, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

// rapidTB lets a harness serve a rapid check: its cleanups run with the check that made it.
type rapidTB struct {
	testing.TB
	r interface{ Cleanup(func()) }
}

func (t rapidTB) Cleanup(f func()) { t.r.Cleanup(f) }

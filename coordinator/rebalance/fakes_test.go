package rebalance

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"minikv/coordinator/kv"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

const testBlob = 1000 // bytes

// world is a state machine without Raft, and volumes in memory.
type world struct {
	t       testing.TB
	mu      sync.Mutex
	db      *kv.DB
	m       *meta.Machine
	index   uint64
	runs    int
	volumes map[uint32]*fakeVolume
	bucket  *metapb.BucketRef
	refuse  func(c *metapb.Command) error // before a command is applied
	copies  int
	had     int            // blobs that volumes were asked to fetch and had good
	listed  uint64         // the epoch that lists tell
	unread  map[uint32]int // blobs listed and not asked for yet, by volume; nil: not counted
	ahead   int            // the most of them
	wanted  []object.Want  // that volumes were asked to fetch
}

type fakeVolume struct {
	down   bool
	blobs  map[object.BlobID]bool
	bad    map[object.BlobID]bool // can't be read
	fenced map[uint32]uint64
	fetch  func() error // before each
}

func newWorld(t testing.TB, shards, replication uint32, volumes int) *world {
	db, err := kv.Open(vfs.NewMem(), "db", kv.Options{MemTableBytes: 8 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	m, err := meta.New(db)
	require.NoError(t, err)
	w := &world{t: t, db: db, m: m, volumes: map[uint32]*fakeVolume{}, listed: 1}
	var rows []*metapb.VolumeRow
	for n := 1; n <= volumes; n++ {
		w.volumes[uint32(n)] = &fakeVolume{blobs: map[object.BlobID]bool{}, bad: map[object.BlobID]bool{}, fenced: map[uint32]uint64{}}
		rows = append(rows, &metapb.VolumeRow{Number: uint32(n), Id: append(make([]byte, 15), byte(n)), Node: fmt.Sprint("n", n), Capacity: 1 << 30})
	}
	l := layoutOf(shards, replication, rows[:replication]...)
	w.do(&metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: &metapb.CreateCluster{
		Id: make([]byte, 16), Fsync: "always", Pool: &metapb.PoolRow{Shards: shards, Replication: replication, BlobSize: testBlob},
		Volumes: rows, Shards: l.Shards,
	}}})
	b := w.do(&metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: &metapb.CreateBucket{Name: "bucket", Owner: "o"}}}).GetBucket()
	w.bucket = &metapb.BucketRef{Name: b.Name, Id: b.Id}
	return w
}

func (w *world) Propose(_ context.Context, c *metapb.Command) (*metapb.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if err := w.refuse(c); err != nil {
			return nil, err
		}
	}
	c.Level, c.TimeMs, c.Seed = meta.Level, int64(w.index), make([]byte, 16)
	w.index++
	b := w.db.NewBatch()
	rs, err := w.m.Apply(b, w.index, &metapb.Entry{Level: meta.Level, Commands: []*metapb.Command{c}})
	if err == nil {
		err = b.SetApplied(w.index, 1)
	}
	if err == nil {
		err = b.Commit()
	}
	if err != nil {
		return nil, err
	}
	return rs[0], nil
}

func (w *world) Read(_ context.Context, q *metapb.Query) (*metapb.Answer, error) { return w.m.Read(q) }

func (w *world) do(c *metapb.Command) *metapb.Result {
	w.t.Helper()
	r, err := w.Propose(context.Background(), c)
	require.NoError(w.t, err)
	require.False(w.t, r.Failed, r.Message)
	return r
}

func (w *world) layout() *metapb.Layout {
	w.t.Helper()
	a, err := w.Read(context.Background(), &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	require.NoError(w.t, err)
	return a.GetLayout()
}

func (w *world) missing() []*metapb.MissingRow {
	w.t.Helper()
	a, err := w.Read(context.Background(), &metapb.Query{Q: &metapb.Query_Missing{Missing: &metapb.MissingQuery{}}})
	require.NoError(w.t, err)
	return a.GetMissing().GetRows()
}

// prepared is a new run of one blob on some volumes, for a decision that may come.
func (w *world) prepared(l *metapb.Layout, on func(row *metapb.ShardRow) []uint32) (*metapb.Written, object.BlobID) {
	w.runs++
	var random [12]byte
	binary.BigEndian.PutUint64(random[:], uint64(w.runs)*0x9E3779B97F4A7C15)
	base := object.NewRunBase(0, random)
	id := base.Blob(0)
	row := l.Shards[id.Shard(uint32(len(l.Shards)))]
	volumes := on(row)
	w.mu.Lock()
	for _, v := range volumes {
		w.volumes[v].blobs[id] = true
	}
	w.mu.Unlock()
	return &metapb.Written{
		LowestEpoch: l.Cluster.Epoch, Run: &metapb.Run{Base: base[:], BlobSize: testBlob, Length: testBlob, Ranges: []*metapb.CounterRange{{Count: 1}}},
		Shards: []*metapb.ShardWrite{{Shard: row.Shard, Epoch: row.Epoch, Confirmations: []*metapb.Confirmation{{Volumes: volumes, Counters: []uint32{0}}}}},
	}, id
}

func (w *world) publish(key string, x *metapb.Written) *metapb.Result {
	w.t.Helper()
	r, err := w.Propose(context.Background(), &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
		Bucket: w.bucket, Key: key, Written: x, Object: &metapb.NewObject{Etag: make([]byte, 16), Owner: "o", Size: testBlob},
	}}})
	require.NoError(w.t, err)
	return r
}

func members(row *metapb.ShardRow) []uint32 { return append([]uint32(nil), row.Members...) }

// put publishes a blob that all members but those left out have.
func (w *world) put(key string, without ...uint32) object.BlobID {
	w.t.Helper()
	x, id := w.prepared(w.layout(), func(row *metapb.ShardRow) []uint32 {
		return slices.DeleteFunc(members(row), func(v uint32) bool { return slices.Contains(without, v) })
	})
	r := w.publish(key, x)
	require.False(w.t, r.Failed, r.Message)
	return id
}

func (w *world) state(volume, from, to uint32) {
	w.t.Helper()
	w.do(&metapb.Command{Op: &metapb.Command_SetVolumeState{SetVolumeState: &metapb.SetVolumeState{Number: volume, From: from, To: to}}})
}

func (w *world) set(s *metapb.SetRebalance) {
	w.t.Helper()
	w.do(&metapb.Command{Op: &metapb.Command_SetRebalance{SetRebalance: s}})
}

func (w *world) up(v uint32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.volumes[v].down
}

func (w *world) at(v uint32) (*fakeVolume, error) {
	x := w.volumes[v]
	if x == nil || x.down {
		return nil, errs.E("fake", errs.Unavailable, "volume %d is down", v)
	}
	return x, nil
}

func (w *world) Fence(_ context.Context, v, shard, _ uint32, epoch uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, err := w.at(v)
	if err == nil && x.fenced[shard] > epoch {
		err = errs.E("fake", errs.StaleShardEpoch, "volume %d is at %d", v, x.fenced[shard])
	}
	if err == nil {
		x.fenced[shard] = epoch
	}
	return err
}

func (w *world) ListShard(_ context.Context, v, shard, shards uint32, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, err := w.at(v)
	if err != nil {
		return nil, err
	}
	var ids []object.BlobID
	for id := range x.blobs {
		if id.Shard(shards) == shard && (after == object.BlobID{} || less(after, id)) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b object.BlobID) int {
		if less(a, b) {
			return -1
		}
		return 1
	})
	var out []object.BlobInfo
	for _, id := range ids[:min(limit, len(ids))] {
		out = append(out, object.BlobInfo{ID: id, Length: testBlob, Epochs: object.Epochs{Cluster: w.listed}})
	}
	if w.unread != nil {
		w.unread[v] += len(out)
		w.ahead = max(w.ahead, w.unread[v])
	}
	return out, nil
}

func less(a, b object.BlobID) bool { return a.Hash() < b.Hash() }

func (w *world) Fetch(ctx context.Context, v uint32, wants []object.Want) ([]object.Fetched, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, err := w.at(v)
	if err == nil && x.fetch != nil {
		err = x.fetch()
	}
	if err != nil {
		return nil, err
	}
	w.wanted = append(w.wanted, wants...)
	shards := uint32(w.shards())
	out := make([]object.Fetched, len(wants))
	for i, want := range wants {
		out[i] = object.Fetched{Err: errs.E("fake", errs.BlobMissing, "nowhere")}
		shard := want.ID.Shard(shards)
		if want.Epochs.Shard < x.fenced[shard] {
			out[i] = object.Fetched{Own: true, Err: errs.E("fake", errs.StaleShardEpoch, "old")}
			continue
		}
		for n := range w.unread {
			if w.volumes[n].blobs[want.ID] {
				w.unread[n]--
			}
		}
		if x.blobs[want.ID] && !x.bad[want.ID] {
			out[i] = object.Fetched{Outcome: object.FetchHad}
			w.had++
			continue
		}
		for _, from := range want.From {
			if s, err := w.at(from); err == nil && s.blobs[want.ID] && !s.bad[want.ID] {
				x.blobs[want.ID], x.bad[want.ID] = true, false
				out[i] = object.Fetched{Outcome: object.FetchCopied}
				w.copies++
				break
			}
		}
	}
	return out, ctx.Err()
}

func (w *world) shards() int {
	a, _ := w.m.Read(&metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	return len(a.GetLayout().GetShards())
}

// whole requires that all members of a blob's shard have it, but those with a missing row.
func (w *world) whole(ids ...object.BlobID) {
	w.t.Helper()
	lacks := map[string]bool{}
	for _, x := range w.missing() {
		lacks[fmt.Sprint(x.Blob, x.Volume)] = true
	}
	l := w.layout()
	for _, id := range ids {
		for _, v := range l.Shards[id.Shard(uint32(len(l.Shards)))].Members {
			if (!w.volumes[v].blobs[id] || w.volumes[v].bad[id]) && !lacks[fmt.Sprint(id[:], v)] {
				w.t.Errorf("volume %d lacks blob %s, and no row says so", v, id)
			}
		}
	}
}

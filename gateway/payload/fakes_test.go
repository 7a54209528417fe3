package payload

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// fakeVolume keeps blobs in memory and fails as it is told.
type fakeVolume struct {
	mu        sync.Mutex
	blobs     map[object.BlobID][]byte
	committed map[object.BlobID]bool
	aborted   map[object.BlobID]bool
	epochs    map[object.BlobID]object.Epochs
	calls     int // of Prepare and ReadAt

	unsynced bool
	prepare  func(ctx context.Context, id object.BlobID, ep object.Epochs) error // before anything is stored; nil: fine
	read     func(ctx context.Context, id object.BlobID, dst []byte) (handled bool, n int, err error)
}

func newFakeVolume() *fakeVolume {
	return &fakeVolume{
		blobs: map[object.BlobID][]byte{}, committed: map[object.BlobID]bool{}, aborted: map[object.BlobID]bool{},
		epochs: map[object.BlobID]object.Epochs{},
	}
}

func (v *fakeVolume) Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (bool, error) {
	v.mu.Lock()
	v.calls++
	hook := v.prepare
	v.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, id, ep); err != nil {
			return false, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	b := bytes.Join(data, nil)
	if old, ok := v.blobs[id]; ok && !bytes.Equal(old, b) {
		panic("a blob id was used for two contents")
	}
	v.blobs[id], v.epochs[id] = b, ep
	return !v.unsynced, nil
}

func (v *fakeVolume) Commit(_ context.Context, ids ...object.BlobID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		v.committed[id] = true
	}
	return nil
}

func (v *fakeVolume) Abort(_ context.Context, ids ...object.BlobID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		v.aborted[id] = true
		delete(v.blobs, id)
	}
	return nil
}

func (v *fakeVolume) ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	v.mu.Lock()
	v.calls++
	hook := v.read
	b, ok := v.blobs[id]
	v.mu.Unlock()
	if hook != nil {
		if handled, n, err := hook(ctx, id, dst); handled {
			return n, err
		}
	}
	if !ok {
		return 0, errs.E("fake.ReadAt", errs.BlobMissing, "no blob %v", id)
	}
	if off+int64(len(dst)) > int64(len(b)) {
		return 0, errs.E("fake.ReadAt", errs.Invalid, "past the end: %d+%d of %d", off, len(dst), len(b))
	}
	return copy(dst, b[off:]), nil
}

func failing(kind errs.Kind) func(context.Context, object.BlobID, object.Epochs) error {
	return func(context.Context, object.BlobID, object.Epochs) error { return errs.E("fake", kind, "injected") }
}

// hanging does nothing until its context ends.
func hanging(ctx context.Context, _ object.BlobID, _ object.Epochs) error {
	<-ctx.Done()
	return ctx.Err()
}

// cluster is a Placement of fake volumes numbered from 1.
type cluster struct {
	layout    atomic.Pointer[metapb.Layout]
	volumes   map[uint32]Volume
	fakes     map[uint32]*fakeVolume
	refreshes atomic.Int32
	onRefresh func()
}

// newCluster spreads shards over volumes round robin with rf replicas each.
func newCluster(volumes, rf, shards int, blobSize uint32) *cluster {
	c := &cluster{volumes: map[uint32]Volume{}, fakes: map[uint32]*fakeVolume{}}
	for v := 1; v <= volumes; v++ {
		f := newFakeVolume()
		c.fakes[uint32(v)], c.volumes[uint32(v)] = f, f
	}
	l := &metapb.Layout{
		Cluster: &metapb.ClusterRow{Epoch: 7, Fsync: "always"},
		Pools:   []*metapb.PoolRow{{Shards: uint32(shards), Replication: uint32(rf), BlobSize: blobSize}},
	}
	for s := range shards {
		row := &metapb.ShardRow{Shard: uint32(s), Epoch: 1}
		for r := range rf {
			row.Members = append(row.Members, uint32((s+r)%volumes+1))
		}
		l.Shards = append(l.Shards, row)
	}
	c.layout.Store(l)
	return c
}

func (c *cluster) Layout() *metapb.Layout { return c.layout.Load() }

func (c *cluster) RefreshLayout(context.Context) error {
	c.refreshes.Add(1)
	if c.onRefresh != nil {
		c.onRefresh()
	}
	return nil
}

func (c *cluster) Volume(n uint32) (Volume, bool) {
	v, ok := c.volumes[n]
	return v, ok
}

// everyone sets up each volume.
func (c *cluster) everyone(f func(number uint32, v *fakeVolume)) {
	for n, v := range c.fakes {
		v.mu.Lock()
		f(n, v)
		v.mu.Unlock()
	}
}

// body is n bytes that differ everywhere.
func body(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(i)*0x9E3779B97F4A7C15+1)
	}
	return b
}

var md5Only = digest.Options{MD5: true}

// newStore makes a store that is closed with the test and has then given all its memory back. On a machine that stands still for a moment
// it gives up on no replica.
func newStore(t testing.TB, p Placement, opt Options) *Store {
	s := patientStore(p, opt)
	t.Cleanup(func() {
		s.Close()
		if m := s.Memory(); m.Writes != 0 || m.Reads != 0 {
			t.Errorf("memory is still held: %d bytes of writes, %d of reads", m.Writes, m.Reads)
		}
	})
	return s
}

func patientStore(p Placement, opt Options) *Store {
	s := NewStore(p, opt)
	s.stragglers = time.Minute
	return s
}

func mustWrite(t testing.TB, s *Store, b []byte) (*Write, *metapb.Written) {
	t.Helper()
	w, err := s.Write(context.Background(), bytes.NewReader(b), WriteOptions{Size: int64(len(b)), Digests: md5Only})
	if err != nil {
		t.Fatal(err)
	}
	written, err := w.Written()
	if err != nil {
		t.Fatal(err)
	}
	return w, written
}

func readAll(s *Store, run *metapb.Run, off, n uint64) ([]byte, error) {
	r, err := s.NewReader(context.Background(), OneSlice(run, off, n), n, ReadOptions{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	_, err = r.WriteTo(&out)
	return out.Bytes(), err
}

// dribble gives its bytes in steps of the given size.
type dribble struct {
	b    []byte
	step int
}

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), d.step)], d.b)
	d.b = d.b[n:]
	return n, nil
}

// checkRun holds a written run to what the coordinator demands: as many blobs as the length needs, counters ascending, each
// confirmed by a quorum of its shard.
func checkRun(t testing.TB, l *metapb.Layout, w *metapb.Written) {
	t.Helper()
	pool := l.Pools[0]
	next, blobs := uint32(0), uint64(0)
	base := object.RunBase(w.Run.Base)
	by := map[uint32]map[uint32]bool{} // counter: volumes
	for _, s := range w.Shards {
		for _, c := range s.Confirmations {
			for _, n := range c.Counters {
				if got := base.Blob(n).Shard(pool.Shards); got != s.Shard {
					t.Fatalf("blob %d belongs to shard %d, not %d", n, got, s.Shard)
				}
				by[n] = map[uint32]bool{}
				for _, v := range c.Volumes {
					by[n][v] = true
				}
			}
		}
	}
	for _, g := range w.Run.Ranges {
		if g.First < next || g.Count == 0 {
			t.Fatalf("ranges do not ascend: %v", w.Run.Ranges)
		}
		next = g.First + g.Count
		blobs += uint64(g.Count)
		for n := g.First; n < next; n++ {
			if len(by[n]) < int(pool.Replication)/2+1 {
				t.Fatalf("blob %d is confirmed by %v", n, by[n])
			}
			delete(by, n)
		}
	}
	if need := (w.Run.Length + uint64(w.Run.BlobSize) - 1) / uint64(w.Run.BlobSize); blobs != need {
		t.Fatalf("%d blobs, need %d", blobs, need)
	}
	if len(by) > 0 {
		t.Fatalf("confirmations of blobs that are not of the run: %v", by)
	}
}

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"minikv/coordinator"
	"minikv/coordinator/kv"
	"minikv/gateway/objects"
	"minikv/internal/metaclient"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
	"minikv/volume"
	"minikv/volume/store"
)

var powercutPoints = flag.Int("powercut.points", 25, "at how many points the power-cut test clones the disk, each with every survival rule")

// rig is coordinator, volume and the objects service on one file system, as `minikv serve` wires them.
type rig struct {
	coord *coordinator.Coordinator
	vol   *volume.Server
	meta  *metaclient.Client
	objs  *objects.Objects
}

func (r *rig) Volume(n uint32) (objects.Volume, bool) { return r.vol, n == 1 }

// Delete implements the coordinator's view of volumes.
func (r *rig) Delete(ctx context.Context, _ uint32, ids ...object.BlobID) error {
	return r.vol.Delete(ctx, ids...)
}

// openRig opens everything on fs. After an error the rig is closed.
func openRig(ctx context.Context, fs vfs.FS) (r *rig, err error) {
	r = &rig{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	r.vol, err = volume.Open("/volume", volume.Config{Store: store.Options{FS: fs, Reserve: -1, Ballast: -1,
		SmallSegment: 256 << 10, LargeSegment: 512 << 10, FirstSegment: 128 << 10, LargeBlob: 32 << 10, GroupBytes: 64 << 10, BlobMax: 64 << 10}})
	if err != nil {
		return r, err
	}
	cfg := coordinator.Config{
		FS: fs, Dir: "/coordinator", Log: zap.NewNop(), Fatal: func(error) {},
		Pool: coordinator.Pool{Shards: 16, Replication: 1, BlobSize: 64 << 10}, Volumes: []*metapb.VolumeRow{{Number: 1}},
		BallastBytes: -1, Space: func() (uint64, uint64, error) { return 1 << 40, 1 << 40, nil },
		KV: kv.Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10}, Blobs: r, QueueDelay: -1,
	}
	cfg.Raft.SegmentBytes = 256 << 10
	if r.coord, err = coordinator.Open(ctx, cfg); err != nil {
		return r, err
	}
	if err = r.coord.WaitReady(ctx); err != nil {
		return r, err
	}
	if r.meta, err = metaclient.New(ctx, r.coord, metaclient.Config{RetryFor: time.Minute}); err != nil {
		return r, err
	}
	r.objs = objects.New(r.meta, r, objects.Options{BudgetBytes: 16 << 20})
	return r, nil
}

func (r *rig) close() error {
	var all []error
	if r.objs != nil {
		r.objs.Close()
	}
	if r.meta != nil {
		all = append(all, r.meta.Close())
	}
	if r.coord != nil {
		all = append(all, r.coord.Close())
	}
	if r.vol != nil {
		all = append(all, r.vol.Close())
	}
	return errors.Join(all...)
}

// ledger knows for each key the last acknowledged and the last begun operation. Every key has one writer.
type ledger struct {
	mu           sync.Mutex
	acked, begun map[object.Key]uint64
}

func (l *ledger) copyOf(m map[object.Key]uint64) map[object.Key]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[object.Key]uint64, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// powercut is a clone of the disk and what was known around the moment it was taken.
type powercut struct {
	name         string
	fs           *vfs.Mem
	acked, begun map[object.Key]uint64
}

const powercutBucket = object.Bucket("cuts")

// TestPowerCuts: one crash clone under volume, Raft log, snapshots and Pebble together, at many points of a run and with each
// survival rule. Every acknowledged write is there, byte for byte; what was not acknowledged is there whole or not at all
// (I1, I3, I7, I9), and the listing tells the same.
func TestPowerCuts(t *testing.T) {
	cuts := recordCuts(t)
	t.Logf("%d clones", len(cuts))
	work := make(chan *powercut)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for c := range work {
				if err := c.check(t.Context()); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		})
	}
	for _, c := range cuts {
		work <- c
	}
	close(work)
	wg.Wait()
}

// recordCuts runs writers and clones the disk at points spread over the operations on the file system.
func recordCuts(t *testing.T) []*powercut {
	t.Helper()
	mem := vfs.NewMem()
	l := &ledger{acked: map[object.Key]uint64{}, begun: map[object.Key]uint64{}}
	var mu sync.Mutex
	var cuts []*powercut
	full := make(chan struct{})
	const survivals = 4
	var next int64 = 1
	inject := vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		mu.Lock()
		defer mu.Unlock()
		if op.N < next || !op.Kind.Changes() || len(cuts) >= survivals**powercutPoints {
			return
		}
		next = op.N + 1 + rand.Int64N(60)
		for i, s := range []vfs.Survival{{Percent: 0}, {Percent: 50, Seed: uint64(op.N)}, {Percent: 100}, {Percent: 50, Torn: true, Seed: uint64(op.N) + 1}} {
			c := &powercut{name: fmt.Sprintf("operation %d (%s %s), survival %d", op.N, op.Kind, op.Path, i), acked: l.copyOf(l.acked)}
			c.fs = mem.CrashClone(s)
			c.begun = l.copyOf(l.begun)
			cuts = append(cuts, c)
		}
		if len(cuts) >= survivals**powercutPoints {
			close(full)
		}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, err := openRig(ctx, inject)
	require.NoError(t, err)
	b, err := r.objs.CreateBucket(ctx, &metapb.CreateBucket{Name: string(powercutBucket), Owner: "o"})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := uint64(1); ; n++ {
				select {
				case <-full:
					return
				default:
				}
				key := object.Key(fmt.Sprintf("w%d/%d", w, n%5))
				if err := r.write(ctx, l, b, key); err != nil {
					t.Errorf("write %s: %v", key, err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, r.close())
	return cuts
}

// write does the key's next operation: every fourth deletes, the others put a value that names key and number.
func (r *rig) write(ctx context.Context, l *ledger, b *metapb.BucketRow, key object.Key) error {
	l.mu.Lock()
	l.begun[key]++
	n := l.begun[key]
	l.mu.Unlock()
	scope := objects.Scope{Bucket: &metapb.BucketRef{Name: b.Name, Id: b.Id}}
	var err error
	if n%4 == 0 {
		_, err = r.objs.Delete(ctx, scope, []*metapb.DeleteKey{{Key: string(key)}})
	} else {
		v := cutValue(key, n)
		_, err = r.objs.Put(ctx, objects.PutRequest{Scope: scope, Key: key, Owner: "o", Body: objects.Body{Reader: bytes.NewReader(v), Size: int64(len(v))}})
	}
	if err == nil {
		l.mu.Lock()
		l.acked[key] = n
		l.mu.Unlock()
	}
	return err
}

// cutValue begins with its number; one in nine takes several blobs.
func cutValue(key object.Key, n uint64) []byte {
	size := 8 + int(n*131%3000)
	if n%9 == 2 {
		size = 150_000
	}
	v := binary.BigEndian.AppendUint64(nil, n)
	return append(v, noise(n^uint64(len(key))<<20^uint64(key[1])<<30, size)...)
}

func (c *powercut) check(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	r, err := openRig(ctx, c.fs)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, r.close()) }()
	listed := map[string]bool{}
	page, err := r.objs.List(ctx, &metapb.ListObjectsQuery{Bucket: string(powercutBucket), Limit: 1000})
	if err != nil {
		if len(c.acked) == 0 { // the bucket itself was not acknowledged yet
			return nil
		}
		return fmt.Errorf("list: %w", err)
	}
	for _, e := range page.Entries {
		listed[e.Key] = true
	}
	for key, begun := range c.begun {
		if err := c.checkKey(ctx, r, key, c.acked[key], begun, listed[string(key)]); err != nil {
			return fmt.Errorf("%s (acknowledged %d, begun %d): %w", key, c.acked[key], begun, err)
		}
	}
	return nil
}

func (c *powercut) checkKey(ctx context.Context, r *rig, key object.Key, acked, begun uint64, listed bool) error {
	obj, rd, err := r.objs.Open(ctx, objects.GetRequest{Bucket: powercutBucket, Key: key, WantBody: true},
		func(o *objects.Object) (uint64, uint64, error) { return 0, o.Size, nil })
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer func() { _ = rd.Close() }()
	if found := obj.Row != nil; found != listed {
		return fmt.Errorf("found %v, listed %v", found, listed)
	}
	if obj.Row == nil {
		for n := acked; n <= begun; n++ {
			if n%4 == 0 {
				return nil // never written, or deleted
			}
		}
		return errors.New("it is gone")
	}
	got, err := io.ReadAll(rd)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if len(got) < 8 {
		return fmt.Errorf("%d bytes", len(got))
	}
	n := binary.BigEndian.Uint64(got)
	if n < acked || n > begun || n%4 == 0 || !bytes.Equal(got, cutValue(key, n)) {
		return fmt.Errorf("%d bytes that say they are number %d", len(got), n)
	}
	return nil
}

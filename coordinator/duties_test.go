package coordinator_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"minikv/coordinator"
	"minikv/internal/errs"
	"minikv/internal/metaclient"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// fakeVolumes remembers what it was told to delete; it may be down.
type fakeVolumes struct {
	mu      sync.Mutex
	down    bool
	deleted map[object.BlobID]int
}

func (v *fakeVolumes) Delete(_ context.Context, _ uint32, ids ...object.BlobID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down {
		return errs.E("test", errs.Unavailable, "down")
	}
	for _, id := range ids {
		v.deleted[id]++
	}
	return nil
}

// clock is time that a test moves; loops that wait on it never wake by themselves.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	passed time.Duration
}

func (c *clock) Now() time.Time                       { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) After(time.Duration) <-chan time.Time { return nil }
func (c *clock) Elapsed() time.Duration               { c.mu.Lock(); defer c.mu.Unlock(); return c.passed }

// move lets time pass; jump sets the wall clock.
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	c.now, c.passed = c.now.Add(d), c.passed+d
	c.mu.Unlock()
}
func (c *clock) jump(d time.Duration) { c.mu.Lock(); c.now = c.now.Add(d); c.mu.Unlock() }

const testBlobSize = 4 << 20

// writeRun is a run of n blobs that volume 1 confirmed.
func writeRun(t testing.TB, m *metaclient.Client, n uint32) (*metapb.Written, object.RunBase) {
	t.Helper()
	var random [12]byte
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	base := object.NewRunBase(0, random)
	l := m.Layout()
	w := &metapb.Written{LowestEpoch: l.Cluster.Epoch, Run: &metapb.Run{
		Base: base[:], BlobSize: testBlobSize, Length: uint64(n) * testBlobSize, Ranges: []*metapb.CounterRange{{Count: n}},
	}}
	byShard := map[uint32][]uint32{}
	for i := range n {
		s := base.Blob(i).Shard(uint32(len(l.Shards)))
		byShard[s] = append(byShard[s], i)
	}
	for s, counters := range byShard {
		w.Shards = append(w.Shards, &metapb.ShardWrite{Shard: s, Epoch: l.Shards[s].Epoch, Confirmations: []*metapb.Confirmation{
			{Volumes: l.Shards[s].Members, Counters: counters},
		}})
	}
	return w, base
}

func putRun(t testing.TB, m *metaclient.Client, b *metapb.BucketRef, key string, blobs uint32) object.RunBase {
	t.Helper()
	w, base := writeRun(t, m, blobs)
	sum := md5.Sum(nil)
	_, err := m.Do(t.Context(), &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
		Bucket: b, Key: key, Written: w, Object: &metapb.NewObject{Etag: sum[:], Owner: "o", Size: w.Run.Length},
	}}})
	must(t, err)
	return base
}

func deleteKey(t testing.TB, m *metaclient.Client, b *metapb.BucketRef, key string) {
	t.Helper()
	_, err := m.Do(t.Context(), &metapb.Command{Op: &metapb.Command_DeleteObjects{DeleteObjects: &metapb.DeleteObjects{
		Bucket: b, Keys: []*metapb.DeleteKey{{Key: key}},
	}}})
	must(t, err)
}

func states(t testing.TB, c *coordinator.Coordinator, bases ...object.RunBase) []uint32 {
	t.Helper()
	a, err := c.RunStates(t.Context(), bases)
	must(t, err)
	var out []uint32
	for _, s := range a.States {
		out = append(out, s.State)
	}
	return out
}

const (
	none, dying, alive = 0, 1, 2
)

// TestTheDeletedIsCollected after its delay, once its volume confirmed, and never what is alive (T2).
func TestTheDeletedIsCollected(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem(), "/c")
	ck := &clock{now: time.UnixMilli(1_700_000_000_000)}
	v := &fakeVolumes{deleted: map[object.BlobID]int{}}
	cfg.Clock, cfg.Blobs = ck, v
	c := open(t, cfg)
	m := connect(t, c)
	b := createBucket(t, m, "bucket")
	kept, gone := putRun(t, m, b, "kept", 3), putRun(t, m, b, "gone", 300)
	replaced := putRun(t, m, b, "replaced", 1)
	putRun(t, m, b, "replaced", 1)
	deleteKey(t, m, b, "gone")
	check := func(what string, want ...uint32) {
		t.Helper()
		if got := states(t, c, kept, gone, replaced); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: states are %v, not %v", what, got, want)
		}
	}
	collect := func(want int) {
		t.Helper()
		did, err := c.CollectOnce(t.Context())
		if err != nil && !v.down {
			t.Fatal(err)
		}
		if did.Runs != want {
			t.Fatalf("%+v, expected %d runs", did, want)
		}
	}
	check("deleted", alive, dying, dying)
	ck.move(2 * time.Minute) // a coordinator looks every eighth of the delay what it has applied
	collect(0)
	check("before the delay", alive, dying, dying)
	for _, d := range []time.Duration{3 * 24 * time.Hour, -6 * 24 * time.Hour, 3 * 24 * time.Hour} {
		ck.jump(d)
		collect(0)
	}
	check("while the wall clock jumps (I15)", alive, dying, dying)
	ck.jump(-3 * 24 * time.Hour) // nor does it put off what is due
	ck.move(16 * time.Minute)
	v.down = true
	collect(0)
	check("while the volume is down", alive, dying, dying)
	v.down = false
	collect(2)
	check("collected", alive, none, none)
	if len(v.deleted) != 301 {
		t.Fatalf("%d blobs were deleted", len(v.deleted))
	}
	collect(0)
}

// TestTheEpochTicks when it has lasted for the interval, restarts notwithstanding; the horizon follows behind.
func TestTheEpochTicks(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem(), "/c")
	ck := &clock{now: time.UnixMilli(1_700_000_000_000)}
	cfg.Clock, cfg.HorizonLag = ck, 3
	epoch := func(c *coordinator.Coordinator) *metapb.ClusterRow {
		m := connect(t, c)
		defer m.Close()
		return m.Layout().Cluster
	}
	c := open(t, cfg)
	first := epoch(c).Epoch
	must(t, c.TickIfDue(t.Context()))
	for range 5 { // restarts, each within the interval
		ck.move(20 * time.Minute)
		must(t, c.Close())
		c = open(t, cfg)
		must(t, c.TickIfDue(t.Context()))
	}
	if got := epoch(c).Epoch; got != first+1 {
		t.Fatalf("after 100 minutes the epoch is %d, it was %d", got, first)
	}
	for range 5 {
		must(t, c.TickOnce(t.Context()))
	}
	row := epoch(c)
	if row.Epoch != first+6 || row.Horizon != row.Epoch-3 || row.HorizonIndex == 0 {
		t.Fatalf("%v", row)
	}
	a, err := c.RunStates(t.Context(), nil)
	must(t, err)
	if a.Horizon != row.Horizon || a.HorizonIndex != row.HorizonIndex {
		t.Fatalf("%v", a)
	}
	for range 4 * 3 { // a wall clock that is set neither ticks nor puts off (I15), in the present process and in the next
		for _, d := range []time.Duration{3 * 24 * time.Hour, -6 * 24 * time.Hour, 3 * 24 * time.Hour} {
			ck.jump(d)
			must(t, c.TickIfDue(t.Context()))
		}
	}
	must(t, c.Close())
	ck.jump(3 * 24 * time.Hour)
	c = open(t, cfg)
	must(t, c.TickIfDue(t.Context()))
	if got := epoch(c).Epoch; got != row.Epoch {
		t.Fatalf("the epoch ticked to %d", got)
	}
	ck.move(time.Hour + time.Minute)
	must(t, c.TickIfDue(t.Context()))
	if got := epoch(c).Epoch; got != row.Epoch+1 {
		t.Fatalf("the epoch is %d after an hour, the clock having been set", got)
	}
}

// TestFullDisk (I11): writes are refused before they are proposed, deletes and sessions go on, the ballast is given up, and comes
// back before writes do.
func TestFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(t, fs, "/c")
	ck := &clock{now: time.UnixMilli(1_700_000_000_000)}
	const ballast = 4 << 20
	free := uint64(100 << 20)
	var mu sync.Mutex
	set := func(n uint64) { mu.Lock(); free = n; mu.Unlock(); ck.move(2 * time.Second) }
	cfg.Clock, cfg.BallastBytes = ck, ballast
	cfg.MinFree = func(uint64) uint64 { return 10 << 20 }
	cfg.Space = func() (uint64, uint64, error) { mu.Lock(); defer mu.Unlock(); return free, 1 << 30, nil }
	hasBallast := func() bool {
		st, err := fs.Stat("/c/BALLAST")
		return err == nil && st.Size() == ballast
	}
	c := open(t, cfg)
	m := connect(t, c)
	b := createBucket(t, m, "bucket")
	must(t, put(t.Context(), m, b, "a"))
	if !hasBallast() {
		t.Fatal("there is no ballast")
	}
	set(9 << 20)
	if err := put(t.Context(), m, b, "b"); !errs.Is(err, errs.StorageFull) {
		t.Fatalf("a write: %v", err)
	}
	if hasBallast() || !c.Status().StorageFull {
		t.Fatal("the ballast is still there")
	}
	deleteKey(t, m, b, "a")
	if exists(t, m, "bucket", "a") {
		t.Fatal("the key was not deleted")
	}
	another := connect(t, c) // a gateway that starts now can delete
	must(t, another.Close())
	set(12 << 20) // above the bound, but not with the ballast
	if err := put(t.Context(), m, b, "b"); !errs.Is(err, errs.StorageFull) || hasBallast() {
		t.Fatalf("without room for the ballast: %v", err)
	}
	set(20 << 20)
	must(t, put(t.Context(), m, b, "b"))
	if !hasBallast() || c.Status().StorageFull {
		t.Fatal("writes came back without the ballast")
	}
	must(t, m.Close())
	must(t, c.Close())
	set(12 << 20) // what a restart finds counts
	c = open(t, cfg)
	must(t, put(t.Context(), connect(t, c), b, "c"))
}

// TestCloseWithWritersOnTheirWay ends, and what was acknowledged is there.
func TestCloseWithWritersOnTheirWay(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(t, fs, "/c")
	c := open(t, cfg)
	m := connect(t, c)
	b := createBucket(t, m, "bucket")
	var mu sync.Mutex
	acked := 0
	started := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if put(ctx, m, b, fmt.Sprintf("%d-%d", w, i)) != nil {
					return
				}
				mu.Lock()
				if acked++; acked == 200 {
					close(started)
				}
				mu.Unlock()
			}
		})
	}
	<-started
	done := make(chan struct{})
	go func() { c.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Close hangs")
	}
	cancel()
	wg.Wait()
	must(t, m.Close())
	c = open(t, cfg)
	m = connect(t, c)
	a, err := m.Read(t.Context(), &metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
	must(t, err)
	if n := a.GetStats().Objects; n < uint64(acked) {
		t.Fatalf("%d objects, acknowledged were %d", n, acked)
	}
}

// TestLostAnswers: a command whose answers are lost at random takes effect once in the real state machine too.
func TestLostAnswers(t *testing.T) {
	c := open(t, testConfig(t, vfs.NewMem(), "/c"))
	m := connect(t, lossy{c})
	b := createBucket(t, m, "bucket")
	var wg sync.WaitGroup
	sum := md5.Sum(nil)
	for w := range 8 {
		wg.Go(func() {
			for i := range 40 {
				_, err := m.Do(t.Context(), &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
					Bucket: b, Key: fmt.Sprintf("%d-%d", w, i), Object: &metapb.NewObject{Etag: sum[:], Owner: "o"},
					Conditions: &metapb.Conditions{IfNoneMatchAny: true}, // a second effect would be refused
				}}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// lossy loses a third of the answers, and a third of the questions.
type lossy struct{ *coordinator.Coordinator }

func (l lossy) Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	if rand.IntN(6) == 0 {
		return nil, errs.E("test", errs.NotProposed, "lost")
	}
	if rand.IntN(6) == 0 {
		return nil, errs.E("test", errs.IndeterminateResult, "lost")
	}
	r, err := l.Coordinator.Propose(ctx, c)
	if rand.IntN(3) == 0 {
		return nil, errs.E("test", errs.IndeterminateResult, "lost")
	}
	return r, err
}

// TestAFullDiskOfAFollower is nobody's business: whoever asks it is told that it does not lead, and finds the leader, which may have room.
func TestAFullDiskOfAFollower(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem(), "/c")
	cfg.MinFree = func(uint64) uint64 { return 10 << 20 }
	cfg.Space = func() (uint64, uint64, error) { return 1, 1 << 30, nil }
	cfg.Raft.Transport = func(id raft.ServerID) (raft.Transport, error) {
		_, tr := raft.NewInmemTransport(raft.ServerAddress(id))
		return tr, nil
	}
	c, err := coordinator.Open(t.Context(), cfg)
	must(t, err)
	defer c.Close()
	_, err = c.Propose(t.Context(), &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{}}})
	if !errs.Is(err, errs.NotLeader) {
		t.Fatalf("%v", err)
	}
}

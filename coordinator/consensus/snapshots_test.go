package consensus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

const testDir = "/node"

func foundCluster(t testing.TB, n *Node) {
	t.Helper()
	shard := &metapb.ShardRow{Epoch: 1, Members: []uint32{1}}
	r, err := n.Propose(t.Context(), &metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: &metapb.CreateCluster{
		Id: make([]byte, 16), Fsync: "always", Pool: &metapb.PoolRow{Shards: 1, Replication: 1, BlobSize: 1 << 20},
		Volumes: []*metapb.VolumeRow{{Number: 1, Id: make([]byte, 16)}}, Shards: []*metapb.ShardRow{shard},
	}}})
	must(t, err)
	if r.Failed {
		t.Fatal(r)
	}
}

func createBucket(t testing.TB, n *Node, name string) {
	t.Helper()
	r, err := n.Propose(t.Context(), &metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: &metapb.CreateBucket{Name: name, Owner: "o"}}})
	must(t, err)
	if r.Failed {
		t.Fatal(r)
	}
}

func hash(t testing.TB, n *Node) [32]byte {
	t.Helper()
	h, err := n.Hash()
	must(t, err)
	return h
}

// leaderWithSnapshot is a node with some state, its newest snapshot as a stream, and the state's hash.
func leaderWithSnapshot(t testing.TB) (fs *vfs.Mem, meta *raft.SnapshotMeta, stream []byte, h [32]byte) {
	t.Helper()
	fs = vfs.NewMem()
	n := openNode(t, testOptions(t, fs, testDir))
	awaitReady(t, n)
	foundCluster(t, n)
	for i := range 30 {
		createBucket(t, n, fmt.Sprintf("bucket-%02d", i))
	}
	must(t, n.Snapshot())
	metas, err := n.snaps.List()
	must(t, err)
	meta, r, err := n.snaps.Open(metas[0].ID)
	must(t, err)
	stream, err = io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	if int64(len(stream)) != meta.Size {
		t.Fatalf("the stream has %d bytes, its description says %d", len(stream), meta.Size)
	}
	h = hash(t, n)
	must(t, n.Close())
	return fs, meta, stream, h
}

// TestARestartNeedsNoRestore: the state covers the snapshot even though Raft counts entries that never reach it.
func TestARestartNeedsNoRestore(t *testing.T) {
	fs, _, _, h := leaderWithSnapshot(t)
	n := openNode(t, testOptions(t, fs.CrashClone(vfs.Survival{}), testDir))
	if n.state.number != 1 {
		t.Fatalf("the state was replaced: it is number %d", n.state.number)
	}
	awaitReady(t, n)
	if hash(t, n) != h {
		t.Fatal("the state differs")
	}
}

// TestACrashBetweenSinkAndMarker: a follower has stored a leader's snapshot and dies at every step until its state is switched.
func TestACrashBetweenSinkAndMarker(t *testing.T) {
	_, meta, stream, h := leaderWithSnapshot(t)
	mem := vfs.NewMem()
	var mu sync.Mutex
	var cuts []*vfs.Mem
	complete := false // the sink is closed
	inject := vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		mu.Lock()
		defer mu.Unlock()
		if complete && op.Kind.Changes() {
			cuts = append(cuts, mem.CrashClone(vfs.Survival{Percent: 50, Torn: true, Seed: uint64(len(cuts))}))
		}
	}})
	o := testOptions(t, inject, testDir)
	o.Bootstrap = false
	n := openNode(t, o)
	k, err := n.snaps.Create(1, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
	must(t, err)
	_, err = io.Copy(k, bytes.NewReader(stream))
	must(t, err)
	must(t, k.Close())
	mu.Lock()
	complete = true
	mu.Unlock()
	_, r, err := n.snaps.Open(k.ID())
	must(t, err)
	must(t, n.fsm.Restore(r))
	if hash(t, n) != h || n.fsm.applied.Load() < meta.Index-2 {
		t.Fatalf("the restored state differs, or stands at %d", n.fsm.applied.Load())
	}
	mu.Lock()
	complete = false
	mu.Unlock()
	if len(cuts) < 20 {
		t.Fatalf("only %d cuts", len(cuts))
	}
	for i, fs := range cuts {
		o := testOptions(t, fs, testDir)
		o.Bootstrap = false
		n, err := Open(o)
		if err != nil {
			t.Fatalf("cut %d: %v", i, err)
		}
		if hash(t, n) != h {
			t.Fatalf("cut %d: the state differs", i)
		}
		names, err := fs.List(fs.PathJoin(testDir, stateDir))
		must(t, err)
		if len(names) != 2 {
			t.Fatalf("cut %d: what is left is %v", i, names)
		}
		must(t, n.Close())
	}
}

// TestASnapshotBroughtTheLogIsBehind: the entries that the snapshot replaced are dropped, so that the next fits.
func TestTheLogIsBehindTheSnapshot(t *testing.T) {
	_, meta, stream, h := leaderWithSnapshot(t)
	fs := vfs.NewMem()
	o := testOptions(t, fs, testDir)
	n := openNode(t, o)
	awaitReady(t, n)
	id := n.ID()
	must(t, n.Close())
	snaps, err := openSnapshots(fs, fs.PathJoin(testDir, snapshotDir))
	must(t, err)
	config := raft.Configuration{Servers: []raft.Server{{ID: id, Address: raft.ServerAddress(id)}}}
	k, err := snaps.Create(1, meta.Index, meta.Term, config, 1, nil)
	must(t, err)
	_, err = k.Write(stream)
	must(t, err)
	must(t, k.Close())
	n = openNode(t, o)
	awaitReady(t, n)
	if hash(t, n) != h {
		t.Fatal("the state differs")
	}
	createBucket(t, n, "another")
	if s := n.Status(); s.AppliedIndex <= meta.Index {
		t.Fatalf("%+v", s)
	}
}

// TestNoUsableSnapshotRefusesToStart (C4).
func TestNoUsableSnapshotRefusesToStart(t *testing.T) {
	fs, meta, _, _ := leaderWithSnapshot(t)
	must(t, fs.RemoveAll(fs.PathJoin(testDir, stateDir)))
	n := openNode(t, testOptions(t, fs.CrashClone(vfs.Survival{Percent: 100}), testDir)) // restored from the snapshot
	must(t, n.Close())
	change(t, fs, fs.PathJoin(testDir, snapshotDir, meta.ID, snapshotMeta), func(b []byte) { b[20] ^= 1 })
	if _, err := Open(testOptions(t, fs, testDir)); err == nil {
		t.Fatal("it started without a state")
	}
	if _, err := fs.Stat(fs.PathJoin(testDir, snapshotDir, meta.ID+badSuffix)); err != nil {
		t.Fatalf("the snapshot was not kept for people: %v", err)
	}
}

// TestALostLogIsNoticed: a state without a log or a snapshot is not a new node.
func TestALostLogIsNoticed(t *testing.T) {
	fs, _, _, _ := leaderWithSnapshot(t)
	for _, dir := range []string{logDir, snapshotDir} {
		must(t, fs.RemoveAll(fs.PathJoin(testDir, dir)))
	}
	if _, err := Open(testOptions(t, fs, testDir)); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("%v", err)
	}
}

// TestDamagedStreamsAreRefused: a cut, a flipped byte, a foreign name.
func TestDamagedStreamsAreRefused(t *testing.T) {
	_, meta, stream, _ := leaderWithSnapshot(t)
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"no sum":  func(b []byte) []byte { return b[:len(b)-4*tarBlock] },
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"foreign": func(b []byte) []byte { copy(b, "../../etc/passwd\x00"); return b },
		"empty":   func(b []byte) []byte { return nil },
	} {
		fs := vfs.NewMem()
		s, err := openSnapshots(fs, "/snaps")
		must(t, err)
		k, err := s.Create(1, meta.Index, meta.Term, meta.Configuration, 1, nil)
		must(t, err)
		_, werr := k.Write(damage(bytes.Clone(stream)))
		if cerr := k.Close(); werr == nil && cerr == nil {
			t.Errorf("%s: taken", name)
		}
		if names, _ := fs.List("/snaps"); len(names) != 0 {
			t.Errorf("%s: left behind: %v", name, names)
		}
	}
}

// TestRetention keeps two snapshots, and those that are being read.
func TestRetention(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs, testDir)
	n := openNode(t, o)
	awaitReady(t, n)
	foundCluster(t, n)
	var reader io.ReadCloser
	for i := range 5 {
		createBucket(t, n, fmt.Sprintf("bucket-%d", i))
		must(t, n.Snapshot())
		if i == 0 {
			ids, err := n.snaps.ids()
			must(t, err)
			_, reader, err = n.snaps.Open(ids[0])
			must(t, err)
		}
	}
	ids, err := n.snaps.ids()
	must(t, err)
	if len(ids) != 3 {
		t.Fatalf("%d snapshots while one is read", len(ids))
	}
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatalf("the snapshot being read: %v", err)
	}
	must(t, reader.Close())
	after, err := n.snaps.ids()
	must(t, err)
	if !slices.Equal(after, ids[:2]) {
		t.Fatalf("%v stayed of %v", after, ids)
	}
	must(t, fs.MkdirAll(fs.PathJoin(testDir, snapshotDir, "x"+tmpSuffix, "db"), 0o700))
	must(t, n.Close())
	openNode(t, o)
	if all, _ := fs.List(fs.PathJoin(testDir, snapshotDir)); len(all) != 2 {
		t.Fatalf("temporary folders outlived the start: %v", all)
	}
}

// TestSnapshotsComeByBytes, and the log stays bounded.
func TestSnapshotsComeByBytes(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs, testDir)
	o.SnapshotEveryBytes = 64 << 10
	n := openNode(t, o)
	awaitReady(t, n)
	foundCluster(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := 0; n.newestSnapshot() == 0; i++ {
		must(t, ctx.Err())
		createBucket(t, n, fmt.Sprintf("bucket-%06d", i))
	}
	if got := n.raft.ReloadableConfig().TrailingLogs; got < trailingEntriesMin || got > trailingEntriesMax {
		t.Fatalf("%d trailing entries", got)
	}
}

// TestAnUnknownLevelStopsEverything: nothing is applied after an entry that this program does not understand.
func TestAnUnknownLevelStopsEverything(t *testing.T) {
	o := testOptions(t, vfs.NewMem(), testDir)
	var f fatals
	o.Fatal = f.add
	n := openNode(t, o)
	awaitReady(t, n)
	foundCluster(t, n)
	before := hash(t, n)
	fut := n.raft.Apply([]byte{0x08, 0x63}, time.Minute) // level 99
	must(t, fut.Error())
	if r := fut.Response().(entryResult); !errs.Is(r.err, errs.Unsupported) || f.n.Load() == 0 {
		t.Fatalf("%v, %d fatal", r.err, f.n.Load())
	}
	if _, err := n.Propose(t.Context(), sizedCommand("k", 1)); !errs.Is(err, errs.NotProposed) {
		t.Fatalf("a proposal after it: %v", err)
	}
	if _, err := n.Read(t.Context(), &metapb.Query{Q: &metapb.Query_Layout{}}); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("a read after it: %v", err)
	}
	fut = n.raft.Apply([]byte{0x08, 0x01}, time.Minute)
	must(t, fut.Error())
	if r := fut.Response().(entryResult); r.err == nil {
		t.Fatal("a later entry was applied")
	}
	if hash(t, n) != before {
		t.Fatal("the state changed")
	}
}

// TestBootstrapSurvivesACrashAtEveryOperation of the very first start.
func TestBootstrapSurvivesACrashAtEveryOperation(t *testing.T) {
	mem := vfs.NewMem()
	var mu sync.Mutex
	var cuts []*vfs.Mem
	o := testOptions(t, vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		if !op.Kind.Changes() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		cuts = append(cuts, mem.CrashClone(vfs.Survival{Percent: []int{0, 50, 100}[len(cuts)%3], Seed: uint64(len(cuts))}))
	}}), testDir)
	o.ElectionTimeout = 5 * time.Millisecond
	n := openNode(t, o)
	awaitReady(t, n)
	must(t, n.Close())
	t.Logf("%d cuts", len(cuts))
	for i, fs := range cuts {
		o := testOptions(t, fs, testDir)
		o.ElectionTimeout = 5 * time.Millisecond
		n, err := Open(o)
		if err != nil {
			t.Fatalf("cut %d: %v", i, err)
		}
		awaitReady(t, n)
		must(t, n.Close())
	}
}

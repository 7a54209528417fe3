package kv

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func open(t testing.TB, fs vfs.FS, dir string) *DB {
	t.Helper()
	d, err := Open(fs, dir, Options{MemTableBytes: 1 << 20})
	require.NoError(t, err)
	return d
}

// step commits batch number i: it sets its own key, a counter, and the applied index.
func step(t testing.TB, d *DB, i uint64) {
	t.Helper()
	b := d.NewBatch()
	require.NoError(t, b.Set(fmt.Appendf(nil, "key%06d", i), make([]byte, 500)))
	require.NoError(t, b.Set([]byte("last"), binary.BigEndian.AppendUint64(nil, i)))
	require.NoError(t, b.SetApplied(i, 7))
	require.NoError(t, b.Commit())
}

// consistent checks that the store is in the state after some batch, and gives its number.
func consistent(t testing.TB, d *DB) uint64 {
	t.Helper()
	index, _, err := d.Applied()
	require.NoError(t, err)
	v, found, err := d.Get(nil, []byte("last"))
	require.NoError(t, err)
	require.Equal(t, index > 0, found)
	if found {
		require.Equal(t, index, binary.BigEndian.Uint64(v), "K1")
	}
	it, err := d.Iter([]byte("key"), []byte("kez"))
	require.NoError(t, err)
	n := uint64(0)
	for ok := it.First(); ok; ok = it.Next() {
		n++
		require.Equal(t, fmt.Sprintf("key%06d", n), string(it.Key()), "K2")
	}
	require.NoError(t, it.Close())
	require.Equal(t, index, n, "K2")
	return index
}

func TestBatchReadsItsOwnChanges(t *testing.T) {
	d := open(t, vfs.NewMem(), "db")
	b := d.NewBatch()
	require.NoError(t, b.Set([]byte("a"), []byte("1")))
	require.NoError(t, b.Set([]byte("b"), []byte("2")))
	require.NoError(t, b.Commit())
	b = d.NewBatch()
	require.NoError(t, b.Delete([]byte("a")))
	require.NoError(t, b.Set([]byte("c"), nil))
	_, found, err := b.Get(nil, []byte("a"))
	require.NoError(t, err)
	require.False(t, found)
	v, found, err := b.Get([]byte("x"), []byte("b"))
	require.NoError(t, err)
	require.Equal(t, []any{true, "x2"}, []any{found, string(v)})
	it, err := b.Iter([]byte("a"), nil)
	require.NoError(t, err)
	var keys []string
	for ok := it.First(); ok; ok = it.Next() {
		keys = append(keys, string(it.Key()))
	}
	require.NoError(t, it.Close())
	require.Equal(t, []string{"b", "c"}, keys)

	s := d.Snapshot()
	require.NoError(t, b.DeleteRange([]byte("b"), []byte("c")))
	require.NoError(t, b.Commit())
	_, found, err = s.Get(nil, []byte("a"))
	require.NoError(t, err)
	require.True(t, found, "a snapshot does not move")
	require.NoError(t, s.Close())
	_, found, err = d.Get(nil, []byte("b"))
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, d.Close())
}

func TestAppliedAndLocal(t *testing.T) {
	fs := vfs.NewMem()
	d := open(t, fs, "db")
	index, term, err := d.Applied()
	require.NoError(t, err)
	require.Zero(t, index+term)
	b := d.NewBatch()
	require.NoError(t, b.SetApplied(5, 3))
	require.NoError(t, b.SetLocal("snapshot", []byte("x")))
	require.NoError(t, b.Commit())
	require.NoError(t, d.Flush())
	require.NoError(t, d.Close())
	d = open(t, fs, "db")
	index, term, err = d.Applied()
	require.NoError(t, err)
	require.Equal(t, []uint64{5, 3}, []uint64{index, term})
	v, err := d.Local("snapshot")
	require.NoError(t, err)
	require.Equal(t, "x", string(v))
	require.NotZero(t, d.Metrics().Flushes)
	require.NoError(t, d.Close())
}

// A power cut loses unsynced writes, all, none or some: the store is in the state after some batch, at least the flushed one.
func TestPowerCuts(t *testing.T) { // K1, K2
	fs := vfs.NewCrashableMem()
	d := open(t, fs, "db")
	r := rand.New(rand.NewPCG(1, 2))
	flushed := uint64(0)
	seen := make(map[uint64]bool)
	for i := uint64(1); i <= 6000; i++ { // some three memtables
		step(t, d, i)
		if i == 1500 {
			require.NoError(t, d.Flush())
			flushed = i
		}
		if i%150 != 0 {
			continue
		}
		for _, percent := range []int{0, 50, 100} {
			cut := open(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r}), "db")
			at := consistent(t, cut)
			require.GreaterOrEqual(t, at, flushed)
			require.LessOrEqual(t, at, i)
			seen[at] = true
			require.NoError(t, cut.Close())
		}
	}
	require.NoError(t, d.Close())
	require.Greater(t, len(seen), 2, "the cuts found too few states to mean anything")
}

// A checkpoint holds what was committed before it, also after a power cut the moment it returns.
func TestCheckpoint(t *testing.T) { // K3
	fs := vfs.NewCrashableMem()
	d := open(t, fs, "db")
	for i := uint64(1); i <= 300; i++ {
		step(t, d, i)
		if i%100 != 0 {
			continue
		}
		dir := fmt.Sprintf("checkpoints/%d", i)
		require.NoError(t, d.Checkpoint(dir))
		for _, fs := range []vfs.FS{fs, fs.CrashClone(vfs.CrashCloneCfg{})} {
			c := open(t, fs, dir)
			require.Equal(t, i, consistent(t, c))
			require.NoError(t, c.Close())
		}
	}
	require.Error(t, d.Checkpoint("checkpoints/100"), "it exists")
	require.Equal(t, uint64(300), consistent(t, d))
	require.NoError(t, d.Close())
}

// Checkpoints may be taken while batches are committed.
func TestCheckpointBesideWrites(t *testing.T) {
	fs := vfs.NewMem()
	d := open(t, fs, "db")
	step(t, d, 1)
	done := make(chan error)
	go func() { done <- d.Checkpoint("copy") }()
	last := uint64(1)
	for running := true; running; {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
			last++
			step(t, d, last)
		}
	}
	c := open(t, fs, "copy")
	require.LessOrEqual(t, consistent(t, c), last)
	require.NoError(t, c.Close())
	require.NoError(t, d.Close())
}

func TestOpenTwiceIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	d := open(t, fs, "db")
	_, err := Open(fs, "db", Options{})
	require.Error(t, err, "it is locked")
	require.NoError(t, d.Close())
}

// TestNewestIsSharedUntilTheNextBatch: readers between two batches share a state; those after a commit see it; those before keep theirs.
func TestNewestIsSharedUntilTheNextBatch(t *testing.T) {
	d := open(t, vfs.NewMem(), "d")
	step(t, d, 1)
	a, err := d.Newest()
	require.NoError(t, err)
	b, err := d.Newest()
	require.NoError(t, err)
	require.Same(t, a, b)
	a.Memo.Store("derived")
	step(t, d, 2)
	c, err := d.Newest()
	require.NoError(t, err)
	require.EqualValues(t, 1, b.Index)
	require.EqualValues(t, 2, c.Index)
	require.Nil(t, c.Memo.Load())
	require.NoError(t, a.Close())
	for n, want := range map[*Newest]uint64{b: 1, c: 2} {
		v, found, err := n.Get(nil, []byte("last"))
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, want, binary.BigEndian.Uint64(v))
		require.NoError(t, n.Close())
	}
	require.NoError(t, d.Close()) // Pebble tells of snapshots that were left open
}

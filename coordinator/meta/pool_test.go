package meta

import (
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func setReplication(from, to uint32) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_SetReplication{SetReplication: &metapb.SetReplication{From: from, Replication: to}}}
}

func setWeight(number uint32, weight *uint64) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_SetVolumeWeight{SetVolumeWeight: &metapb.SetVolumeWeight{Number: number, Weight: weight}}}
}

func clearAll(h *harness) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: h.missing()}}}
}

// TestSetReplication changes no shard by itself; shards may only come nearer to it; quorums are those of the shards' members.
func TestSetReplication(t *testing.T) {
	h := moving(t)
	b := h.bucket("b")
	for _, c := range []*metapb.Command{setReplication(3, 0), setReplication(3, ReplicationMax+1),
		{Op: &metapb.Command_SetReplication{SetReplication: &metapb.SetReplication{Pool: 1, From: 3, Replication: 2}}}} {
		h.refused(errs.Invalid, c)
	}
	h.refused(errs.Conflict, setReplication(2, 1))
	h.refused(errs.Conflict, setReplication(3, 6)) // of five volumes
	h.do(setState(5, VolumeIn, VolumeDraining, false))
	h.refused(errs.Conflict, setReplication(3, 5))
	h.do(setState(5, VolumeDraining, VolumeIn, false))
	h.do(setWeight(5, proto.Uint64(0)))
	h.refused(errs.Conflict, setReplication(3, 5))
	h.do(setWeight(5, nil))

	before := h.layout().Cluster.LayoutIndex
	require.EqualValues(t, 5, h.do(setReplication(3, 5)).GetPool().Replication)
	require.Greater(t, h.layout().Cluster.LayoutIndex, before)
	h.reopen()
	require.EqualValues(t, 5, h.layout().Pools[0].Replication)
	s := h.shard(0)
	require.Equal(t, []uint32{1, 2, 3}, s.Members)
	h.do(putCommand(b, "k", newObject("k", 5), inShard(h, 0, s, 3), nil)) // 2 of 3 are its quorum still
	h.do(clearAll(h))

	h.refused(errs.Conflict, join(s, nil, []uint32{3}))
	s = h.do(join(s, []uint32{4}, nil)).GetShard() // nearer, one by one
	s = h.do(flip(s)).GetShard()
	s = h.do(join(s, []uint32{5}, nil)).GetShard()
	h.refused(errs.Unavailable, putCommand(b, "l", newObject("l", 5), inShard(h, 0, h.shard(0), 1, 2, 5), nil))
	h.do(setReplication(5, 2))
	h.refused(errs.Conflict, flip(s)) // away from what is asked now
	s = h.do(cancelJoin(s)).GetShard()
	require.Equal(t, []uint32{1, 2, 3, 4}, s.Members)

	s = h.do(join(s, nil, []uint32{3, 4})).GetShard()
	require.True(t, Moving(s))
	h.refused(errs.Conflict, join(s, nil, []uint32{2}))
	h.refused(errs.Unavailable, putCommand(b, "m", newObject("m", 5), inShard(h, 0, h.shard(0), 1), nil)) // 3 of 4, 1 of the next 2
	lacking := inShard(h, 0, h.shard(0), 4)
	h.do(putCommand(b, "m", newObject("m", 5), lacking, nil))
	h.do(&metapb.Command{Op: &metapb.Command_ReportMissing{ReportMissing: &metapb.ReportMissing{Rows: []*metapb.MissingRow{
		{Blob: firstBlob(lacking), Volume: 2, Reason: MissingLost},
	}}}})
	h.refused(errs.Unavailable, flip(s)) // one that stays lacks a blob
	h.do(clearAll(h))
	s = h.do(flip(s)).GetShard()
	equal(t, &metapb.ShardRow{Epoch: s.Epoch, Members: []uint32{1, 2}, Leaving: []uint32{3, 4}, FlippedEpoch: h.epoch}, s)
	h.refused(errs.Unavailable, release(s, 3, 4))
	h.refused(errs.Unavailable, putCommand(b, "n", newObject("n", 5), inShard(h, 0, h.shard(0), 1), nil))

	h.do(setReplication(2, 3))
	s = h.do(join(s, []uint32{4}, nil)).GetShard()
	require.Equal(t, []uint32{3}, s.Leaving, "it is back")
	h.do(setReplication(3, 1))
	s = h.do(cancelJoin(s)).GetShard()
	s = h.do(join(s, nil, []uint32{1})).GetShard()
	h.do(setReplication(1, 2))
	h.refused(errs.Conflict, flip(s))
}

func firstBlob(w *metapb.Written) []byte {
	id := object.RunBase(w.Run.Base).Blob(w.Run.Ranges[0].First)
	return id[:]
}

// TestLevels: only commands that need it are of the new level, and what they do is not undone by a program that does not know it.
func TestLevels(t *testing.T) {
	h := emptyHarness(t)
	at := func(level uint32, c *metapb.Command) *metapb.Result {
		c = h.stamped(c)
		c.Level = level
		r := h.apply(c)[0]
		require.False(t, r.Failed, r.Message)
		return r
	}
	op := testCluster(1)
	create := &metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: op}}
	require.EqualValues(t, 1, LevelOf(create))
	require.EqualValues(t, 1, at(1, create).GetCluster().Level)
	require.EqualValues(t, 1, LevelOf(register(9, "n", "a:1")))
	at(1, register(9, "n", "a:1"))
	require.EqualValues(t, 1, h.layout().Cluster.Level)
	heavy := register(8, "n", "a:1")
	heavy.GetRegisterVolume().Weight = proto.Uint64(7)
	for _, c := range []*metapb.Command{setReplication(1, 2), setWeight(1, nil), heavy} {
		require.EqualValues(t, 2, LevelOf(c))
	}
	at(2, heavy)
	require.EqualValues(t, 2, h.layout().Cluster.Level)
	require.EqualValues(t, 7, h.layout().Volumes[2].GetWeight())
	at(2, setWeight(1, proto.Uint64(0)))
	h.reopen()
	row := h.layout().Volumes[0]
	require.True(t, row.Weight != nil && *row.Weight == 0, "a weight of 0 is not none")
	h.refused(errs.Invalid, setWeight(99, nil))
	h.refused(errs.Invalid, setWeight(1, proto.Uint64(WeightMax+1)))

	newer := &metapb.ClusterRow{Id: make([]byte, idLen), Level: Level + 1}
	b := h.db.NewBatch()
	require.NoError(t, setRow(b, clusterKey, newer))
	require.NoError(t, b.Commit())
	_, err := New(h.db)
	require.True(t, errs.Is(err, errs.Unsupported), "%v", err)
}

// shardWorld is one shard whose members change while blobs are written to it: volumes as sets of blobs, writers with old tables, a mover
// that lists and copies as rebalance does, and repair.
type shardWorld struct {
	h      *harness
	bucket *metapb.BucketRef
	has    map[uint32]map[object.BlobID]bool // durably
	// What was prepared and may still be decided, with who confirmed it.
	open      []*metapb.Written
	published []object.BlobID
	copied    bool // the running move's mover has seen to its targets
}

func (w *shardWorld) row() *metapb.ShardRow { return w.h.shard(0) }

func (w *shardWorld) store(v uint32, id object.BlobID) {
	if w.has[v] == nil {
		w.has[v] = map[object.BlobID]bool{}
	}
	w.has[v][id] = true
}

func someOf(t *rapid.T, label string, of []uint32) (out []uint32) {
	set := rapid.Uint64Range(0, 1<<len(of)-1).Draw(t, label)
	for i, v := range of {
		if set>>i&1 != 0 {
			out = append(out, v)
		}
	}
	return out
}

// write has some replicas of the present row confirm a new blob.
func (w *shardWorld) write(t *rapid.T) {
	row := w.row()
	x := inShard(w.h, 0, row)
	by := someOf(t, "confirmed", slices.Concat(row.Members, row.Joining))
	x.Shards[0].Confirmations[0].Volumes = by
	for _, v := range by {
		w.store(v, object.BlobID(firstBlob(x)))
	}
	w.open = append(w.open, x)
}

// decide proposes what was prepared, by whatever table that was; refused for that, the gateway takes the new one, and may bring the blob
// to some of its replicas first.
func (w *shardWorld) decide(t *rapid.T) {
	if len(w.open) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.open)-1).Draw(t, "which")
	x := w.open[i]
	id := object.BlobID(firstBlob(x))
	r := w.h.try(putCommand(w.bucket, "k"+string(rune('a'+len(w.published)%26)), newObject("k", 5), x, nil))
	row := w.row()
	switch {
	case !r.Failed:
		w.published = append(w.published, id)
		w.open = slices.Delete(w.open, i, i+1)
	case errs.Kind(r.Kind) == errs.StaleShardEpoch:
		by := x.Shards[0].Confirmations[0].Volumes
		for _, v := range someOf(t, "followed", slices.Concat(row.Members, row.Joining)) {
			w.store(v, id)
			by = append(by, v)
		}
		x.Shards[0].Epoch, x.Shards[0].Confirmations[0].Volumes = row.Epoch, by
	case errs.Kind(r.Kind) == errs.StaleEpoch: // given up
		w.open = slices.Delete(w.open, i, i+1)
	}
}

// join begins a move that Apply may refuse.
func (w *shardWorld) join(t *rapid.T) {
	row := w.row()
	var others []uint32
	for v := uint32(1); v <= 5; v++ {
		if !slices.Contains(row.Members, v) {
			others = append(others, v)
		}
	}
	if !w.h.try(join(row, someOf(t, "joining", others), someOf(t, "leaving", row.Members))).Failed {
		w.copied = false
	}
}

// copy lists as many members as meet each of their quorums, and brings the union of what they have to the targets. What is undecided may
// be left out.
func (w *shardWorld) copy(t *rapid.T) {
	row := w.row()
	listed := someOf(t, "listed", row.Members)
	if !Moving(row) || len(listed) < len(row.Members)-Quorum(len(row.Members))+1 {
		return
	}
	targets := row.Joining
	if len(targets) == 0 {
		targets = Next(row)
	}
	for _, from := range listed {
		for id := range w.has[from] {
			if slices.Contains(w.published, id) {
				for _, v := range targets {
					w.store(v, id)
				}
			}
		}
	}
	w.copied = true
}

func (w *shardWorld) step(t *rapid.T) {
	row := w.row()
	switch rapid.IntRange(0, 11).Draw(t, "step") {
	case 0, 1:
		w.write(t)
	case 2, 3:
		w.decide(t)
	case 4:
		now := w.h.layout().Pools[0].Replication
		w.h.try(setReplication(now, rapid.Uint32Range(1, 4).Draw(t, "replication")))
	case 5:
		w.join(t)
	case 6, 10, 11:
		if w.copied {
			w.h.try(flip(row))
		} else {
			w.copy(t)
		}
	case 7:
		w.h.try(cancelJoin(row))
	case 8: // repair, from wherever a copy is among the replicas
		for _, x := range w.h.missing() {
			id := object.BlobID(x.Blob)
			if slices.ContainsFunc(slices.Concat(row.Members, row.Joining, row.Leaving), func(v uint32) bool { return w.has[v][id] }) {
				w.store(x.Volume, id)
				w.h.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: []*metapb.MissingRow{x}}}})
			}
		}
	case 9:
		ticked(w.h, 1)
		for _, v := range row.Leaving {
			if !slices.Contains(row.Members, v) && !w.h.try(release(row, v)).Failed {
				clear(w.has[v])
			}
		}
	}
	w.check(t)
}

// check holds I7: what is published is on a quorum of the members, and who of them lacks it has a row.
func (w *shardWorld) check(t *rapid.T) {
	row := w.row()
	lacks := map[object.BlobID]uint64{}
	for _, x := range w.h.missing() {
		lacks[object.BlobID(x.Blob)] |= 1 << x.Volume
	}
	for _, id := range w.published {
		var have, members uint64
		for _, v := range row.Members {
			members |= 1 << v
			if w.has[v][id] {
				have |= 1 << v
			} else if lacks[id]>>v&1 == 0 {
				t.Fatalf("volume %d of %v lacks %v, and no row says so", v, row, id)
			}
		}
		if bits.OnesCount64(have) < len(row.Members)/2+1 {
			t.Fatalf("%v of %v have %v", have, row, id)
		}
	}
}

// TestMembersChange: whatever the order of writes, changes of the replication, moves, cancelled and ended, repair, and releases, a
// published blob is on a quorum of the shard's members, and a member that lacks it is in a missing row (I7).
func TestMembersChange(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		h := newHarness(rapidTB{tb, t}, rapid.SampledFrom([]uint32{1, 3}).Draw(t, "first"))
		for n := len(h.layout().Volumes) + 1; n <= 5; n++ {
			h.do(register(byte(100+n), "n", "a:1"))
		}
		w := &shardWorld{h: h, bucket: h.bucket("b"), has: map[uint32]map[object.BlobID]bool{}}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			w.step(t)
		}
	})
}

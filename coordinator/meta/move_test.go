package meta

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func register(id byte, node, address string) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_RegisterVolume{RegisterVolume: &metapb.RegisterVolume{
		Id: append(make([]byte, idLen-1), id), Node: node, Address: address, Capacity: 100,
	}}}
}

func setState(number, from, to uint32, force bool) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_SetVolumeState{SetVolumeState: &metapb.SetVolumeState{Number: number, From: from, To: to, Force: force}}}
}

func join(s *metapb.ShardRow, joining, leaving []uint32) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_JoinShard{JoinShard: &metapb.JoinShard{Shard: s.Shard, Epoch: s.Epoch, Joining: joining, Leaving: leaving}}}
}

func flip(s *metapb.ShardRow) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_FlipShard{FlipShard: &metapb.FlipShard{Shard: s.Shard, Epoch: s.Epoch}}}
}

func cancelJoin(s *metapb.ShardRow) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_CancelJoin{CancelJoin: &metapb.CancelJoin{Shard: s.Shard, Epoch: s.Epoch}}}
}

func release(s *metapb.ShardRow, volumes ...uint32) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_ReleaseShard{ReleaseShard: &metapb.ReleaseShard{Shard: s.Shard, Epoch: s.Epoch, Volumes: volumes}}}
}

func ticked(h *harness, lag uint64) {
	c := h.layout().Cluster
	h.epoch = h.do(&metapb.Command{Op: &metapb.Command_TickEpoch{TickEpoch: &metapb.TickEpoch{From: c.Epoch, HorizonLag: lag}}}).GetCluster().Epoch
}

func (h *harness) layout() *metapb.Layout {
	h.t.Helper()
	return h.read(&metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}}).GetLayout()
}

// shard reads a shard's row, also for what the harness writes by.
func (h *harness) shard(n uint32) *metapb.ShardRow {
	h.t.Helper()
	h.shards = h.layout().Shards
	return h.shards[n]
}

// moving is a cluster of replicas 1 to 3 and registered volumes 4 and 5.
func moving(t testing.TB) *harness {
	h := newHarness(t, 3)
	for id := byte(4); id <= 5; id++ {
		r := h.do(register(id, "n", "a:1")).GetVolume()
		require.EqualValues(t, id, r.Number)
	}
	return h
}

// TestVolumesRegister: numbers are never used again, addresses may change, what was removed stays away, what was silent is back.
func TestVolumesRegister(t *testing.T) {
	h := moving(t)
	before := h.layout().Cluster.LayoutIndex
	h.do(register(4, "n", "a:1"))
	require.Equal(t, before, h.layout().Cluster.LayoutIndex, "nothing changed")
	require.Equal(t, "b:2", h.do(register(4, "n", "b:2")).GetVolume().Address)
	require.Greater(t, h.layout().Cluster.LayoutIndex, before)
	h.reopen()
	require.Equal(t, "b:2", h.layout().Volumes[3].Address)

	h.do(setState(5, VolumeIn, VolumeRemoved, false))
	h.refused(errs.Conflict, register(5, "n", "a:1"))
	require.EqualValues(t, 6, h.do(register(9, "n", "a:1")).GetVolume().Number)

	h.do(&metapb.Command{Op: &metapb.Command_SetVolumeState{SetVolumeState: &metapb.SetVolumeState{Number: 4, To: VolumeOut, Silent: true}}})
	require.EqualValues(t, VolumeIn, h.do(register(4, "n", "b:2")).GetVolume().State)
	h.do(setState(4, VolumeIn, VolumeOut, false))
	require.EqualValues(t, VolumeOut, h.do(register(4, "n", "b:2")).GetVolume().State, "an operator said so")

	h.refused(errs.Conflict, setState(4, VolumeIn, VolumeDraining, false))
	h.refused(errs.Invalid, setState(40, VolumeIn, VolumeDraining, false))
	h.refused(errs.Invalid, setState(4, VolumeOut, 9, false))
	h.refused(errs.Invalid, &metapb.Command{Op: &metapb.Command_RegisterVolume{RegisterVolume: &metapb.RegisterVolume{Id: []byte{1}, Node: "n"}}})
	h.refused(errs.Conflict, setState(1, VolumeIn, VolumeRemoved, false))
	h.do(setState(1, VolumeIn, VolumeRemoved, true))
	h.refused(errs.Conflict, setState(2, VolumeIn, VolumeRemoved, true))
}

// TestAMove from beginning to end: who writes, who is counted, and what each step refuses.
func TestAMove(t *testing.T) {
	h := moving(t)
	b := h.bucket("b")
	s := h.shard(0)
	h.refused(errs.Invalid, join(s, []uint32{1}, []uint32{2}))
	h.refused(errs.Invalid, join(s, []uint32{4}, []uint32{5}))
	h.refused(errs.Conflict, join(s, []uint32{4}, nil))
	h.refused(errs.Conflict, join(s, nil, []uint32{3}))
	h.refused(errs.Invalid, join(s, nil, nil))
	h.refused(errs.Conflict, join(s, []uint32{77}, []uint32{3}))
	h.refused(errs.Conflict, flip(s))
	h.refused(errs.Conflict, cancelJoin(s))

	joined := h.do(join(s, []uint32{4}, []uint32{3})).GetShard()
	require.Equal(t, s.Epoch+1, joined.Epoch)
	h.refused(errs.Conflict, join(joined, []uint32{5}, []uint32{2}))
	h.refused(errs.Conflict, flip(s))
	stale := inShard(h, 0, s)
	h.refused(errs.StaleShardEpoch, putCommand(b, "stale", newObject("stale", 5), stale, nil))

	h.shard(0)
	h.refused(errs.Unavailable, putCommand(b, "k", newObject("k", 5), inShard(h, 0, h.shards[0], 2, 4), nil))
	h.do(putCommand(b, "k", newObject("k", 5), inShard(h, 0, h.shards[0], 4), nil))
	h.refused(errs.Unavailable, flip(joined)) // the joining one lacks it
	counts := h.read(&metapb.Query{Q: &metapb.Query_MissingCounts{MissingCounts: &metapb.MissingCountsQuery{}}}).GetMissingCounts().Counts
	require.Len(t, counts, 1)
	equal(t, &metapb.MissingCount{Shard: 0, Volume: 4, Count: 1}, counts[0])
	h.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: h.missing()}}})
	require.Zero(t, h.rows(tableMissingCounts))

	// What only the leaving one lacks is no hindrance.
	h.do(putCommand(b, "l", newObject("l", 5), inShard(h, 0, h.shards[0], 3), nil))
	h.reopen()
	flipped := h.do(flip(joined)).GetShard()
	equal(t, &metapb.ShardRow{Epoch: joined.Epoch + 1, Members: []uint32{1, 2, 4}, Leaving: []uint32{3}, FlippedEpoch: h.epoch}, flipped)

	h.refused(errs.Unavailable, release(flipped, 3))
	h.refused(errs.Conflict, release(flipped, 1))
	ticked(h, 1)
	ticked(h, 1)
	h.shard(0)
	h.do(putCommand(b, "m", newObject("m", 5), inShard(h, 0, h.shards[0], 2), nil))
	h.refused(errs.Unavailable, release(flipped, 3)) // a member lacks a blob
	h.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: h.missing()}}})
	released := h.do(release(flipped, 3)).GetShard()
	require.Empty(t, released.Leaving)
	require.Equal(t, flipped.Epoch, released.Epoch)
}

// TestAVolumeMovesBack while its old replica is still kept, and a cancelled move leaves what was.
func TestAVolumeMovesBack(t *testing.T) {
	h := moving(t)
	s := h.do(join(h.shard(1), []uint32{4}, []uint32{3})).GetShard()
	s = h.do(flip(s)).GetShard()
	s = h.do(join(s, []uint32{3}, []uint32{4})).GetShard()
	require.Equal(t, []uint32{3}, s.Joining)
	require.Equal(t, []uint32{4}, s.Leaving)
	back := h.do(cancelJoin(s)).GetShard()
	require.Equal(t, []uint32{1, 2, 4}, back.Members)
	require.Empty(t, back.Joining)
	require.Empty(t, back.Leaving)
	s = h.do(join(back, []uint32{5}, []uint32{4})).GetShard()
	s = h.do(flip(s)).GetShard()
	s = h.do(join(s, []uint32{3}, []uint32{2})).GetShard()
	require.Equal(t, []uint32{4, 2}, s.Leaving, "what left before is still kept")
	s = h.do(cancelJoin(s)).GetShard()
	require.Equal(t, []uint32{4}, s.Leaving)
	h.do(setState(4, VolumeIn, VolumeRemoved, false))
	require.Empty(t, h.do(release(s, 4)).GetShard().Leaving, "what is removed needs no horizon")
}

// TestRebalanceRow keeps what is not set.
func TestRebalanceRow(t *testing.T) {
	h := newHarness(t, 1)
	set := func(op *metapb.SetRebalance) *metapb.RebalanceRow {
		return h.do(&metapb.Command{Op: &metapb.Command_SetRebalance{SetRebalance: op}}).GetRebalance()
	}
	set(&metapb.SetRebalance{Running: proto.Bool(true)})
	set(&metapb.SetRebalance{BytesPerSecond: proto.Uint64(7)})
	equal(t, &metapb.RebalanceRow{Running: true, Paused: true, BytesPerSecond: 7, StartedMs: testTime}, set(&metapb.SetRebalance{Paused: proto.Bool(true)}))
	h.reopen()
	equal(t, &metapb.RebalanceRow{Paused: true, BytesPerSecond: 7, StartedMs: testTime}, set(&metapb.SetRebalance{Running: proto.Bool(false)}))
	require.True(t, h.layout().Rebalance.Paused)
}

func (h *harness) missing() []*metapb.MissingRow {
	h.t.Helper()
	return h.read(&metapb.Query{Q: &metapb.Query_Missing{Missing: &metapb.MissingQuery{}}}).GetMissing().Rows
}

// inShard is a run of one small blob in the shard, placed by the given row and confirmed by all its replicas but those left out.
func inShard(h *harness, shard uint32, row *metapb.ShardRow, without ...uint32) *metapb.Written {
	h.t.Helper()
	for range 10_000 {
		h.shards[shard] = row
		w := h.written(5, without...)
		if w.Shards[0].Shard == shard {
			return w
		}
	}
	h.t.Fatal("no run falls into the shard")
	return nil
}

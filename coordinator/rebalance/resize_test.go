package rebalance

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func (w *world) replication(to uint32) {
	w.t.Helper()
	w.do(&metapb.Command{Op: &metapb.Command_SetReplication{SetReplication: &metapb.SetReplication{
		From: w.layout().Pools[0].Replication, Replication: to,
	}}})
}

// sizes are how many members the shards have, and how many shards move.
func sizes(l *metapb.Layout) (members map[int]int, moving int) {
	members = map[int]int{}
	for _, row := range l.Shards {
		members[len(row.Members)]++
		if meta.Moving(row) {
			moving++
		}
	}
	return members, moving
}

func (w *world) settled(replication int) {
	w.t.Helper()
	members, moving := sizes(w.layout())
	require.Equal(w.t, map[int]int{replication: len(w.layout().Shards)}, members)
	require.Zero(w.t, moving)
}

// onEvery requires that every member has every blob, with no row to excuse it.
func (w *world) onEvery(ids ...object.BlobID) {
	w.t.Helper()
	require.Empty(w.t, w.missing())
	w.whole(ids...)
}

// TestRaiseAndLower: what is there is copied to those that join, and taken from those that leave only when the horizon has passed.
func TestRaiseAndLower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, 1, 5)
		ids := putMany(w, 200)
		w.replication(3)
		m := lead(w, time.Minute)
		w.settled(3)
		ids = append(ids, putMany(w, 20)...)
		w.onEvery(ids...)
		require.EqualValues(t, 100, m.Progress().Percent)
		require.Zero(t, m.Progress().UnderReplicated)
		require.Equal(t, 400, w.copies, "each blob to two volumes")

		w.replication(2)
		lead(w, time.Minute)
		w.settled(2)
		w.onEvery(ids...)
		require.Equal(t, 400, w.copies, "what is known to be there is not copied")
		for _, row := range w.layout().Shards {
			require.Len(t, row.Leaving, 1, "the horizon has not passed")
		}
		for range 3 {
			w.do(&metapb.Command{Op: &metapb.Command_TickEpoch{TickEpoch: &metapb.TickEpoch{From: w.layout().Cluster.Epoch, HorizonLag: 1}}})
		}
		lead(w, 5*time.Second)
		for _, row := range w.layout().Shards {
			require.Empty(t, row.Leaving)
		}
		w.replication(1)
		lead(w, time.Minute)
		w.settled(1)
		w.onEvery(ids...)
	})
}

// TestLoweringKeepsTheOnlyCopies: what only those that leave have is brought to those that stay first, whether a row says so or not.
func TestLoweringKeepsTheOnlyCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3, 3)
		ids := putMany(w, 60)
		for i, id := range ids { // nobody has noticed
			for v := uint32(1); v <= 3; v++ {
				if v != uint32(1+i%3) {
					delete(w.volumes[v].blobs, id)
				}
			}
		}
		noted := w.put("noted", 1)
		stay := w.layout().Shards[noted.Shard(4)]
		w.replication(1)
		lead(w, 10*time.Second)
		members, moving := sizes(w.layout())
		if moving > 0 { // volume 1 is the one to stay with the shard of what it is known to lack
			require.Equal(t, map[int]int{1: 3, 3: 1}, members)
			require.Equal(t, stay.Members, w.layout().Shards[stay.Shard].Members)
		}
		w.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: w.missing()}}})
		lead(w, 10*time.Second)
		w.settled(1)
		w.onEvery(append(ids, noted)...)
	})
}

// TestALeaderGoesOnWithANewReplication, which another began and died over: in the copy, at the flip.
func TestALeaderGoesOnWithANewReplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, to := range []uint32{1, 3} {
			for _, dies := range []string{"copy", "flip"} {
				w := newWorld(t, 8, 2, 4)
				ids := putMany(w, 100)
				left := 2
				w.refuse = func(c *metapb.Command) error {
					if dies == "flip" && c.GetFlipShard() != nil || dies == "copy" && c.GetJoinShard() != nil {
						if left--; left < 0 {
							return errs.E("fake", errs.NotLeader, "the leader died")
						}
					}
					return nil
				}
				w.replication(to)
				lead(w, 10*time.Second)
				members, _ := sizes(w.layout())
				require.Len(t, members, 2, "some are done: %v", members)
				ids = append(ids, putMany(w, 20)...)
				w.refuse = nil
				lead(w, 10*time.Second)
				for _, x := range w.missing() { // repair
					w.volumes[x.Volume].blobs[object.BlobID(x.Blob)] = true
				}
				w.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: w.missing()}}})
				lead(w, 30*time.Second)
				w.settled(int(to))
				w.onEvery(ids...)
			}
		}
	})
}

// TestReplicationChangesTwice: what has begun and leads away from what is asked now is given up, what leads there goes on.
func TestReplicationChangesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12, 2, 5)
		ids := putMany(w, 100)
		hold := func(c *metapb.Command) error {
			if c.GetFlipShard() != nil {
				return errs.E("fake", errs.NotProposed, "not yet")
			}
			return nil
		}
		last := 2
		for _, to := range []uint32{3, 1, 4, 2, 5, 3} {
			w.refuse = hold
			w.replication(to)
			lead(w, 5*time.Second)
			members, moving := sizes(w.layout())
			require.Equal(t, map[int]int{last: 12}, members)
			if to == 2 {
				require.Zero(t, moving)
			} else {
				require.Equal(t, movesMaxDefault, moving)
			}
			for _, row := range w.layout().Shards {
				if meta.Moving(row) {
					require.Len(t, meta.Next(row), int(to), "as it is asked now")
				}
			}
		}
		w.refuse = nil
		lead(w, 30*time.Second)
		w.settled(3)
		w.onEvery(ids...)
	})
}

// TestAVolumeIsDownWhileLowering: it is what leaves; with too few others up, nothing does. One that dies before the flip is not stayed with.
func TestAVolumeIsDownWhileLowering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8, 3, 3)
		ids := putMany(w, 50)
		w.volumes[2].down = true
		w.replication(2)
		lead(w, 20*time.Second)
		w.settled(2)
		for _, row := range w.layout().Shards {
			require.Equal(t, []uint32{1, 3}, row.Members)
		}
		w.onEvery(ids...)

		w = newWorld(t, 8, 3, 3)
		ids = putMany(w, 50)
		w.volumes[1].down, w.volumes[2].down = true, true
		w.replication(2)
		lead(w, 20*time.Second)
		w.settled(3)
		w.volumes[1].down = false
		died := false
		w.refuse = func(c *metapb.Command) error {
			if c.GetFlipShard() != nil && !died {
				died = true
				w.volumes[3].down = true
			}
			if died && c.GetFlipShard() != nil && w.volumes[3].down {
				return errs.E("fake", errs.NotProposed, "its answer is lost")
			}
			return nil
		}
		lead(w, 10*time.Second)
		_, moving := sizes(w.layout())
		require.Zero(t, moving, "given up: no two are there to stay")
		w.volumes[2].down = false
		w.refuse = nil
		lead(w, 20*time.Second)
		w.settled(2)
		for _, row := range w.layout().Shards {
			require.Equal(t, []uint32{1, 2}, row.Members)
		}
		w.onEvery(ids...)
	})
}

// TestDrainWhileRaising: a volume that is drained gets nothing more, what was on its way there is given up, and in the end it has nothing.
func TestDrainWhileRaising(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12, 1, 5)
		ids := putMany(w, 100)
		held := true
		w.refuse = func(c *metapb.Command) error {
			if held && c.GetFlipShard() != nil {
				return errs.E("fake", errs.NotProposed, "not yet")
			}
			return nil
		}
		w.replication(3)
		lead(w, 3*time.Second)
		w.state(1, meta.VolumeIn, meta.VolumeDraining)
		w.state(2, meta.VolumeIn, meta.VolumeDraining)
		lead(w, 3*time.Second)
		held = false
		lead(w, time.Minute)
		w.settled(3)
		for _, row := range w.layout().Shards {
			require.Equal(t, []uint32{3, 4, 5}, row.Members)
		}
		w.onEvery(ids...)
	})
}

// TestPlansOfAnotherReplication: for any topology a plan ends with as many members as are asked for; replicas that need not move do not;
// those that stay are up; no two are in one zone while a zone is unused.
func TestPlansOfAnotherReplication(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.IntRange(1, 4).Draw(t, "from"), rapid.IntRange(1, 4).Draw(t, "to")
		var rows []*metapb.VolumeRow
		for n := range rapid.IntRange(max(from, to)+1, 9).Draw(t, "volumes") {
			rows = append(rows, &metapb.VolumeRow{Number: uint32(n + 1), Capacity: 1 << 30, Node: fmt.Sprint("n", n), Zone: fmt.Sprint("z", n%3)})
		}
		l := layoutOf(uint32(rapid.IntRange(1, 30).Draw(t, "shards")), uint32(from), rows...)
		before := proto.CloneOf(l)
		l.Pools[0].Replication = uint32(to)
		gone := uint32(0)
		if rapid.Bool().Draw(t, "one is out") {
			gone = uint32(rapid.IntRange(1, len(rows)).Draw(t, "gone"))
			l.Volumes[gone-1].State = meta.VolumeOut
		}
		zones := map[string]bool{}
		for _, r := range l.Volumes {
			if r.State == meta.VolumeIn {
				zones[r.Zone] = true
			}
		}
		settle(t, l, false, func(row *metapb.ShardRow) {
			require.GreaterOrEqual(t, len(row.Members), min(from, to))
			require.LessOrEqual(t, len(row.Members), max(from, to))
		})
		for i, row := range l.Shards {
			require.Len(t, row.Members, to)
			require.NotContains(t, row.Members, gone)
			was, kept, used := before.Shards[i].Members, 0, map[string]bool{}
			for _, v := range row.Members {
				used[l.Volumes[v-1].Zone] = true
				if slices.Contains(was, v) {
					kept++
				}
			}
			require.Len(t, used, min(to, len(zones)))
			lost := 0
			if slices.Contains(was, gone) {
				lost = 1
			}
			require.GreaterOrEqual(t, kept, min(to, len(was))-lost, "one more may go to keep zones apart")
		}
	})
}

// TestWeights: a volume of weight 0 keeps what it has and gets nothing, until shards are spread; weights are shares.
func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 64, 2, 4)
		ids := putMany(w, 50)
		weigh := func(v uint32, weight uint64) {
			w.do(&metapb.Command{Op: &metapb.Command_SetVolumeWeight{SetVolumeWeight: &metapb.SetVolumeWeight{Number: v, Weight: &weight}}})
		}
		weigh(4, 0)
		weigh(1, 4<<30)
		weigh(2, 1<<30)
		weigh(3, 1<<30)
		lead(w, 5*time.Second)
		n, _ := holding(w.layout(), 2)
		require.Equal(t, 64, n, "weights move nothing by themselves")
		w.set(&metapb.SetRebalance{Running: proto.Bool(true)})
		lead(w, time.Minute)
		require.False(t, w.layout().Rebalance.Running)
		heavy, _ := holding(w.layout(), 1)
		light, _ := holding(w.layout(), 2)
		none, _ := holding(w.layout(), 4)
		require.Zero(t, none)
		require.Greater(t, heavy, light+10)

		weigh(1, 0)
		weigh(4, 1<<30)
		w.replication(3)
		lead(w, time.Minute)
		w.settled(3)
		now, _ := holding(w.layout(), 1)
		require.Equal(t, heavy, now, "it keeps what it has and gets nothing")
		w.onEvery(ids...)
	})
}

// Package repair brings replicas to volumes that lack them, or have them damaged, and finds those: the queue works through the
// missing rows, the walk compares metadata with what volumes hold.
//
// Invariants:
//
//	R1 Only blobs that are alive are copied, as read after their missing row; a row of anything else is cleared.
//	R2 A row is cleared only when the volume answered that the blob is durable there and good, or that the row means nothing any more.
//	   A report that a row is met by is repeated by its author, so what is lost between the two comes again.
//	R3 Nothing here drops a blob, whatever its bytes are like.
//	R4 All state that matters is rows: another leader goes on where this one ended, and two at once only copy twice.
//	R5 Everything is bounded: rows at hand, blobs and bytes on their way, bytes per second; a volume that is away is asked ever
//	   more rarely and keeps no other waiting.
package repair

import (
	"context"
	"slices"
	"time"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Metadata is the coordinator's state machine, as its leader sees it.
type Metadata interface {
	Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error)
	Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error)
}

// Volumes does what volumes are asked for. Rows say where they are.
type Volumes interface {
	// Fetch has a volume get blobs from others; each has its own outcome. At most object.FetchBlobsMax and object.CareBytesMax, from at
	// most object.FetchSourcesMax sources.
	Fetch(ctx context.Context, to *metapb.VolumeRow, wants []object.Want, sources []*metapb.VolumeRow) ([]object.Fetched, error)
	// Check asks a volume what it has of blobs: at most object.CheckBlobsMax; deep, object.CareBytesMax.
	Check(ctx context.Context, at *metapb.VolumeRow, c object.Check) (object.Checked, error)
	// List gives up to limit blobs of a volume after the given one; fewer mean the end.
	List(ctx context.Context, at *metapb.VolumeRow, after object.BlobID, limit int) ([]object.BlobInfo, error)
	// ListShard is List of one shard.
	ListShard(ctx context.Context, at *metapb.VolumeRow, shard, shards uint32, after object.BlobID, limit int) ([]object.BlobInfo, error)
	// ListPrepared is List of blobs that the volume does not know to be committed.
	ListPrepared(ctx context.Context, at *metapb.VolumeRow, after object.BlobID, limit int) ([]object.BlobInfo, error)
	// Digests tells what a volume holds of each of so many shards.
	Digests(ctx context.Context, at *metapb.VolumeRow, shards uint32) ([]object.ShardDigest, error)
}

// propose makes a recorded refusal an error.
func propose(ctx context.Context, m Metadata, op string, c *metapb.Command) (*metapb.Result, error) {
	r, err := m.Propose(ctx, c)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if r.Failed {
		return nil, errs.E(op, errs.Kind(r.Kind), "%s", r.Message)
	}
	return r, nil
}

// topology is a layout made ready for questions.
type topology struct {
	*metapb.Layout
	volumes map[uint32]*metapb.VolumeRow
}

func readTopology(ctx context.Context, m Metadata) (*topology, error) {
	a, err := m.Read(ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	if err != nil {
		return nil, err
	}
	t := &topology{Layout: a.GetLayout(), volumes: map[uint32]*metapb.VolumeRow{}}
	if len(t.GetCluster().GetId()) == 0 || len(t.Pools) == 0 || len(t.Shards) != int(t.Pools[0].Shards) {
		return nil, errs.E("repair.layout", errs.Unavailable, "there is no cluster yet")
	}
	for _, v := range t.Volumes {
		t.volumes[v.Number] = v
	}
	return t, nil
}

func (t *topology) shard(id object.BlobID) *metapb.ShardRow {
	return t.Shards[id.Shard(t.Pools[0].Shards)]
}

// sources are the replicas that may have a blob, but one; where to begin depends on the blob, so that load spreads. Leaving ones come
// last.
func (t *topology) sources(id object.BlobID, but uint32, usable func(uint32) bool) []uint32 {
	row := t.shard(id)
	var all []uint32
	seen := map[uint32]bool{but: true}
	for i, list := range [][]uint32{row.Members, row.Joining, row.Leaving} {
		for j := range list {
			v := list[j]
			if i == 0 {
				v = list[(j+int(id.Hash()>>40))%len(list)]
			}
			if !seen[v] && t.volumes[v] != nil && usable(v) {
				seen[v] = true
				all = append(all, v)
			}
		}
	}
	return all
}

// strangersMax is how many volumes that are no replicas are asked for a blob at a time.
const strangersMax = 16

// strangers are volumes that are no replicas of a blob's shard, others in each turn: a move, or the layout of an old backup, may have left
// the last good copy with one of them.
func (t *topology) strangers(id object.BlobID, but uint32, usable func(uint32) bool, turn int) (out []uint32) {
	row := t.shard(id)
	for i := range min(len(t.Volumes), strangersMax) {
		v := t.Volumes[(turn*strangersMax+i)%len(t.Volumes)]
		replica := slices.Contains(row.Members, v.Number) || slices.Contains(row.Joining, v.Number) || slices.Contains(row.Leaving, v.Number)
		if !replica && v.Number != but && v.State != meta.VolumeRemoved && usable(v.Number) {
			out = append(out, v.Number)
		}
	}
	return out
}

// life is what is known of a blob's run.
type life struct {
	alive  bool
	length int64 // of the blob
}

// lives reads which blobs are alive, and their lengths, in order.
func lives(ctx context.Context, m Metadata, ids []object.BlobID) ([]life, error) {
	q := &metapb.RunStatesQuery{}
	place := map[object.RunBase]int{}
	for _, id := range ids {
		base := id.Run()
		if _, ok := place[base]; !ok {
			place[base] = len(q.Bases)
			q.Bases = append(q.Bases, base[:])
		}
	}
	a, err := m.Read(ctx, &metapb.Query{Q: &metapb.Query_RunStates{RunStates: q}})
	if err != nil {
		return nil, err
	}
	states := a.GetRunStates().GetStates()
	if len(states) != len(q.Bases) {
		return nil, errs.E("repair.lives", errs.Other, "%d states of %d runs", len(states), len(q.Bases))
	}
	out := make([]life, len(ids))
	for i, id := range ids {
		s := states[place[id.Run()]]
		if s.State == meta.RunAlive {
			out[i] = lifeOf(id, s)
		}
	}
	return out, nil
}

// lifeOf finds a blob in its living run: all blobs are as long as the run's blobs are, but the last.
func lifeOf(id object.BlobID, s *metapb.RunState) life {
	at := uint64(0)
	for _, g := range s.Ranges {
		if n := id.Counter() - g.First; n < g.Count {
			from := (at + uint64(n)) * uint64(s.BlobSize)
			if from >= s.Length {
				return life{}
			}
			return life{alive: true, length: int64(min(uint64(s.BlobSize), s.Length-from))}
		}
		at += uint64(g.Count)
	}
	return life{}
}

// Report proposes missing rows for suspects, those alive and on replicas of their shard, and gives how many were new.
func Report(ctx context.Context, m Metadata, rows []*metapb.MissingRow) (int, error) {
	const op = "repair.Report"
	ids := make([]object.BlobID, 0, len(rows))
	for _, r := range rows {
		id, err := object.BlobIDFrom(r.Blob)
		if err != nil {
			return 0, errs.Wrap(op, err)
		}
		ids = append(ids, id)
	}
	known, err := lives(ctx, m, ids)
	if err != nil {
		return 0, errs.Wrap(op, err)
	}
	living := rows[:0:0]
	for i, r := range rows {
		if known[i].alive {
			living = append(living, r)
		}
	}
	if len(living) == 0 {
		return 0, nil
	}
	r, err := propose(ctx, m, op, &metapb.Command{Op: &metapb.Command_ReportMissing{ReportMissing: &metapb.ReportMissing{Rows: living}}})
	return int(r.GetReleased().GetReleased()), err
}

// Clock is time as the queue sees it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

package rebalance

import (
	"context"
	"slices"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// counts is how many blobs replicas lack, by shard and volume.
type counts map[uint32]map[uint32]uint64

func (m *Mover) missingCounts(ctx context.Context) (counts, error) {
	a, err := m.m.Read(ctx, &metapb.Query{Q: &metapb.Query_MissingCounts{MissingCounts: &metapb.MissingCountsQuery{}}})
	if err != nil {
		return nil, err
	}
	out := counts{}
	for _, c := range a.GetMissingCounts().GetCounts() {
		if out[c.Shard] == nil {
			out[c.Shard] = map[uint32]uint64{}
		}
		out[c.Shard][c.Volume] = c.Count
	}
	return out, nil
}

// release lets volumes drop what they were members of: once the horizon has passed the flip and no member lacks a blob, and at once
// when they were removed.
func (m *Mover) release(ctx context.Context, l *metapb.Layout, missing counts) error {
	removed := map[uint32]bool{}
	for _, v := range l.Volumes {
		removed[v.Number] = v.State == meta.VolumeRemoved
	}
	for _, row := range l.Shards {
		volumes := gone(row)
		if len(volumes) == 0 || meta.Moving(row) {
			continue
		}
		whole := !slices.ContainsFunc(row.Members, func(v uint32) bool { return missing[row.Shard][v] > 0 })
		if l.GetCluster().GetHorizon() <= row.FlippedEpoch || !whole {
			volumes = slices.DeleteFunc(volumes, func(v uint32) bool { return !removed[v] })
		}
		if len(volumes) == 0 {
			continue
		}
		_, err := m.propose(ctx, &metapb.Command{Op: &metapb.Command_ReleaseShard{ReleaseShard: &metapb.ReleaseShard{
			Shard: row.Shard, Epoch: row.Epoch, Volumes: volumes,
		}}})
		if err != nil && !errs.Is(err, errs.Conflict) && !errs.Is(err, errs.Unavailable) { // the row has changed: next time
			return err
		}
	}
	return nil
}

// stranger says that a volume is no replica of a shard.
func stranger(l *metapb.Layout, shard, volume uint32) bool {
	row := l.Shards[shard]
	return !slices.Contains(row.Members, volume) && !slices.Contains(row.Joining, volume)
}

// ofStrangers are the missing rows of volumes that are no replicas.
func ofStrangers(l *metapb.Layout, rows []*metapb.MissingRow) (out []*metapb.MissingRow) {
	for _, x := range rows {
		if id, err := object.BlobIDFrom(x.Blob); err == nil && stranger(l, id.Shard(uint32(len(l.Shards))), x.Volume) {
			out = append(out, x)
		}
	}
	return out
}

// clearStrangers forgets missing rows of volumes that are no replicas any more, some pages in each step. What is a stranger's is decided by
// a layout read after the rows: should the volume join later, then those blobs were decided before, and are copied. By an older one, rows of
// a volume that has joined since, and that its move must wait for, would go.
func (m *Mover) clearStrangers(ctx context.Context, l *metapb.Layout, missing counts) error {
	some := false
	for shard, volumes := range missing {
		for v := range volumes {
			some = some || int(shard) < len(l.Shards) && stranger(l, shard, v)
		}
	}
	if !some {
		return nil
	}
	for range clearPages {
		a, err := m.m.Read(ctx, &metapb.Query{Q: &metapb.Query_Missing{Missing: &metapb.MissingQuery{After: m.cleared, Limit: clearPage}}})
		if err != nil {
			return err
		}
		rows := ofStrangers(l, a.GetMissing().GetRows())
		if len(rows) > 0 {
			if l, err = m.layout(ctx); err != nil {
				return err
			}
			rows = ofStrangers(l, rows)
		}
		if len(rows) > 0 {
			if _, err := m.propose(ctx, &metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: rows}}}); err != nil {
				return err
			}
		}
		if m.cleared = a.GetMissing().GetNext(); m.cleared == nil {
			return nil
		}
	}
	return nil
}

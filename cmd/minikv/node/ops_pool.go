package node

import (
	"context"
	"slices"

	"minikv/coordinator"
	"minikv/coordinator/meta"
	"minikv/internal/ops"
	"minikv/proto/metapb"
)

// poolOps are the operations on pools; coord leads while they run.
func poolOps(coord *coordinator.Coordinator) []ops.Handler {
	if coord == nil {
		return nil
	}
	return []ops.Handler{
		ops.PoolList.Handle(func(ctx context.Context, _ *ops.None, _ ops.Progress) (*ops.PoolListAnswer, error) {
			return poolList(ctx, coord)
		}),
		ops.PoolSetReplication.Handle(func(ctx context.Context, q *ops.PoolReplicationRequest, _ ops.Progress) (*ops.PoolListAnswer, error) {
			warnings, err := coord.SetReplication(ctx, coordinator.ReplicationChange{
				Pool: q.Pool, Replication: q.Replication, Fewer: q.Yes, Crowded: q.Force,
			})
			if err != nil {
				return nil, err
			}
			a, err := poolList(ctx, coord)
			if err == nil {
				a.Warnings = warnings
			}
			return a, err
		}),
	}
}

func poolList(ctx context.Context, coord *coordinator.Coordinator) (*ops.PoolListAnswer, error) {
	l, err := coord.Layout(ctx)
	if err != nil {
		return nil, err
	}
	a := &ops.PoolListAnswer{Pools: []ops.Pool{}}
	for _, p := range l.GetPools() {
		a.Pools = append(a.Pools, poolOf(p, l.GetShards()))
	}
	return a, nil
}

// poolOf counts how far a pool's shards are.
func poolOf(p *metapb.PoolRow, shards []*metapb.ShardRow) ops.Pool {
	x := ops.Pool{Pool: p.Pool, Replication: p.Replication, Shards: p.Shards, BlobSize: p.BlobSize, State: "steady"}
	for i, row := range shards {
		n := len(row.Members)
		if i == 0 {
			x.MembersMin = n
		}
		x.MembersMin, x.MembersMax = min(x.MembersMin, n), max(x.MembersMax, n)
		switch want := int(p.Replication); {
		case n < want:
			x.TooFew++
		case n > want:
			x.TooMany++
		}
		if meta.Moving(row) {
			x.Moving++
		}
		for _, v := range row.Leaving {
			if !slices.Contains(row.Members, v) {
				x.Kept++
			}
		}
	}
	switch {
	case x.TooFew > 0 && x.TooMany > 0:
		x.State = "changing"
	case x.TooFew > 0:
		x.State = "raising"
	case x.TooMany > 0:
		x.State = "lowering"
	}
	return x
}

package payload

import (
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// table is one version of the layout, read as a shard table.
type table struct {
	l       *metapb.Layout
	pool    *metapb.PoolRow
	durable bool // only synced blobs count
}

// poolNumber is the pool that is written to; there is one.
const poolNumber = 0

// tableOf checks a layout; one without a shard table is errs.Unavailable.
func tableOf(l *metapb.Layout) (table, error) {
	const op = "payload.tableOf"
	if l == nil || len(l.Pools) == 0 {
		return table{}, errs.E(op, errs.Unavailable, "the cluster has no pool yet")
	}
	p := l.Pools[poolNumber]
	if p.Shards == 0 || p.BlobSize == 0 || p.Replication == 0 || len(l.Shards) != int(p.Shards) {
		return table{}, errs.E(op, errs.Unavailable, "the shard table is incomplete")
	}
	f := l.GetCluster().GetFsync()
	return table{l: l, pool: p, durable: f != "interval" && f != "never"}, nil
}

// shard is the row of the blob's shard.
func (t *table) shard(id object.BlobID) *metapb.ShardRow {
	return t.l.Shards[id.Shard(t.pool.Shards)]
}

func (t *table) epoch() uint64 { return t.l.GetCluster().GetEpoch() }

// several says that blobs may have more than one replica, now or while the write lasts.
func (t *table) several() bool { return t.pool.Replication > 1 || len(t.l.Volumes) > 1 }

// written says whether the volumes that have a blob are a write quorum of its shard: a majority of the members, and during a move of those
// that stay or join. The row says how many those are, not the pool, whose replication shards follow one by one.
func (t *table) written(row *metapb.ShardRow, has func(volume uint32) bool) bool {
	now, then, stay := 0, 0, 0
	for _, v := range row.Members {
		stays := !contains(row.Leaving, v)
		if stays {
			stay++
		}
		if has(v) {
			now++
			if stays {
				then++
			}
		}
	}
	for _, v := range row.Joining {
		if !contains(row.Members, v) {
			stay++
			if has(v) {
				then++
			}
		}
	}
	return now >= quorum(len(row.Members)) && then >= quorum(stay)
}

// quorum is how many of n replicas must have a blob.
func quorum(n int) int { return n/2 + 1 }

// writers appends the volumes a blob of the shard is prepared on: members and joining ones.
func writers(dst []uint32, row *metapb.ShardRow) []uint32 {
	dst = append(dst, row.Members...)
	for _, v := range row.Joining {
		if !contains(dst, v) {
			dst = append(dst, v)
		}
	}
	return dst
}

// readers appends the volumes that may have a blob of the shard, leaving ones last.
func readers(dst []uint32, row *metapb.ShardRow) []uint32 {
	for _, v := range row.Members {
		if !contains(row.Leaving, v) {
			dst = append(dst, v)
		}
	}
	for _, more := range [2][]uint32{row.Joining, row.Leaving} {
		for _, v := range more {
			if !contains(dst, v) {
				dst = append(dst, v)
			}
		}
	}
	return dst
}

func contains(s []uint32, v uint32) bool {
	for _, x := range s {
		if x == v {
			return true
		}
	}
	return false
}

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
	quorum  int  // distinct volumes
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
	return table{l: l, pool: p, quorum: int(p.Replication)/2 + 1, durable: f != "interval" && f != "never"}, nil
}

// shard is the row of the blob's shard.
func (t *table) shard(id object.BlobID) *metapb.ShardRow {
	return t.l.Shards[id.Shard(t.pool.Shards)]
}

func (t *table) epoch() uint64 { return t.l.GetCluster().GetEpoch() }

// written says whether the volumes that have a blob are a write quorum of its shard: of the members, and during a move of those
// that stay or join.
func (t *table) written(row *metapb.ShardRow, has func(volume uint32) bool) bool {
	now, then := 0, 0
	for _, v := range row.Members {
		if has(v) {
			now++
			if !contains(row.Leaving, v) {
				then++
			}
		}
	}
	if len(row.Joining) == 0 && len(row.Leaving) == 0 {
		return now >= t.quorum
	}
	for _, v := range row.Joining {
		if !contains(row.Members, v) && has(v) {
			then++
		}
	}
	return now >= t.quorum && then >= t.quorum
}

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

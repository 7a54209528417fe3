package objects

import (
	"sync"
	"time"

	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of what is remembered of buckets.
const (
	recentFor = time.Second // a quota or setting that a gateway looks at before it writes takes effect within this time
	recentMax = 1024        // rows
)

// recent is the bucket rows that were read a moment ago.
type recent struct {
	mu   sync.Mutex
	rows map[object.Bucket]recentRow
}

type recentRow struct {
	row *metapb.BucketRow
	at  time.Time // when it was asked for
}

// note remembers a row that was asked for at a time: how it was afterwards, its answer does not say, however late it came.
func (r *recent) note(name object.Bucket, row *metapb.BucketRow, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows == nil || len(r.rows) >= recentMax {
		r.rows = make(map[object.Bucket]recentRow)
	}
	if kept := r.rows[name]; kept.row == nil || asked.After(kept.at) {
		r.rows[name] = recentRow{row, asked}
	}
}

func (r *recent) get(name object.Bucket) *metapb.BucketRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept := r.rows[name]; kept.row != nil && time.Since(kept.at) < recentFor {
		return kept.row
	}
	return nil
}

// RecentBucket is the row that Bucket gave at most a second ago; nil if it did not. It spares a PUT its metadata read, and is good
// for nothing else: only a write whose decision names the row's incarnation (Scope) finds out by itself that the bucket was
// deleted or made anew. Whoever is denied because of the row reads it again first. Callers do not change it.
func (o *Objects) RecentBucket(name object.Bucket) *metapb.BucketRow { return o.recent.get(name) }

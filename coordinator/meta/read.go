package meta

import (
	"errors"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Bounds of pages.
const (
	listLimitMax      = 10000
	partsLimitDefault = 64
	partsLimitMax     = 1000
	queueLimitDefault = 1000
	basesMax          = 100000
)

// Read answers a query over one consistent state. For concurrent use, also beside Apply. Errors are of the kinds of
// internal/errs: errs.NoSuchBucket, errs.Invalid, ...
func (m *Machine) Read(q *metapb.Query) (*metapb.Answer, error) {
	const op = "meta.Read"
	s, err := m.db.Newest()
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	a, err := (&view{s}).answer(q)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	var no *refusal
	if errors.As(err, &no) {
		return nil, errs.E(op, no.kind, "%s", no.msg)
	}
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	return a, nil
}

// view answers queries from one state.
type view struct {
	s *kv.Newest
}

func (v *view) answer(q *metapb.Query) (*metapb.Answer, error) {
	a := &metapb.Answer{Index: v.s.Index}
	switch q := q.GetQ().(type) {
	case *metapb.Query_GetBucket:
		b, err := v.bucket(q.GetBucket.Name)
		a.A = &metapb.Answer_Bucket{Bucket: b}
		return a, err
	case *metapb.Query_ListBuckets:
		r, err := v.listBuckets(q.ListBuckets)
		a.A = &metapb.Answer_ListBuckets{ListBuckets: r}
		return a, err
	case *metapb.Query_GetObject:
		r, err := v.getObject(q.GetObject)
		a.A = &metapb.Answer_GetObject{GetObject: r}
		return a, err
	case *metapb.Query_ListObjects:
		r, err := v.listObjects(q.ListObjects)
		a.A = &metapb.Answer_ListObjects{ListObjects: r}
		return a, err
	case *metapb.Query_GetUpload:
		r, err := v.getUpload(q.GetUpload)
		a.A = &metapb.Answer_GetUpload{GetUpload: r}
		return a, err
	case *metapb.Query_ListParts:
		r, err := v.listParts(q.ListParts)
		a.A = &metapb.Answer_ListParts{ListParts: r}
		return a, err
	case *metapb.Query_ListUploads:
		r, err := v.listUploads(q.ListUploads)
		a.A = &metapb.Answer_ListUploads{ListUploads: r}
		return a, err
	case *metapb.Query_BodyParts:
		r, err := v.bodyParts(q.BodyParts)
		a.A = &metapb.Answer_BodyParts{BodyParts: r}
		return a, err
	case *metapb.Query_RunStates:
		r, err := v.runStates(q.RunStates)
		a.A = &metapb.Answer_RunStates{RunStates: r}
		return a, err
	case *metapb.Query_Layout:
		r, err := v.layout()
		a.A = &metapb.Answer_Layout{Layout: r}
		return a, err
	case *metapb.Query_Queue:
		r, err := v.queue(q.Queue)
		a.A = &metapb.Answer_Queue{Queue: r}
		return a, err
	case *metapb.Query_Stats:
		r := new(metapb.StatsAnswer)
		_, err := load(v.s, statsKey, r)
		a.A = &metapb.Answer_Stats{Stats: r}
		return a, err
	case *metapb.Query_Missing:
		r, err := v.missing(q.Missing)
		a.A = &metapb.Answer_Missing{Missing: r}
		return a, err
	case *metapb.Query_Audit:
		r, err := v.audit(q.Audit)
		a.A = &metapb.Answer_Audit{Audit: r}
		return a, err
	case *metapb.Query_Runs:
		r, err := v.runs(q.Runs)
		a.A = &metapb.Answer_Runs{Runs: r}
		return a, err
	case *metapb.Query_MissingCounts:
		r, err := v.missingCounts()
		a.A = &metapb.Answer_MissingCounts{MissingCounts: r}
		return a, err
	}
	return nil, refuse(errs.Unsupported, "unknown query")
}

// bucketMemo is the bucket that was read last from a state.
type bucketMemo struct {
	name string
	row  *metapb.BucketRow
}

// bucket finds a bucket by name; errs.NoSuchBucket. The row is shared with other readers.
func (v *view) bucket(name string) (*metapb.BucketRow, error) {
	if m, _ := v.s.Memo.Load().(*bucketMemo); m != nil && m.name == name {
		return m.row, nil
	}
	b := new(metapb.BucketRow)
	found, err := load(v.s, bucketKey(name), b)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, refuse(errs.NoSuchBucket, "there is no bucket %q", name)
	}
	v.s.Memo.Store(&bucketMemo{name, b})
	return b, nil
}

func (v *view) listBuckets(q *metapb.ListBucketsQuery) (*metapb.ListBucketsAnswer, error) {
	r := new(metapb.ListBucketsAnswer)
	limit := int(min(q.Limit, listLimitMax))
	lower, upper := bucketKey(q.Prefix), prefixEnd(bucketKey(q.Prefix))
	if q.After >= q.Prefix {
		lower = append(bucketKey(q.After), 0)
	}
	if limit == 0 || !less(lower, upper) {
		return r, nil
	}
	err := scan(v.s, lower, upper, func(_, value []byte) (bool, error) {
		b := new(metapb.BucketRow)
		if err := decodeRow(value, b); err != nil {
			return false, err
		}
		if q.Owner != "" && b.Owner != q.Owner {
			return true, nil
		}
		if len(r.Buckets) == limit {
			r.Truncated = true
			return false, nil
		}
		r.Buckets = append(r.Buckets, b)
		return true, nil
	})
	return r, err
}

func (v *view) layout() (*metapb.Layout, error) {
	l := &metapb.Layout{Cluster: new(metapb.ClusterRow), Rebalance: new(metapb.RebalanceRow)}
	if _, err := load(v.s, clusterKey, l.Cluster); err != nil {
		return nil, err
	}
	if _, err := load(v.s, rebalanceKey, l.Rebalance); err != nil {
		return nil, err
	}
	err := scanTable(v.s, []byte{tablePools}, func(_, b []byte) (bool, error) {
		p := new(metapb.PoolRow)
		l.Pools = append(l.Pools, p)
		return true, decodeRow(b, p)
	})
	if err != nil {
		return nil, err
	}
	err = scanTable(v.s, appendNumber([]byte{tableShards}, 0), func(_, b []byte) (bool, error) {
		s := new(metapb.ShardRow)
		l.Shards = append(l.Shards, s)
		return true, decodeRow(b, s)
	})
	if err != nil {
		return nil, err
	}
	return l, scanTable(v.s, []byte{tableVolumes}, func(_, b []byte) (bool, error) {
		row := new(metapb.VolumeRow)
		l.Volumes = append(l.Volumes, row)
		return true, decodeRow(b, row)
	})
}

func (v *view) queue(q *metapb.QueueQuery) (*metapb.QueueAnswer, error) {
	r := new(metapb.QueueAnswer)
	limit := int(limited(q.Limit, queueLimitDefault, listLimitMax))
	lower := []byte{tableQueue}
	if len(q.After) > 0 {
		lower = append(queueKey(q.After), 0)
	}
	err := scan(v.s, lower, []byte{tableQueue + 1}, func(k, value []byte) (bool, error) {
		if len(r.Entries) == limit {
			return false, nil
		}
		e := &metapb.QueueEntry{Key: append([]byte(nil), k[1:]...), Row: new(metapb.QueueRow)}
		r.Entries = append(r.Entries, e)
		return true, decodeRow(value, e.Row)
	})
	return r, err
}

// States of a run.
const (
	RunNone  = 0 // never published, or forgotten
	RunDying = 1 // queued for deletion
	RunAlive = 2
)

func (v *view) runStates(q *metapb.RunStatesQuery) (*metapb.RunStatesAnswer, error) {
	if len(q.Bases) > basesMax {
		return nil, refuse(errs.Invalid, "%d runs; at most %d at once", len(q.Bases), basesMax)
	}
	c := new(metapb.ClusterRow)
	if _, err := load(v.s, clusterKey, c); err != nil {
		return nil, err
	}
	r := &metapb.RunStatesAnswer{Horizon: c.Horizon, HorizonIndex: c.HorizonIndex, States: make([]*metapb.RunState, len(q.Bases))}
	for i, base := range q.Bases {
		row := new(metapb.RunRow)
		found, err := load(v.s, runKey(base), row)
		if err != nil {
			return nil, err
		}
		s := new(metapb.RunState)
		if found {
			s.State, s.Ranges, s.BlobSize, s.Length = RunDying, row.Run.GetRanges(), row.Run.GetBlobSize(), row.Run.GetLength()
			if row.References > 0 {
				s.State = RunAlive
			}
		}
		r.States[i] = s
	}
	return r, nil
}

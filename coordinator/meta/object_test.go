package meta

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func TestPutGetOverwriteDelete(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	first, second := h.written(10), h.written(9<<20)
	put := h.do(putCommand(b, "a", newObject("one", 10), first, nil)).GetPut()
	require.Equal(t, uint64(10), put.Size)
	require.Equal(t, uint32(RunAlive), h.state(first))

	h.do(putCommand(b, "a", newObject("two", 9<<20), second, nil))
	require.Equal(t, uint32(RunDying), h.state(first), "M3")
	require.Equal(t, uint32(RunAlive), h.state(second))
	row := h.get(b, "a")
	require.Equal(t, uint64(9<<20), row.Size)
	require.Equal(t, second.Run.Base, row.Run.Base)
	require.True(t, row.NullVersion)
	s := h.stats()
	require.Equal(t, []uint64{1, 1, 9 << 20, 1}, []uint64{s.Buckets, s.Objects, s.Bytes, s.Queued})

	h.remove(b, "a")
	h.remove(b, "a")
	require.Nil(t, h.get(b, "a"))
	require.Len(t, h.queue(), 2)
	h.drain()
	require.Equal(t, uint32(RunNone), h.state(first))
	require.Zero(t, h.rows(tableRuns))
	require.Zero(t, h.stats().Queued)
	require.Zero(t, h.stats().Bytes)
}

func TestEmptyObjectHasNoRun(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	h.put(b, "dir/", 0)
	row := h.get(b, "dir/")
	require.Nil(t, row.Run)
	require.Empty(t, row.BodyId)
	h.remove(b, "dir/")
	require.Empty(t, h.queue())
}

func TestPutRefusals(t *testing.T) {
	h := newHarness(t, 3)
	b := h.bucket("photos")
	h.put(b, "old", 5)
	other := &metapb.BucketRef{Name: "photos", Id: []byte("12345678")}
	o := newObject("x", 5)
	for name, c := range map[string]struct {
		kind errs.Kind
		cmd  *metapb.Command
	}{
		"no bucket":        {errs.NoSuchBucket, putCommand(&metapb.BucketRef{Name: "nix"}, "k", o, h.written(5), nil)},
		"stale bucket":     {errs.StaleBucket, putCommand(other, "k", o, h.written(5), nil)},
		"no key":           {errs.Invalid, putCommand(b, "", o, h.written(5), nil)},
		"no run":           {errs.Invalid, putCommand(b, "k", o, nil, nil)},
		"wrong size":       {errs.Invalid, putCommand(b, "k", o, h.written(6), nil)},
		"no quorum":        {errs.Unavailable, putCommand(b, "k", o, h.written(5, 1, 2), nil)},
		"future epoch":     {errs.Invalid, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.LowestEpoch = 99 }), nil)},
		"stale shard":      {errs.StaleShardEpoch, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.Shards[0].Epoch = 0 }), nil)},
		"wrong shard":      {errs.Invalid, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.Shards[0].Shard ^= 1 }), nil)},
		"no pool":          {errs.Invalid, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.Run.Base[0] = 7 }), nil)},
		"too few blobs":    {errs.Invalid, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.Run.Ranges = nil }), nil)},
		"same volume":      {errs.Unavailable, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.Shards[0].Confirmations[0].Volumes = []uint32{1, 1, 1} }), nil)},
		"stranger":         {errs.Unavailable, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.Shards[0].Confirmations[0].Volumes = []uint32{1, 8, 9} }), nil)},
		"foreign blob":     {errs.Invalid, putCommand(b, "k", o, changed(h.written(5), func(w *metapb.Written) { w.Shards[0].Confirmations[0].Counters = []uint32{0, 1} }), nil)},
		"if-none-match":    {errs.Precondition, putCommand(b, "old", o, h.written(5), &metapb.Conditions{IfNoneMatchAny: true})},
		"if-match stale":   {errs.Precondition, putCommand(b, "old", o, h.written(5), &metapb.Conditions{IfMatch: []string{"x"}})},
		"if-match missing": {errs.NoSuchKey, putCommand(b, "k", o, h.written(5), &metapb.Conditions{IfMatch: []string{"x"}})},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			h.refused(c.kind, c.cmd)
		})
	}
	h.t = t
	w := h.written(5)
	h.do(putCommand(b, "k", o, w, nil))
	h.refused(errs.Conflict, putCommand(b, "k2", o, w, nil))
	h.remove(b, "k")
	h.refused(errs.Conflict, putCommand(b, "k2", o, w, nil)) // M3: dying is not alive
}

func changed(w *metapb.Written, f func(*metapb.Written)) *metapb.Written {
	f(w)
	return w
}

func TestMissingReplicasAreNoted(t *testing.T) { // M5
	h := newHarness(t, 3)
	b := h.bucket("photos")
	size := uint64(3 * testBlobSize)
	h.do(putCommand(b, "k", newObject("x", size), h.written(size, 2), nil))
	require.Equal(t, uint64(3), h.stats().Missing)
	var rows []*metapb.MissingRow
	require.NoError(t, scanTable(h.db, []byte{tableMissing}, func(_, v []byte) (bool, error) {
		row := new(metapb.MissingRow)
		rows = append(rows, row)
		return true, decodeRow(v, row)
	}))
	for _, r := range rows {
		require.Equal(t, uint32(2), r.Volume)
	}
	stale := &metapb.MissingRow{Blob: rows[0].Blob, Volume: 2, SinceIndex: 1}
	r := h.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: []*metapb.MissingRow{rows[1], rows[1], stale}}}})
	require.Equal(t, uint32(1), r.GetReleased().Released)
	require.Equal(t, uint64(2), h.stats().Missing)
	h.remove(b, "k")
	h.drain()
	require.Zero(t, h.stats().Missing, "the run is gone")
	require.Zero(t, h.rows(tableMissing))
}

func TestQuorumWhileJoining(t *testing.T) {
	for _, c := range []struct {
		name                      string
		members, joining, leaving []uint32
		enough, few               [][]uint32
	}{
		{"replaced", []uint32{1, 2, 3}, []uint32{4}, []uint32{1}, [][]uint32{{2, 3}, {1, 2, 4}}, [][]uint32{{1, 2}, {2, 4}, {9, 10}}},
		{"raised from one", []uint32{1}, []uint32{2, 3}, nil, [][]uint32{{1, 2}, {1, 3}, {1, 2, 3}}, [][]uint32{{1}, {2, 3}, {}}},
		{"raised to two", []uint32{1}, []uint32{2}, nil, [][]uint32{{1, 2}}, [][]uint32{{1}, {2}}},
		{"raised from two", []uint32{1, 2}, []uint32{3}, nil, [][]uint32{{1, 2}, {1, 2, 3}}, [][]uint32{{1, 3}, {2, 3}, {1}}},
		{"lowered to one", []uint32{1, 2, 3}, nil, []uint32{2, 3}, [][]uint32{{1, 2}, {1, 3}}, [][]uint32{{1}, {2, 3}}},
		{"lowered to two", []uint32{1, 2, 3}, nil, []uint32{3}, [][]uint32{{1, 2}}, [][]uint32{{1, 3}, {2, 3}}},
		{"one", []uint32{1}, nil, nil, [][]uint32{{1}}, [][]uint32{{}, {2}}},
		{"left before", []uint32{1, 2}, nil, []uint32{3}, [][]uint32{{1, 2}}, [][]uint32{{1, 3}, {1}}},
	} {
		s := newShard(&metapb.ShardRow{Members: c.members, Joining: c.joining, Leaving: c.leaving})
		set := func(vs []uint32) (by uint64) {
			for _, v := range vs {
				by |= s.find(v)
			}
			return by
		}
		for _, vs := range c.enough {
			require.True(t, s.quorum(set(vs)), "%s: %v", c.name, vs)
		}
		for _, vs := range c.few {
			require.False(t, s.quorum(set(vs)), "%s: %v", c.name, vs)
		}
	}
}

func TestConditions(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	h.time = testTime + 999 // conditions see whole seconds
	etag := newObject("k", 0).Etag
	tag := string(appendETag(nil, etag, 0))
	h.put(b, "k", 5)
	s := int64(testTime / 1000)
	size, other, later := uint64(5), uint64(6), s+1
	ok := []*metapb.Conditions{
		{IfMatch: []string{tag}}, {IfMatch: []string{"x", `"` + tag + `"`}}, {IfMatchAny: true}, {IfMatch: []string{"*"}},
		{IfNoneMatch: []string{"x"}}, {IfMatchSize: &size}, {IfMatchModifiedS: &s}, {IfUnmodifiedSinceS: &s},
	}
	bad := []*metapb.Conditions{
		{IfMatch: []string{tag + "-1"}}, {IfNoneMatchAny: true}, {IfNoneMatch: []string{"x", tag}}, {IfMatchSize: &other},
		{IfMatchModifiedS: &later}, {IfModifiedSinceS: &s},
	}
	cur := h.get(b, "k")
	for _, c := range ok {
		require.NoError(t, checkWrite(c, cur), "%v", c)
	}
	for _, c := range bad {
		require.True(t, isRefusal(checkWrite(c, cur), errs.Precondition), "%v", c)
	}
	require.NoError(t, checkWrite(&metapb.Conditions{IfNoneMatchAny: true}, nil))
	require.True(t, isRefusal(checkWrite(&metapb.Conditions{IfMatchAny: true}, nil), errs.NoSuchKey))

	early := s - 1
	require.NoError(t, checkSource(&metapb.Conditions{IfMatch: []string{tag}, IfUnmodifiedSinceS: &early}, cur))
	require.True(t, isRefusal(checkSource(&metapb.Conditions{IfNoneMatch: []string{tag}, IfModifiedSinceS: &early}, cur), errs.Precondition))
	require.True(t, isRefusal(checkSource(&metapb.Conditions{IfModifiedSinceS: &s}, cur), errs.Precondition))
}

func TestDeleteObjectsEachOnItsOwn(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	for _, k := range []string{"a", "b", "c", "d"} {
		h.put(b, k, 1)
	}
	match := func(tag string) *metapb.Conditions { return &metapb.Conditions{IfMatch: []string{tag}} }
	r := h.do(deleteCommand(b,
		&metapb.DeleteKey{Key: "a"},
		&metapb.DeleteKey{Key: "b", Conditions: match("stale"), Strict: true},
		&metapb.DeleteKey{Key: "x", Conditions: match("any"), Strict: true},
		&metapb.DeleteKey{Key: "y", Conditions: match("any")},
		&metapb.DeleteKey{Key: "c", Version: "null"},
		&metapb.DeleteKey{Key: "d", Version: "000000000000000000000001"},
		&metapb.DeleteKey{Key: "d", Version: "bogus"},
		&metapb.DeleteKey{Key: "a"},
	)).GetDeletes().Results
	var kinds []errs.Kind
	for _, x := range r {
		kinds = append(kinds, errs.Kind(x.Kind))
		require.Equal(t, x.Kind != 0, x.Failed)
	}
	require.Equal(t, []errs.Kind{0, errs.Precondition, errs.NoSuchKey, 0, 0, 0, errs.Invalid, 0}, kinds)
	require.Nil(t, h.get(b, "a"))
	require.Nil(t, h.get(b, "c"))
	require.NotNil(t, h.get(b, "b"))
	require.NotNil(t, h.get(b, "d"))
	require.Equal(t, uint64(2), h.stats().Objects)
}

func TestBuckets(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("one")
	require.Equal(t, errs.BucketOwned, errs.Kind(h.refused(errs.BucketOwned, createBucket("one", "alice")).Kind))
	h.refused(errs.BucketExists, createBucket("one", "bob"))
	h.put(b, "k", 1)
	del := &metapb.Command{Op: &metapb.Command_DeleteBucket{DeleteBucket: &metapb.DeleteBucket{Bucket: b}}}
	h.refused(errs.BucketNotEmpty, del)
	h.remove(b, "k")
	h.do(del)
	h.refused(errs.NoSuchBucket, del)
	again := h.bucket("one")
	require.NotEqual(t, b.Id, again.Id)
	h.refused(errs.StaleBucket, putCommand(b, "k", newObject("x", 0), nil, nil))

	sys := h.do(&metapb.Command{Op: &metapb.Command_CreateBucket{CreateBucket: &metapb.CreateBucket{Name: "minikv", Owner: "root", System: true}}}).GetBucket()
	ref := &metapb.BucketRef{Name: sys.Name, Id: sys.Id}
	h.refused(errs.InvalidRequest, &metapb.Command{Op: &metapb.Command_DeleteBucket{DeleteBucket: &metapb.DeleteBucket{Bucket: ref}}})

	rs := h.apply(h.stamped(createBucket("two", "bob")), h.stamped(createBucket("three", "bob")))
	require.NotEqual(t, rs[0].GetBucket().Id, rs[1].GetBucket().Id, "two buckets of one entry")

	names := func(q *metapb.ListBucketsQuery) (out []string, more bool) {
		a := h.read(&metapb.Query{Q: &metapb.Query_ListBuckets{ListBuckets: q}}).GetListBuckets()
		for _, b := range a.Buckets {
			out = append(out, b.Name)
		}
		return out, a.Truncated
	}
	got, more := names(&metapb.ListBucketsQuery{Limit: 10})
	require.Equal(t, []string{"minikv", "one", "three", "two"}, got)
	require.False(t, more)
	got, more = names(&metapb.ListBucketsQuery{Limit: 1, Owner: "bob"})
	require.Equal(t, []string{"three"}, got)
	require.True(t, more)
	got, _ = names(&metapb.ListBucketsQuery{Limit: 10, Prefix: "t", After: "three"})
	require.Equal(t, []string{"two"}, got)
	_, err := h.m.Read(&metapb.Query{Q: &metapb.Query_GetBucket{GetBucket: &metapb.GetBucketQuery{Name: "nix"}}})
	require.Equal(t, errs.NoSuchBucket, errs.KindOf(err))
}

func TestQueuePagesInOrder(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	var want []string
	for range 5 {
		w := h.written(1)
		want = append(want, string(w.Run.Base))
		h.do(putCommand(b, "k", newObject("x", 1), w, nil))
	}
	h.remove(b, "k")
	var got []string
	var after []byte
	for {
		q := &metapb.QueueQuery{After: after, Limit: 2}
		es := h.read(&metapb.Query{Q: &metapb.Query_Queue{Queue: q}}).GetQueue().Entries
		if len(es) == 0 {
			break
		}
		for _, e := range es {
			got, after = append(got, string(e.Row.Run.Base)), e.Key
		}
	}
	require.Equal(t, want, got)
}

// Reads see whole entries, while more are applied. For the race detector, too.
func TestReadsBesideApply(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	h.put(b, "0", 1)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		last := uint64(0)
		for {
			a, err := h.m.Read(&metapb.Query{Q: &metapb.Query_ListObjects{ListObjects: &metapb.ListObjectsQuery{Bucket: "photos", Limit: 1000}}})
			if err == nil && a.Index < last {
				err = errs.E("test", errs.Other, "index %d after %d", a.Index, last)
			}
			if n := len(a.GetListObjects().GetEntries()); err == nil && n%2 != 1 {
				err = errs.E("test", errs.Other, "half an entry: %d keys", n)
			}
			last = a.GetIndex()
			select {
			case <-stop:
				done <- err
				return
			default:
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for i := range 200 {
		h.do(batchCommand(b, h.batchPut(fmt.Sprint("a", i), 1, nil), h.batchPut(fmt.Sprint("b", i), 1, nil)))
	}
	close(stop)
	require.NoError(t, <-done)
}

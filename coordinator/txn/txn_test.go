package txn

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// queue is metadata with a deletion queue and a layout of two shards, each on a volume of its own.
type queue struct {
	rows     []*metapb.QueueEntry
	parts    map[string]uint32 // left of a body, by queue key
	largest  int               // rows asked for, parts released by one entry
	released int
}

func (q *queue) Read(_ context.Context, query *metapb.Query) (*metapb.Answer, error) {
	if query.GetLayout() != nil {
		return &metapb.Answer{A: &metapb.Answer_Layout{Layout: &metapb.Layout{
			Cluster: &metapb.ClusterRow{Id: []byte{1}, Epoch: 7},
			Shards:  []*metapb.ShardRow{{Members: []uint32{1}}, {Shard: 1, Members: []uint32{2}, Leaving: []uint32{3}}},
		}}}, nil
	}
	var page []*metapb.QueueEntry
	for _, e := range q.rows {
		if bytes.Compare(e.Key, query.GetQueue().After) > 0 && len(page) < int(query.GetQueue().Limit) {
			page = append(page, e)
		}
	}
	return &metapb.Answer{A: &metapb.Answer_Queue{Queue: &metapb.QueueAnswer{Entries: page}}}, nil
}

func (q *queue) Propose(_ context.Context, c *metapb.Command) (*metapb.Result, error) {
	switch op := c.Op.(type) {
	case *metapb.Command_ReleaseParts:
		key := string(op.ReleaseParts.QueueKey)
		n := min(q.parts[key], op.ReleaseParts.Limit)
		q.parts[key] -= n
		q.largest = max(q.largest, int(n))
		if q.parts[key] == 0 {
			q.drop(op.ReleaseParts.QueueKey)
		}
		return &metapb.Result{Value: &metapb.Result_Released{Released: &metapb.ReleaseResult{Released: n, Done: q.parts[key] == 0}}}, nil
	case *metapb.Command_CollectRuns:
		gone := map[string]bool{}
		for _, k := range op.CollectRuns.QueueKeys {
			gone[string(k)] = true
		}
		q.rows = slices.DeleteFunc(slices.Clone(q.rows), func(e *metapb.QueueEntry) bool { return gone[string(e.Key)] })
		return &metapb.Result{}, nil
	case *metapb.Command_TickEpoch:
		return &metapb.Result{Value: &metapb.Result_Cluster{Cluster: &metapb.ClusterRow{Epoch: op.TickEpoch.From + 1}}}, nil
	case *metapb.Command_PruneCompleted:
		q.released++
		return &metapb.Result{Value: &metapb.Result_Released{Released: &metapb.ReleaseResult{Released: 10, Done: q.released == 3}}}, nil
	}
	return &metapb.Result{Failed: true, Kind: uint32(errs.Invalid), Message: "what?"}, nil
}

func (q *queue) drop(key []byte) {
	for i, e := range q.rows {
		if bytes.Equal(e.Key, key) {
			q.rows = append(q.rows[:i:i], q.rows[i+1:]...)
			return
		}
	}
}

// add queues by the entry of an index.
func (q *queue) add(index uint64, row *metapb.QueueRow) []byte {
	key := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, index), uint32(len(q.rows)+1))
	q.rows = append(q.rows, &metapb.QueueEntry{Key: key, Row: row})
	return key
}

// run is a run of one blob in the shard.
func run(shard uint32, n int) *metapb.Run {
	for i := uint32(0); ; i++ {
		var random [12]byte
		binary.BigEndian.PutUint32(random[:], uint32(n))
		binary.BigEndian.PutUint32(random[4:], i)
		if base := object.NewRunBase(0, random); base.Blob(0).Shard(2) == shard {
			return &metapb.Run{Base: base[:], BlobSize: 1, Length: 1, Ranges: []*metapb.CounterRange{{Count: 1}}}
		}
	}
}

// volumes counts deletions; some are down.
type volumes struct {
	down    map[uint32]bool
	deleted map[uint32]int
}

func (v *volumes) Delete(_ context.Context, volume uint32, ids ...object.BlobID) error {
	if v.down[volume] {
		return errors.New("down")
	}
	v.deleted[volume] += len(ids)
	return nil
}

// TestCollectGoesThroughTheQueue: pages, bounds, the first young row, and a leaving volume that is down (T2, T3).
func TestCollectGoesThroughTheQueue(t *testing.T) {
	q := &queue{parts: map[string]uint32{}}
	q.parts[string(q.add(1, &metapb.QueueRow{BodyId: []byte{1}}))] = 2500
	for i := range 400 {
		q.add(2, &metapb.QueueRow{Run: run(uint32(i%2), i)})
	}
	q.add(100, &metapb.QueueRow{Run: run(0, 1000)}) // too young
	q.add(101, &metapb.QueueRow{Run: run(0, 1001)}) // behind it: its turn comes later
	v := &volumes{down: map[uint32]bool{3: true}, deleted: map[uint32]int{}}
	var at Place
	did, err := Collect(t.Context(), q, v, 50, &at)
	if err == nil {
		t.Fatal("a volume was down")
	}
	if did != (Collected{Runs: 200, Blobs: 200, Parts: 2500, Waited: 200}) || q.largest > releaseMax {
		t.Fatalf("%+v, %d parts in one entry", did, q.largest)
	}
	if len(q.rows) != 202 || v.deleted[1] != 200 || v.deleted[2] != 200 {
		t.Fatalf("%d rows are left, %v", len(q.rows), v.deleted)
	}
	v.down = nil
	did, err = Collect(t.Context(), q, v, 50, &at)
	if err != nil || did.Runs != 200 || len(q.rows) != 2 || v.deleted[3] != 200 {
		t.Fatalf("%+v, %v, %d rows, %v", did, err, len(q.rows), v.deleted)
	}
}

// TestRunsThatWaitKeepNoneFromTheirTurn: whatever waits at the head for a volume that is away, the others' bytes go (T3).
func TestRunsThatWaitKeepNoneFromTheirTurn(t *testing.T) {
	q := &queue{}
	const waiting = stepEntriesMax*queuePage + 100
	for i := range waiting {
		q.add(1, &metapb.QueueRow{Run: run(1, i)})
	}
	for i := range 300 {
		q.add(2, &metapb.QueueRow{Run: run(0, waiting+i)})
	}
	v := &volumes{down: map[uint32]bool{3: true}, deleted: map[uint32]int{}}
	var at Place
	for range 2 {
		if _, err := Collect(t.Context(), q, v, 50, &at); err == nil {
			t.Fatal("a volume was down")
		}
	}
	if v.deleted[1] != 300 || len(q.rows) != waiting {
		t.Fatalf("%d blobs went, %d rows are left", v.deleted[1], len(q.rows))
	}
	v.down = nil
	for range 3 { // from the head again
		if _, err := Collect(t.Context(), q, v, 50, &at); err != nil {
			t.Fatal(err)
		}
	}
	if len(q.rows) != 0 {
		t.Fatalf("%d rows are left", len(q.rows))
	}
}

func TestOneStepDuties(t *testing.T) {
	q := &queue{}
	row, err := TickEpoch(t.Context(), q, 48)
	if err != nil || row.Epoch != 8 {
		t.Fatalf("%v, %v", row, err)
	}
	n, err := PruneCompleted(t.Context(), q, time.UnixMilli(1))
	if err != nil || n != 30 {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := propose(t.Context(), q, "op", &metapb.Command{}); !errs.Is(err, errs.Invalid) {
		t.Fatalf("a refusal: %v", err)
	}
}

// TestADutyGoesOnAfterAFailure, at its pace, until its context ends.
func TestADutyGoesOnAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start, steps := time.Now(), 0
		d := Duty{Name: "test", Next: Every(time.Minute), Step: func(context.Context, time.Time) error {
			if steps++; steps == 5 {
				cancel()
			}
			return errors.New("failed")
		}}
		d.Run(ctx, RealClock{}, zap.NewNop())
		if steps != 5 || time.Since(start) != 5*time.Minute {
			t.Fatalf("%d steps in %v", steps, time.Since(start))
		}
	})
}

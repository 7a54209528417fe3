package txn

import (
	"context"
	"encoding/binary"
	"math"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of one collection.
const (
	queuePage      = 256  // queue rows read at once
	releaseMax     = 1000 // part rows released by one entry
	stepEntriesMax = 64   // entries and pages of one step
	deleteMax      = 4096 // blobs in one request to a volume
)

// Collected is what one step did.
type Collected struct {
	Runs   int // whose bytes are gone and whose rows are forgotten
	Blobs  int // confirmed as gone, counted once per blob
	Parts  int // part rows let go of
	Waited int // runs that stay because a volume did not confirm
}

// Place is where in the deletion queue a step ended at its bound; the zero value is the head. Were each step to begin at the head, the runs
// that wait there for a volume that is away could keep all others from their turn.
type Place struct{ after []byte }

// Collect goes through the deletion queue from a place, and leaves there where the next step is to begin: rows that entries up to an index
// have queued have their parts released or their bytes deleted. It ends at the first younger row or after a bounded number of pages. A
// volume that fails keeps only its own runs in the queue; its error is returned once the rest is done.
func Collect(ctx context.Context, m Metadata, v Volumes, upTo uint64, from *Place) (Collected, error) {
	const op = "txn.Collect"
	c := collector{m: m, v: v, down: map[uint32]bool{}}
	var err error
	if c.layout, err = layout(ctx, m); err != nil {
		return c.did, errs.Wrap(op, err)
	}
	for range stepEntriesMax {
		page, err := c.page(ctx, from.after)
		if err != nil {
			return c.did, errs.Wrap(op, err)
		}
		due := slices.IndexFunc(page, func(e *metapb.QueueEntry) bool { return queuedBy(e.Key) > upTo })
		rows := page
		if due >= 0 {
			rows = page[:due]
		}
		if err := c.collect(ctx, rows); err != nil {
			return c.did, errs.Wrap(op, err)
		}
		if due >= 0 || len(page) < queuePage {
			from.after = nil
			break
		}
		from.after = page[len(page)-1].Key
	}
	return c.did, errs.Wrap(op, c.failed)
}

// queuedBy is the index of the entry that queued a row: positions in the queue begin with it.
func queuedBy(key []byte) uint64 {
	if len(key) < 8 {
		return math.MaxUint64
	}
	return binary.BigEndian.Uint64(key)
}

type collector struct {
	m      Metadata
	v      Volumes
	layout *metapb.Layout
	did    Collected
	down   map[uint32]bool // volumes that failed in this step
	failed error           // the first of them
}

func (c *collector) page(ctx context.Context, after []byte) ([]*metapb.QueueEntry, error) {
	a, err := c.m.Read(ctx, &metapb.Query{Q: &metapb.Query_Queue{Queue: &metapb.QueueQuery{After: after, Limit: queuePage}}})
	if err != nil {
		return nil, err
	}
	return a.GetQueue().GetEntries(), nil
}

// collect works through due rows.
func (c *collector) collect(ctx context.Context, rows []*metapb.QueueEntry) error {
	var runs []*metapb.QueueEntry
	for _, e := range rows {
		if e.Row.GetRun() != nil {
			runs = append(runs, e)
			continue
		}
		if err := c.release(ctx, e); err != nil {
			return err
		}
	}
	return c.deleteRuns(ctx, runs)
}

// release lets go of the parts of a dead body, a bounded number by each entry.
func (c *collector) release(ctx context.Context, e *metapb.QueueEntry) error {
	for range stepEntriesMax {
		r, err := propose(ctx, c.m, "txn.Collect", &metapb.Command{Op: &metapb.Command_ReleaseParts{ReleaseParts: &metapb.ReleaseParts{
			QueueKey: e.Key, Limit: releaseMax,
		}}})
		if err != nil {
			return err
		}
		c.did.Parts += int(r.GetReleased().GetReleased())
		if r.GetReleased() == nil || r.GetReleased().Done {
			break
		}
	}
	return nil
}

// deleteRuns deletes the blobs of the runs everywhere, then forgets the runs of which all are gone.
func (c *collector) deleteRuns(ctx context.Context, runs []*metapb.QueueEntry) error {
	byVolume := map[uint32][]object.BlobID{}
	replicas := make([][]uint32, len(runs)) // volumes that hold something of a run
	for i, e := range runs {
		for id := range blobs(e.Row.Run) {
			for _, volume := range c.replicas(id) {
				byVolume[volume] = append(byVolume[volume], id)
				if !slices.Contains(replicas[i], volume) {
					replicas[i] = append(replicas[i], volume)
				}
			}
			if len(byVolume) > 0 && c.tooMany(byVolume) {
				c.flush(ctx, byVolume)
			}
		}
	}
	c.flush(ctx, byVolume)
	var gone [][]byte
	for i, e := range runs {
		if slices.ContainsFunc(replicas[i], func(v uint32) bool { return c.down[v] }) {
			c.did.Waited++
			continue
		}
		gone = append(gone, e.Key)
		c.did.Blobs += blobCount(e.Row.Run)
	}
	if len(gone) == 0 {
		return ctx.Err()
	}
	_, err := propose(ctx, c.m, "txn.Collect", &metapb.Command{Op: &metapb.Command_CollectRuns{CollectRuns: &metapb.CollectRuns{QueueKeys: gone}}})
	if err == nil {
		c.did.Runs += len(gone)
	}
	return err
}

func (c *collector) tooMany(byVolume map[uint32][]object.BlobID) bool {
	for _, ids := range byVolume {
		if len(ids) >= deleteMax {
			return true
		}
	}
	return false
}

// flush asks the volumes and empties byVolume. A volume that failed is not asked again in this step.
func (c *collector) flush(ctx context.Context, byVolume map[uint32][]object.BlobID) {
	for volume, ids := range byVolume {
		delete(byVolume, volume)
		if c.down[volume] {
			continue
		}
		if err := c.v.Delete(ctx, volume, ids...); err != nil {
			c.down[volume] = true
			if c.failed == nil {
				c.failed = err
			}
		}
	}
}

// replicas are the volumes that may hold the blob.
func (c *collector) replicas(id object.BlobID) []uint32 {
	shards := c.layout.Shards
	s := shards[id.Shard(uint32(len(shards)))]
	return slices.Concat(s.Members, s.Joining, s.Leaving)
}

func blobs(r *metapb.Run) func(yield func(object.BlobID) bool) {
	return func(yield func(object.BlobID) bool) {
		id, err := object.BlobIDFrom(r.Base)
		if err != nil {
			return
		}
		base := id.Run()
		for _, g := range r.Ranges {
			for i := range g.Count {
				if !yield(base.Blob(g.First + i)) {
					return
				}
			}
		}
	}
}

func blobCount(r *metapb.Run) int {
	n := 0
	for _, g := range r.Ranges {
		n += int(g.Count)
	}
	return n
}

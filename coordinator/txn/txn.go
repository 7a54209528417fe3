package txn

import (
	"context"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Metadata is the coordinator's state machine, as its leader sees it.
type Metadata interface {
	Propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error)
	Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error)
}

// Volumes deletes blobs. Implemented in process over volume servers, later over gRPC.
type Volumes interface {
	// Delete returns nil when the volume durably lacks all the blobs, whether or not it ever had them.
	Delete(ctx context.Context, volume uint32, ids ...object.BlobID) error
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

func layout(ctx context.Context, m Metadata) (*metapb.Layout, error) {
	a, err := m.Read(ctx, &metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	if err != nil {
		return nil, err
	}
	l := a.GetLayout()
	if len(l.GetCluster().GetId()) == 0 {
		return nil, errs.E("txn.layout", errs.Unavailable, "there is no cluster yet")
	}
	return l, nil
}

// TickEpoch moves the epoch one on from what it is now; lag is how many epochs the fencing horizon stays behind. It returns
// the cluster as it is then.
func TickEpoch(ctx context.Context, m Metadata, lag uint64) (*metapb.ClusterRow, error) {
	const op = "txn.TickEpoch"
	l, err := layout(ctx, m)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	r, err := propose(ctx, m, op, &metapb.Command{Op: &metapb.Command_TickEpoch{TickEpoch: &metapb.TickEpoch{
		From: l.Cluster.Epoch, HorizonLag: lag,
	}}})
	return r.GetCluster(), err
}

const pruneMax = 1000 // results forgotten by one entry

// PruneCompleted forgets what completed uploads answered before the time, one bounded entry after the other, and returns how
// many.
func PruneCompleted(ctx context.Context, m Metadata, before time.Time) (int, error) {
	const op = "txn.PruneCompleted"
	total := 0
	for range stepEntriesMax {
		r, err := propose(ctx, m, op, &metapb.Command{Op: &metapb.Command_PruneCompleted{PruneCompleted: &metapb.PruneCompleted{
			BeforeMs: before.UnixMilli(), Limit: pruneMax,
		}}})
		if err != nil {
			return total, err
		}
		total += int(r.GetReleased().GetReleased())
		if r.GetReleased() == nil || r.GetReleased().Done {
			break
		}
	}
	return total, nil
}

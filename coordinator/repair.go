package coordinator

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Copier copies blobs from volume to volume.
type Copier interface {
	// Copy prepares the blob on a volume with what another one has of it, verified on the way; nil: it is durable there.
	// The blob is not committed there: the volume's collector learns that it is alive, or drops it if it no longer is.
	Copy(ctx context.Context, id object.BlobID, ep object.Epochs, from, to uint32) error
}

// Bounds of a repair step.
const (
	repairEvery    = 2 * time.Second
	repairPage     = 256
	repairPagesMax = 64
	repairCopyMax  = 30 * time.Second
)

// Repaired counts what a repair step did.
type Repaired struct {
	Copied  int // replicas
	Waiting int // that could not be copied now
}

// RepairOnce goes through the replicas that lack a blob and copies what is alive from a replica that has it. A volume that does not
// answer is left alone for the rest of the step.
func (c *Coordinator) RepairOnce(ctx context.Context) (Repaired, error) {
	var total Repaired
	l, err := c.layout(ctx)
	if err != nil || len(l.GetPools()) == 0 {
		return total, errs.Wrap("coordinator.Repair", err)
	}
	r := &repair{c: c, l: l, down: map[uint32]bool{}}
	for range repairPagesMax {
		a, err := c.Read(ctx, &metapb.Query{Q: &metapb.Query_Missing{Missing: &metapb.MissingQuery{After: r.after, Limit: repairPage}}})
		if err != nil {
			return total, errs.Wrap("coordinator.Repair", err)
		}
		rows := a.GetMissing().GetRows()
		if len(rows) == 0 {
			break
		}
		r.after = rows[len(rows)-1]
		done, err := r.page(ctx, rows)
		total.Copied += done.Copied
		total.Waiting += done.Waiting
		if err != nil {
			return total, errs.Wrap("coordinator.Repair", err)
		}
	}
	if total.Copied > 0 {
		c.cfg.Log.Info("replicas repaired", zap.Int("copied", total.Copied), zap.Int("waiting", total.Waiting))
	}
	return total, nil
}

type repair struct {
	c     *Coordinator
	l     *metapb.Layout
	after *metapb.MissingRow
	down  map[uint32]bool
}

// runAlive is metapb.RunState's state of a run that is referenced.
const runAlive = 2

// page repairs what it can of some rows and forgets those.
func (r *repair) page(ctx context.Context, rows []*metapb.MissingRow) (done Repaired, err error) {
	bases := make([]object.RunBase, len(rows))
	for i, row := range rows {
		id, err := object.BlobIDFrom(row.Blob)
		if err != nil {
			return done, err
		}
		bases[i] = id.Run()
	}
	states, err := r.c.RunStates(ctx, bases)
	if err != nil {
		return done, err
	}
	var cleared []*metapb.MissingRow
	for i, row := range rows {
		switch {
		case states.States[i].State != runAlive: // no further replica is wanted, and it never lives again
			cleared = append(cleared, row)
			continue
		case r.one(ctx, row):
			cleared = append(cleared, row)
			done.Copied++
			continue
		}
		if done.Waiting++; ctx.Err() != nil {
			break
		}
	}
	if len(cleared) == 0 {
		return done, ctx.Err()
	}
	res, err := r.c.node.Propose(ctx, &metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: cleared}}})
	if err == nil && res.Failed {
		err = errs.E("", errs.Kind(res.Kind), "%s", res.Message)
	}
	return done, err
}

// one copies a blob to the volume that lacks it, from the first replica that can give it.
func (r *repair) one(ctx context.Context, row *metapb.MissingRow) bool {
	id := object.BlobID(row.Blob)
	shard := r.l.Shards[id.Shard(r.l.Pools[0].Shards)]
	ep := object.Epochs{Cluster: r.l.Cluster.Epoch, Shard: shard.Epoch}
	for _, from := range shard.Members {
		if r.down[row.Volume] {
			return false
		}
		if from == row.Volume || r.down[from] {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, repairCopyMax)
		err := r.c.cfg.Copier.Copy(ctx, id, ep, from, row.Volume)
		cancel()
		if err == nil {
			return true
		}
		r.c.cfg.Log.Debug("a replica could not be copied", zap.Stringer("blob", id), zap.Uint32("from", from), zap.Uint32("to", row.Volume), zap.Error(err))
		var at *copyFailed
		if errors.As(err, &at) {
			r.down[at.volume] = true
		}
	}
	return false
}

// copyFailed names the volume that failed.
type copyFailed struct {
	volume uint32
	err    error
}

func (e *copyFailed) Error() string { return e.err.Error() }
func (e *copyFailed) Unwrap() error { return e.err }

// FailedAt is err of Copier.Copy, by a volume that cannot serve now.
func FailedAt(volume uint32, err error) error { return &copyFailed{volume, err} }

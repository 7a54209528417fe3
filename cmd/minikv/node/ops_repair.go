package node

import (
	"context"
	"encoding/hex"
	"sync"
	"time"

	"minikv/coordinator"
	"minikv/coordinator/meta"
	"minikv/coordinator/repair"
	"minikv/internal/errs"
	"minikv/internal/ops"
	"minikv/proto/metapb"
)

// repairOps are verify, repair and compact; coord leads while they run.
func repairOps(coord *coordinator.Coordinator, v care) []ops.Handler {
	if coord == nil {
		return nil
	}
	r := repairer{coord, v}
	return []ops.Handler{ops.Verify.Handle(r.verify), ops.Repair.Handle(r.repair), ops.Compact.Handle(r.compact)}
}

type repairer struct {
	coord *coordinator.Coordinator
	care  care
}

// tellEvery is how often jobs tell of their progress.
const tellEvery = time.Second

func (r repairer) verify(ctx context.Context, q *ops.VerifyRequest, tell ops.Progress) (*ops.VerifyAnswer, error) {
	var told time.Time
	did, err := r.coord.Verify(ctx, repair.VerifyOptions{Deep: q.Deep, Rate: q.BytesPerSecond, Repair: q.Repair},
		func(p repair.Problem) error {
			return tell(ops.VerifyEvent{Problem: &ops.VerifyProblem{Kind: p.Kind, Blob: p.Blob, Volume: p.Volume, Text: p.Text}})
		},
		func(v repair.Verified) error {
			if time.Since(told) < tellEvery {
				return nil
			}
			told = time.Now()
			return tell(ops.VerifyEvent{Progress: verified(&v)})
		})
	if err != nil {
		return nil, err
	}
	a := verified(&did)
	missing, err := r.missing(ctx)
	a.UnderReplicated = int64(missing)
	return a, err
}

func verified(v *repair.Verified) *ops.VerifyAnswer {
	return &ops.VerifyAnswer{
		Sound: v.Sound(), Phase: v.Phase, Objects: v.Objects, Parts: v.Parts, Dangling: v.Dangling, Sums: v.Sums, SumsUnread: v.SumsUnread,
		WrongSums: v.WrongSums, Runs: v.Runs, Blobs: v.Blobs, Replicas: v.Replicas, Bytes: v.Bytes, Unchecked: v.Unchecked, Bad: v.Bad,
		Lost: v.Lost, Held: v.Held, Orphans: v.Orphans, Dying: v.Dying, Reported: v.Reported,
	}
}

// missing counts the replicas that are to be made.
func (r repairer) missing(ctx context.Context) (uint64, error) {
	a, err := r.coord.Read(ctx, &metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
	return a.GetStats().GetMissing(), err
}

// idleMax is how long a repair goes on without copying anything.
const idleMax = 20 * time.Second

// repair has the queue try everything now, and tells how it stands until nothing is left or nothing moves any more.
func (r repairer) repair(ctx context.Context, q *ops.RepairRequest, tell ops.Progress) (*ops.RepairAnswer, error) {
	if q.DryRun {
		return r.list(ctx, tell)
	}
	began := r.coord.RepairStats()
	r.coord.RepairNow()
	t := time.NewTicker(tellEvery)
	defer t.Stop()
	last, moved := began, time.Now()
	for {
		n, err := r.missing(ctx)
		if err != nil {
			return nil, err
		}
		now := r.coord.RepairStats()
		a := &ops.RepairAnswer{
			Missing: n, Copied: now.Copied - began.Copied, CopiedBytes: now.CopiedBytes - began.CopiedBytes, Unrepairable: now.Lost, VolumesAway: now.Away,
		}
		if now.Copied+now.Had+now.Cleared != last.Copied+last.Had+last.Cleared {
			last, moved = now, time.Now()
		}
		if n == 0 || time.Since(moved) > idleMax {
			return a, nil
		}
		if err := tell(ops.RepairEvent{Progress: a}); err != nil {
			return nil, err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, errs.Wrap("repair", ctx.Err())
		}
	}
}

var missingReasons = map[uint32]string{meta.MissingUnconfirmed: "unconfirmed", meta.MissingDamaged: "damaged", meta.MissingLost: "lost"}

// list tells of every replica that is to be made.
func (r repairer) list(ctx context.Context, tell ops.Progress) (*ops.RepairAnswer, error) {
	a := &ops.RepairAnswer{}
	q := &metapb.MissingQuery{}
	for {
		page, err := r.coord.Read(ctx, &metapb.Query{Q: &metapb.Query_Missing{Missing: q}})
		if err != nil {
			return nil, err
		}
		for _, row := range page.GetMissing().GetRows() {
			a.Missing++
			err := tell(ops.RepairEvent{Missing: &ops.RepairMissing{
				Blob: hex.EncodeToString(row.Blob), Volume: row.Volume, Reason: missingReasons[row.Reason], SinceMs: row.SinceMs,
			}})
			if err != nil {
				return nil, err
			}
		}
		if q.After = page.GetMissing().GetNext(); q.After == nil {
			st := r.coord.RepairStats()
			a.Unrepairable, a.VolumesAway = st.Lost, st.Away
			return a, nil
		}
	}
}

const compactDead = 0.2

// compact has volumes rewrite what is mostly dead, side by side.
func (r repairer) compact(ctx context.Context, q *ops.CompactRequest, tell ops.Progress) (*ops.CompactAnswer, error) {
	l, err := r.coord.Layout(ctx)
	if err != nil {
		return nil, err
	}
	dead := q.Dead
	if dead == 0 {
		dead = compactDead
	}
	a := &ops.CompactAnswer{Volumes: []ops.CompactVolume{}}
	done := make(chan ops.CompactVolume)
	var wg sync.WaitGroup
	for _, row := range l.GetVolumes() {
		if row.State == meta.VolumeRemoved || (q.Volume != 0 && row.Number != q.Volume) {
			continue
		}
		wg.Go(func() {
			v := ops.CompactVolume{Volume: row.Number}
			did, err := r.care.Compact(ctx, row, dead)
			if v.Segments, v.CopiedBytes, v.FreedBytes = did.Segments, did.CopiedBytes, did.FreedBytes; err != nil {
				v.Error = errs.Message(err)
			}
			done <- v
		})
	}
	go func() { wg.Wait(); close(done) }()
	var failed error
	for v := range done {
		a.Volumes = append(a.Volumes, v)
		if failed == nil {
			failed = tell(v)
		}
	}
	if failed == nil && q.Volume != 0 && len(a.Volumes) == 0 {
		failed = errs.E(ops.Compact.Name, errs.Invalid, "there is no volume %d", q.Volume)
	}
	if failed == nil {
		failed = ctx.Err()
	}
	return a, failed
}

package node

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator"
	"minikv/internal/metaclient"
	"minikv/internal/object"
	"minikv/proto/coordpb"
)

var (
	_ metaclient.Reporter = (*cluster)(nil)
	_ metaclient.Reporter = (*coordinator.Coordinator)(nil)
)

// Times and bounds of a volume's reports.
const (
	reportEvery  = 2 * time.Second
	reportHello  = 30 * time.Second // at least so often, so that a leader knows since when the volume runs
	reportRepeat = 5 * time.Minute  // of what was told and is still bad
	reportMax    = 1024             // suspects at once
	reportCall   = 10 * time.Second
)

// reporting tells the leader what this node finds wrong with replicas: what its gateway meets, and what its volume finds in itself.
type reporting struct {
	*metaclient.Reports
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// newReporting makes one; Close it. v is the volume here, whose number is 0 until it is known; nil: none.
func newReporting(to metaclient.Reporter, v *volumePart, number func() uint32, log *zap.Logger) *reporting {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reporting{Reports: metaclient.NewReports(to, log), stop: cancel}
	if v != nil {
		own := &ownReports{v: v, number: number, to: to, log: log, opened: time.Now(), boot: make([]byte, 16), told: map[object.BlobID]time.Time{}}
		rand.Read(own.boot)
		r.wg.Go(func() { own.run(ctx) })
	}
	return r
}

// Close ends its goroutines.
func (r *reporting) Close() {
	r.stop()
	r.wg.Wait()
	r.Reports.Close()
}

// ownReports are those of the volume here about itself.
type ownReports struct {
	v      *volumePart
	number func() uint32
	to     metaclient.Reporter
	log    *zap.Logger
	opened time.Time
	boot   []byte // drawn at the start

	heard time.Time                   // when the leader last heard
	told  map[object.BlobID]time.Time // bad blobs, and when the leader was told
}

func (o *ownReports) run(ctx context.Context) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		if number := o.number(); number != 0 {
			if err := o.report(ctx, number); err != nil && ctx.Err() == nil {
				o.log.Debug("the leader does not hear of bad blobs", zap.Error(err))
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// report tells of what is newly bad, of what still is, and that the volume runs.
func (o *ownReports) report(ctx context.Context, number uint32) error {
	now := time.Now()
	bad := o.news(now)
	if len(bad) == 0 && now.Sub(o.heard) < reportHello {
		return nil
	}
	q := &coordpb.ReportRequest{Volume: number, Boot: o.boot, UptimeMs: now.Sub(o.opened).Milliseconds()}
	for i := range bad {
		q.Suspects = append(q.Suspects, &coordpb.Suspect{Blob: bad[i][:], Volume: number, Damaged: true})
	}
	ctx, cancel := context.WithTimeout(ctx, reportCall)
	defer cancel()
	if _, err := o.to.Report(ctx, q); err != nil {
		return err
	}
	o.heard = now
	for _, id := range bad {
		o.told[id] = now
	}
	return nil
}

// news are bad blobs that the leader was not told of lately.
func (o *ownReports) news(now time.Time) (bad []object.BlobID) {
	if o.v.Stats().Bad == 0 {
		clear(o.told)
		return nil
	}
	still := map[object.BlobID]bool{}
	for _, b := range o.v.Repairs() {
		still[b.ID] = true
		if last, ok := o.told[b.ID]; len(bad) < reportMax && (!ok || now.Sub(last) >= reportRepeat) {
			bad = append(bad, b.ID)
		}
	}
	for id := range o.told {
		if !still[id] {
			delete(o.told, id)
		}
	}
	return bad
}

// Report tells the leader what is wrong with replicas.
func (c *cluster) Report(ctx context.Context, r *coordpb.ReportRequest) (*coordpb.ReportReply, error) {
	if l := c.here(); l != nil {
		return l.Report(ctx, r)
	}
	return c.remote.Report(ctx, r)
}

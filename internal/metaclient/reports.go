package metaclient

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/coordpb"
)

// Reporter takes what was found wrong with replicas to the leader.
type Reporter interface {
	Report(ctx context.Context, r *coordpb.ReportRequest) (*coordpb.ReportReply, error)
}

// Bounds of reports. What does not fit is dropped: the next read of the blob tells of it again.
const (
	reportsMax     = 1024 // waiting
	reportedMax    = 8192 // remembered
	reportAgain    = time.Minute
	reportLinger   = 200 * time.Millisecond // for company
	reportTimeout  = 10 * time.Second
	reportRetryMax = 3
)

// Reports tells the leader of replicas that gave a reader damaged bytes or none, each at most once a minute, in the background. One
// goroutine, ended by Close.
type Reports struct {
	to   Reporter
	log  *zap.Logger
	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex // guards what follows
	waiting []*coordpb.Suspect
	told    map[suspect]time.Time
}

type suspect struct {
	blob   object.BlobID
	volume uint32
}

// NewReports makes one; Close it.
func NewReports(to Reporter, log *zap.Logger) *Reports {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Reports{to: to, log: log, wake: make(chan struct{}, 1), stop: cancel, done: make(chan struct{}), told: map[suspect]time.Time{}}
	go r.run(ctx)
	return r
}

// Bad tells of a replica that failed with err; only errs.Corrupt and errs.BlobMissing are the replica's fault, others are left out. It
// never blocks.
func (r *Reports) Bad(volume uint32, blob object.BlobID, err error) {
	damaged := errs.Is(err, errs.Corrupt)
	if !damaged && !errs.Is(err, errs.BlobMissing) {
		return
	}
	now := time.Now()
	s := suspect{blob, volume}
	r.mu.Lock()
	if last, ok := r.told[s]; (ok && now.Sub(last) < reportAgain) || len(r.waiting) >= reportsMax {
		r.mu.Unlock()
		return
	}
	if len(r.told) >= reportedMax {
		r.forget(now)
	}
	r.told[s] = now
	r.waiting = append(r.waiting, &coordpb.Suspect{Blob: blob[:], Volume: volume, Damaged: damaged})
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// forget makes room: what is old goes, and if nothing is, all.
func (r *Reports) forget(now time.Time) {
	for s, at := range r.told {
		if now.Sub(at) >= reportAgain {
			delete(r.told, s)
		}
	}
	if len(r.told) >= reportedMax {
		clear(r.told)
	}
}

func (r *Reports) run(ctx context.Context) {
	defer close(r.done)
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		t := time.NewTimer(reportLinger)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		r.mu.Lock()
		some := r.waiting
		r.waiting = nil
		r.mu.Unlock()
		if len(some) > 0 {
			r.send(ctx, some)
		}
	}
}

// send tries some times; what the leader then has not heard is dropped.
func (r *Reports) send(ctx context.Context, some []*coordpb.Suspect) {
	for attempt, wait := 1, (backoff{}); ; attempt++ {
		call, cancel := context.WithTimeout(ctx, reportTimeout)
		_, err := r.to.Report(call, &coordpb.ReportRequest{Suspects: some})
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		if attempt == reportRetryMax || !wait.sleep(ctx, ctx, time.Now().Add(time.Minute)) {
			r.log.Debug("bad replicas could not be reported", zap.Int("replicas", len(some)), zap.Error(err))
			return
		}
	}
}

// Close ends the goroutine; what waits is dropped.
func (r *Reports) Close() {
	r.stop()
	<-r.done
}

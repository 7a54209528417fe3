package metaclient

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// A coordinator that dies is replaced within 5 s, and what arrives meanwhile waits: a client sees a pause. When nobody has led for longer
// than that, no one will soon; then a request is tried for a moment only, so that clients hear "unavailable" at once and turn elsewhere.
const (
	outageCertainDefault = 5500 * time.Millisecond
	outageTry            = 250 * time.Millisecond // what a request is still tried for
	outageProbeEvery     = 250 * time.Millisecond
	outageProbeMax       = 2 * time.Second
)

// outage knows since when no coordinator has answered. While there is one, a goroutine asks again and again, so that its end is seen
// whether or not requests come.
type outage struct {
	certain time.Duration
	log     *zap.Logger
	probe   func(ctx context.Context) error
	life    context.Context

	base   time.Time    // of answer
	answer atomic.Int64 // when a coordinator last answered, in nanoseconds after base
	down   atomic.Bool  // since is not zero

	mu       sync.Mutex // guards what follows, and the end of life
	since    time.Time  // zero: none
	watching bool       // one goroutine does
	wg       sync.WaitGroup
}

// met takes the outcome of an attempt that began at a time; err is nil when a coordinator answered, whatever it said.
func (o *outage) met(began time.Time, err error) {
	if err == nil {
		o.answer.Store(int64(time.Since(o.base)))
		if !o.down.Load() {
			return
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		if !o.since.IsZero() && time.Since(o.since) > time.Second {
			o.log.Info("a coordinator leads again", zap.Duration("after", time.Since(o.since).Round(time.Millisecond)))
		}
		o.since = time.Time{}
		o.down.Store(false)
		return
	}
	if !o.since.IsZero() || o.life.Err() != nil {
		return
	}
	// The attempt may have hung at one that is dead while others were answered.
	if last := o.base.Add(time.Duration(o.answer.Load())); last.After(began) {
		began = last
	}
	o.since = began
	o.down.Store(true)
	if !o.watching {
		o.watching = true
		o.wg.Go(o.watch)
	}
}

// watch asks until someone has answered.
func (o *outage) watch() {
	var told time.Time // the outage that was told of
	t := time.NewTicker(outageProbeEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-o.life.Done():
			return
		}
		if o.over() { // a request saw it first
			return
		}
		ctx, cancel := context.WithTimeout(o.life, outageProbeMax)
		err := o.probe(ctx)
		cancel()
		if o.life.Err() != nil {
			return
		}
		if err == nil || !noCoordinator(errs.KindOf(err)) {
			o.met(time.Now(), nil)
			continue
		}
		if since := o.sure(); !since.IsZero() && since != told {
			told = since
			o.log.Warn("no coordinator leads: requests are refused until one does", zap.Error(err))
		}
	}
}

// over says that there is no outage, and that who watched does so no longer.
func (o *outage) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watching = !o.since.IsZero()
	return !o.watching
}

// sure is since when there is an outage that no failover explains; zero: there is none.
func (o *outage) sure() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() || time.Since(o.since) <= o.certain {
		return time.Time{}
	}
	return o.since
}

// until is when a request gives up: at latest, which is so long after it came, or sooner.
func (o *outage) until(latest time.Time, tried time.Duration) time.Time {
	o.mu.Lock()
	since := o.since
	o.mu.Unlock()
	if since.IsZero() {
		return latest
	}
	end := since.Add(o.certain)
	if soon := latest.Add(outageTry - tried); end.Before(soon) {
		end = soon
	}
	if end.After(latest) {
		return latest
	}
	return end
}

// noCoordinator kinds say that nobody who decides has answered.
func noCoordinator(k errs.Kind) bool {
	return worthRetrying(k) || k == errs.IndeterminateResult || k == errs.Timeout
}

// read and propose are the coordinator's, watched.
func (c *Client) read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	began := time.Now()
	a, err := c.coord.Read(ctx, q)
	c.met(ctx, began, err)
	return a, err
}

func (c *Client) propose(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	began := time.Now()
	r, err := c.coord.Propose(ctx, cmd)
	c.met(ctx, began, err)
	return r, err
}

func (c *Client) met(ctx context.Context, began time.Time, err error) {
	switch {
	case err == nil:
		c.outage.met(began, nil)
	case ctx.Err() != nil || errs.Is(err, errs.Canceled): // a caller who gave up says nothing of the coordinators
	case !noCoordinator(errs.KindOf(err)):
		c.outage.met(began, nil)
	default:
		c.outage.met(began, err)
	}
}

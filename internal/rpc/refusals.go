package rpc

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// Bounds of what the log hears of refused connections and calls: whoever reaches a port can cause them, as many as the network carries.
const (
	refusalLines = 20
	refusalSpan  = 10 * time.Second
)

// Refusals tells the log of refused connections and calls, in a span of time only of the first few and later of how many it has left out.
// For concurrent use.
type Refusals struct {
	log *zap.Logger
	now func() time.Time

	mu     sync.Mutex // guards what follows
	began  time.Time  // the span
	lines  int        // in it
	unsaid int        // since the last line
}

// NewRefusals tells log.
func NewRefusals(log *zap.Logger) *Refusals { return &Refusals{log: log, now: time.Now} }

// Warn tells of one.
func (r *Refusals) Warn(msg string, fields ...zap.Field) {
	say, unsaid := r.book()
	if !say {
		return
	}
	if unsaid > 0 {
		fields = append(fields, zap.Int("others_not_logged", unsaid))
	}
	r.log.Warn(msg, fields...)
}

// book counts one; unsaid were left out since the last that was said.
func (r *Refusals) book() (say bool, unsaid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.began) >= refusalSpan {
		r.began, r.lines = now, 0
	}
	if r.lines++; r.lines > refusalLines {
		r.unsaid++
		return false, 0
	}
	unsaid, r.unsaid = r.unsaid, 0
	return true, unsaid
}

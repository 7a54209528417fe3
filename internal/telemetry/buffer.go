package telemetry

import (
	"errors"
	"io"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// Bounds of lines that wait to be written.
const (
	bufferBytesMax = 64 << 10
	bufferTimeMax  = 50 * time.Millisecond
)

// buffered is a core whose lines below warnings are written together, within bufferTimeMax: a write for each access line took
// 3 % of a small GET. Warnings and worse are written at once, with what waits before them, so that the lines of a process that
// ends itself are all there.
type buffered struct {
	zapcore.Core
	out *lineBuffer
}

func newBuffered(enc zapcore.Encoder, w io.Writer, level zapcore.LevelEnabler) zapcore.Core {
	out := &lineBuffer{w: w}
	return &buffered{zapcore.NewCore(enc, out, level), out}
}

// With implements zapcore.Core.
func (b *buffered) With(fields []zapcore.Field) zapcore.Core {
	return &buffered{b.Core.With(fields), b.out}
}

// Check implements zapcore.Core.
func (b *buffered) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// Write implements zapcore.Core.
func (b *buffered) Write(e zapcore.Entry, fields []zapcore.Field) error {
	err := b.Core.Write(e, fields)
	if e.Level >= zapcore.WarnLevel {
		err = errors.Join(err, b.out.Sync())
	}
	return err
}

// lineBuffer is a zapcore.WriteSyncer for concurrent use; each Write is one line.
type lineBuffer struct {
	w io.Writer

	mu    sync.Mutex // guards what follows, and the order of writes
	lines []byte
	timer *time.Timer // runs while lines wait
	armed bool
}

// Write takes a line.
func (l *lineBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if len(l.lines)+len(p) > bufferBytesMax {
		err = l.flush()
	}
	l.lines = append(l.lines, p...)
	if l.armed {
		return len(p), err
	}
	l.armed = true
	if l.timer == nil {
		l.timer = time.AfterFunc(bufferTimeMax, func() { _ = l.Sync() }) // there is no other place to tell it
	} else {
		l.timer.Reset(bufferTimeMax)
	}
	return len(p), err
}

// Sync writes what waits.
func (l *lineBuffer) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	return l.flush()
}

// flush is called with the lock held.
func (l *lineBuffer) flush() error {
	if len(l.lines) == 0 {
		return nil
	}
	_, err := l.w.Write(l.lines)
	l.lines = l.lines[:0]
	return err
}

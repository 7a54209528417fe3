package consensus

import (
	"fmt"
	"io"
	"log"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// raftLogger gives Raft's messages to zap, from level warn on. A single voter's warnings are left out: that it heard from no
// leader and elected itself is how it starts. What is ordinary is told at level debug, and what is said again and again is left out, see noise.
type raftLogger struct {
	z      *zap.Logger
	single bool
	name   string
	args   []any
	noise  *noise // nil: everything is said
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(z *zap.Logger, single bool) *raftLogger {
	return &raftLogger{z: z, single: single, name: "raft"}
}

var zapLevels = map[hclog.Level]zapcore.Level{hclog.Warn: zapcore.WarnLevel, hclog.Error: zapcore.ErrorLevel}

// Log drops what is below warn.
func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	zl, ok := zapLevels[level]
	if !ok || (l.single && level < hclog.Error) {
		return
	}
	args = append(l.args[:len(l.args):len(l.args)], args...)
	left := 0
	switch {
	case l.noise == nil:
	case l.noise.ordinary(msg, args):
		zl = zapcore.DebugLevel
	default:
		if ok, left = l.noise.pass(msg, args); !ok {
			return
		}
	}
	e := l.z.Check(zl, msg)
	if e == nil {
		return
	}
	fields := append(zapFields(args), zap.String("component", l.name))
	if left > 0 {
		fields = append(fields, zap.Int("left_out", left))
	}
	e.Write(fields...)
}

func zapFields(args []any) []zap.Field {
	fields := make([]zap.Field, 0, len(args)/2+2)
	for i := 0; i+1 < len(args); i += 2 {
		key := fmt.Sprint(args[i])
		switch v := args[i+1].(type) {
		case hclog.Format:
			fields = append(fields, zap.String(key, fmt.Sprintf(v[0].(string), v[1:]...)))
		case fmt.Stringer:
			fields = append(fields, zap.String(key, v.String()))
		default:
			fields = append(fields, zap.Any(key, v))
		}
	}
	return fields
}

func (l *raftLogger) Trace(string, ...any)          {}
func (l *raftLogger) Debug(string, ...any)          {}
func (l *raftLogger) Info(string, ...any)           {}
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }
func (l *raftLogger) IsTrace() bool                 { return false }
func (l *raftLogger) IsDebug() bool                 { return false }
func (l *raftLogger) IsInfo() bool                  { return false }
func (l *raftLogger) IsWarn() bool                  { return true }
func (l *raftLogger) IsError() bool                 { return true }
func (l *raftLogger) ImpliedArgs() []any            { return l.args }
func (l *raftLogger) Name() string                  { return l.name }
func (l *raftLogger) SetLevel(hclog.Level)          {}
func (l *raftLogger) GetLevel() hclog.Level         { return hclog.Warn }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{z: l.z, single: l.single, noise: l.noise, name: l.name, args: append(l.args[:len(l.args):len(l.args)], args...)}
}

func (l *raftLogger) Named(name string) hclog.Logger {
	return &raftLogger{z: l.z, single: l.single, noise: l.noise, name: l.name + "." + name, args: l.args}
}

func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	return &raftLogger{z: l.z, single: l.single, noise: l.noise, name: name, args: l.args}
}

func (l *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(nil), "", 0)
}

func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }

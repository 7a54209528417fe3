package telemetry

import (
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

const (
	timeLayout = "2006-01-02T15:04:05.000Z07:00"
	separator  = "\t"
)

// console writes the lines of zap's console encoder, byte for byte, for the settings of NewLogger. zap takes the head of a line from a
// list of interfaces and prints each by fmt, which is most of what an access line costs.
type console struct {
	zapcore.Encoder // zap's: of the fields only
}

var consoleLines = buffer.NewPool()

func newConsole(ec zapcore.EncoderConfig) zapcore.Encoder {
	ec.TimeKey, ec.LevelKey, ec.NameKey, ec.CallerKey, ec.MessageKey, ec.StacktraceKey = "", "", "", "", "", ""
	ec.SkipLineEnding = true
	return console{zapcore.NewConsoleEncoder(ec)}
}

// Clone implements zapcore.Encoder.
func (c console) Clone() zapcore.Encoder { return console{c.Encoder.Clone()} }

// EncodeEntry implements zapcore.Encoder.
func (c console) EncodeEntry(e zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	in, err := c.Encoder.EncodeEntry(e, fields)
	if err != nil {
		return nil, err
	}
	defer in.Free()
	line := consoleLines.Get()
	if !e.Time.IsZero() {
		line.AppendTime(e.Time, timeLayout)
		line.AppendString(separator)
	}
	line.AppendString(e.Level.CapitalString())
	if e.LoggerName != "" {
		line.AppendString(separator)
		line.AppendString(e.LoggerName)
	}
	if e.Caller.Defined {
		line.AppendString(separator)
		line.AppendString(e.Caller.TrimmedPath())
	}
	line.AppendString(separator)
	line.AppendString(e.Message)
	if in.Len() > 0 {
		line.AppendString(separator)
		line.AppendBytes(in.Bytes())
	}
	if e.Stack != "" {
		line.AppendByte('\n')
		line.AppendString(e.Stack)
	}
	line.AppendByte('\n')
	return line, nil
}

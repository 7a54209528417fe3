package telemetry

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func consoleConfig() zapcore.EncoderConfig {
	ec := encoderConfig()
	ec.EncodeLevel = zapcore.CapitalLevelEncoder
	return ec
}

// TestConsoleLinesAreZaps compares every kind of entry with what zap's own encoder writes.
func TestConsoleLinesAreZaps(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4_567_890, time.FixedZone("", 5400))
	entries := map[string]zapcore.Entry{
		"plain":    {Level: zapcore.InfoLevel, Time: at, Message: "request"},
		"utc":      {Level: zapcore.ErrorLevel, Time: at.UTC(), Message: "tab\tand \"quotes\""},
		"no time":  {Level: zapcore.DebugLevel, Message: "m"},
		"no words": {Level: zapcore.WarnLevel, Time: at},
		"named":    {Level: zapcore.InfoLevel, Time: at, LoggerName: "raft.x", Message: "m"},
		"caller":   {Level: zapcore.InfoLevel, Time: at, Caller: zapcore.NewEntryCaller(1, "/a/b/c.go", 7, true), Message: "m"},
		"stack":    {Level: zapcore.DPanicLevel, Time: at, Message: "m", Stack: "main.go:1\nmain.go:2"},
		"strange":  {Level: zapcore.Level(42), Time: at, LoggerName: "n", Message: "two\nlines"},
	}
	fields := map[string][]zapcore.Field{
		"none": nil,
		"some": {zap.String("k", "a \"b\"\n\x00é"), zap.Int("n", -7), zap.Duration("took", 1500*time.Microsecond), zap.Error(errors.New("bad"))},
		"more": {zap.Time("t", at), zap.Strings("list", []string{"a", "b"}), zap.Namespace("in"), zap.Bool("yes", true), zap.ByteString("b", []byte("x"))},
	}
	for name, e := range entries {
		for which, fs := range fields {
			for _, with := range []bool{false, true} {
				ours, zaps := newConsole(encoderConfig()), zapcore.NewConsoleEncoder(consoleConfig())
				if with {
					ours, zaps = ours.Clone(), zaps.Clone()
					ours.AddString("node", "n1")
					zaps.AddString("node", "n1")
					ours, zaps = ours.Clone(), zaps.Clone()
				}
				want, err := zaps.EncodeEntry(e, fs)
				require.NoError(t, err)
				got, err := ours.EncodeEntry(e, fs)
				require.NoError(t, err)
				require.Equal(t, want.String(), got.String(), "%s, fields %s, with %v", name, which, with)
			}
		}
	}
}

// BenchmarkAccessLine is a line of the access log, to its bytes.
func BenchmarkAccessLine(b *testing.B) {
	e := zapcore.Entry{Level: zapcore.InfoLevel, Time: time.Now(), Message: "request"}
	fields := []zapcore.Field{zap.String("request_id", "0123456789ABCDEF"), zap.String("operation", "PutObject"), zap.String("method", "PUT"),
		zap.String("remote", "127.0.0.1:12345"), zap.String("bucket", "bench"), zap.String("key", "s1024/00001"), zap.Int("status", 200),
		zap.Duration("took", 2*time.Millisecond), zap.Int64("in", 1024), zap.Int64("out", 0), zap.String("access_key", "benchkey")}
	for name, enc := range map[string]zapcore.Encoder{"ours": newConsole(encoderConfig()), "zaps": zapcore.NewConsoleEncoder(consoleConfig())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				line, err := enc.EncodeEntry(e, fields)
				if err != nil {
					b.Fatal(err)
				}
				line.Free()
			}
		})
	}
}

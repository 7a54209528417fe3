package telemetry

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// countingWriter counts writes.
type countingWriter struct {
	mu     sync.Mutex
	text   []byte
	writes int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	w.text = append(w.text, p...)
	return len(p), nil
}

// take gives what was written since the last time.
func (w *countingWriter) take() (text string, writes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, writes = string(w.text), w.writes
	w.text, w.writes = nil, 0
	return text, writes
}

// TestLinesWaitForCompanyButNotForLong: lines are written together, within bufferTimeMax, in order; a warning takes those before
// it along at once; much is written before it is too much.
func TestLinesWaitForCompanyButNotForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &countingWriter{}
		l, err := NewLogger(w, "info", "json")
		require.NoError(t, err)
		for range 3 {
			l.With(zap.String("request_id", "A")).Info("request")
			l.Info("request")
			_, writes := w.take()
			require.Zero(t, writes)
			time.Sleep(bufferTimeMax + time.Millisecond)
			synctest.Wait()
			text, writes := w.take()
			require.Equal(t, 1, writes)
			require.Equal(t, 2, strings.Count(text, "\n"))
		}
		l.Info("before")
		l.Warn("broken")
		text, writes := w.take()
		require.Equal(t, 1, writes)
		require.Less(t, strings.Index(text, "before"), strings.Index(text, "broken"))
		for writes = 0; writes == 0; text, writes = w.take() {
			l.Info("many")
		}
		require.LessOrEqual(t, len(text), bufferBytesMax)
		require.Greater(t, len(text), bufferBytesMax/2)
		require.NoError(t, l.Sync())
	})
}

package command

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressBytesMin is from where on a transfer is worth a bar.
const progressBytesMin = 8 << 20

// progress is a bar on standard error, if that is a terminal and the transfer large or of unknown size.
type progress struct{ bar *progressbar.ProgressBar }

func newProgress(e *env, name string, size int64) progress {
	f, ok := e.err.(*os.File)
	if !ok || e.json || (size >= 0 && size < progressBytesMin) || !term.IsTerminal(int(f.Fd())) {
		return progress{}
	}
	return progress{progressbar.NewOptions64(size, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(printable(name)),
		progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(24),
		progressbar.OptionClearOnFinish())}
}

func (p progress) reader(r io.Reader) io.Reader {
	if p.bar == nil {
		return r
	}
	return io.TeeReader(r, p.bar)
}

func (p progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish() // a bar that cannot be drawn hurts nobody
	}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printable quotes a key that would confuse a terminal or a script that splits lines and tabs.
func printable(key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.HasPrefix(key, `"`) {
		return strconv.Quote(key)
	}
	return key
}

// printTree prints nested values as lines "a.b.c: value", sorted.
func printTree(w io.Writer, path string, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		_, err := fmt.Fprintf(w, "%s: %v\n", path, scalar(v))
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := printTree(w, strings.TrimPrefix(path+"."+name, "."), m[name]); err != nil {
			return err
		}
	}
	return nil
}

// scalar shows whole numbers without an exponent.
func scalar(v any) any {
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		return int64(f)
	}
	return v
}

package history

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdicts that are not "linearizable".
var (
	ErrIllegal   = errors.New("history: not linearizable")
	ErrUndecided = errors.New("history: undecided in the time allowed") // H1
	ErrMalformed = errors.New("history: malformed")
)

// CheckTimeout bounds a check for which no other time is given.
const CheckTimeout = 60 * time.Second

// drawTimeout bounds the search for what is drawn of a bad history.
const drawTimeout = 5 * time.Second

// Check returns nil when the history is linearizable. ErrIllegal and ErrUndecided name a file with a drawing of it, which is
// made in the directory for temporary files and left there. within 0: CheckTimeout.
func Check(h *History, within time.Duration) error {
	if within <= 0 {
		within = CheckTimeout
	}
	if err := h.validate(); err != nil {
		return err
	}
	if len(h.Entries) == 0 {
		return nil
	}
	m := model(h)
	all := []porcupine.Operation{{}} // the parts are made by Partition
	failed := ErrUndecided
	switch porcupine.CheckOperationsTimeout(m, all, within) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		failed = ErrIllegal
	}
	_, info := porcupine.CheckOperationsVerbose(m, all, min(within, drawTimeout)) // slower: it remembers how far it came
	path, err := draw(m, info)
	if err != nil {
		return fmt.Errorf("%w (%d operations; not drawn: %v)", failed, len(h.Entries), err)
	}
	return fmt.Errorf("%w (%d operations, drawn in %s)", failed, len(h.Entries), path)
}

// validate finds what the model cannot mean.
func (h *History) validate() error {
	if len(h.Keys) > KeysMax {
		return fmt.Errorf("%w: %d keys; at most %d", ErrMalformed, len(h.Keys), KeysMax)
	}
	for i := 1; i < len(h.Keys); i++ {
		if h.Keys[i] <= h.Keys[i-1] {
			return fmt.Errorf("%w: the keys are not in ascending order", ErrMalformed)
		}
	}
	written := map[Value]bool{}
	for i := range h.Entries {
		e := &h.Entries[i]
		if e.Return < e.Call && e.Result.Outcome != Unknown {
			return fmt.Errorf("%w: an operation returned before it was called", ErrMalformed)
		}
		for _, v := range e.Op.wrote() {
			if written[v] || v == 0 || v == Foreign {
				return fmt.Errorf("%w: value %d is written twice, or is not one to write", ErrMalformed, v)
			}
			written[v] = true
		}
	}
	return nil
}

func draw(m porcupine.Model, info porcupine.LinearizationInfo) (string, error) {
	f, err := os.CreateTemp("", "minikv-history-*.html")
	if err != nil {
		return "", err
	}
	err = porcupine.Visualize(m, info, f)
	return f.Name(), errors.Join(err, f.Close())
}

func itoa(v Value) string { return strconv.FormatUint(uint64(v), 10) }

func join(parts []string) string { return "{" + strings.Join(parts, " ") + "}" }

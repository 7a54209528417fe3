package payload

import "context"

// Held is memory for something that is not cut into blobs, a document that is read as a whole. It is paid from the uploads' budget,
// by the same rules (P6). Not for concurrent use.
type Held struct {
	b    *holder
	paid grant
}

// Hold takes about n bytes for an account, at most half of what the budget gives without its reserve, so that it can always be had. It
// is taken once: whoever holds some never waits for more. interrupt is that of WriteOptions. errs.SlowDown: not within the
// budget's wait. Release it.
func (s *Store) Hold(ctx context.Context, account string, interrupt func(), n int64) (*Held, error) {
	h := &Held{b: &holder{memory: s.writes, account: account, interrupt: interrupt}}
	var err error
	if h.paid, err = s.writes.acquire(ctx, h.b, min(n, (s.writes.limit-s.writes.reserveAll)/2)); err != nil {
		return nil, err
	}
	return h, nil
}

// Got says that n bytes of the document came, so that it does not seem to stand still.
func (h *Held) Got(n int) { h.b.got.Add(int64(n)) }

// Whole says that the document is there: nothing is waited for any more.
func (h *Held) Whole() { h.b.memory.filled(h.b) }

// Release gives the memory back.
func (h *Held) Release() {
	h.Whole()
	h.paid.release()
}
